"""Over real sockets: networks that break, servers that are killed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reliable_ws import Config, End, Outcome, SessionLost, connect, serve
from reliable_ws.testing import ChaosProxy, FaultPlan
from tests.aio.memory_network import start, take
from tests.aio.sockets import AT_ONCE, echo

pytestmark = [pytest.mark.transport, pytest.mark.usefixtures("clean")]
ROOT = Path(__file__).resolve().parents[2]
HASTY = Config(open_timeout=2, idle_timeout=0.6, session_ttl=20, close_progress_timeout=10)


async def stream(conn, count, got):
    """Send so many numbers with some ballast, and read what comes until the peer has finished."""

    async def sender():
        for n in range(count):
            await conn.send([n, "x" * (n % 200)])
            if n % 64 == 0:
                await asyncio.sleep(0)
        await conn.finish()

    sending = start(sender())
    async for number, _ in conn:
        got.append(number)
    await sending


@pytest.mark.parametrize("faults", [("cut",), ("reset",), ("stall",), ("half_open",), None])
@pytest.mark.parametrize("seed", [1, 2])
async def test_streams_both_ways_through_a_network_that_keeps_breaking(faults, seed):
    count, there = 3000, []
    kinds = {"faults": faults} if faults else {}
    plan = FaultPlan(seed, every_bytes=(20_000, 200_000), stall_for=(0.05, 0.5), **kinds)

    async def handler(conn):
        await stream(conn, count, there)
        await conn.flush()

    async with (
        serve(handler, "127.0.0.1", 0, config=HASTY) as server,
        ChaosProxy("127.0.0.1", server.port, plan=plan) as proxy,
    ):
        here = []
        async with connect(proxy.uri(), proxy=None, config=HASTY, reconnect=AT_ONCE) as conn:
            await stream(conn, count, here)
            await conn.flush()
        assert proxy.faults
    assert here == there == list(range(count))
    assert conn.report.confirmed == conn.report.sent == count


async def test_a_network_that_is_gone_for_a_while():
    async with (
        serve(echo, "127.0.0.1", 0) as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
    ):
        events = []
        options = {"reconnect": AT_ONCE, "on_event": lambda event: events.append(event.name)}
        async with connect(proxy.uri(), proxy=None, **options) as conn:
            proxy.refuse()
            proxy.reset()
            for n in range(100):
                await conn.send(n)
            while proxy.refused < 3:
                with pytest.raises(TimeoutError):
                    await conn.recv(timeout=0.1)
            proxy.accept()
            assert await take(conn, 100) == list(range(100))
    assert events.count("attempt_failed") >= 3
    events = [name for name in events if name != "attempt_failed"]
    assert events == ["opened", "detached", "resumed", "closed"]


async def test_no_reconnecting_where_it_is_not_wanted():
    async with (
        serve(echo, "127.0.0.1", 0, config=Config(session_ttl=0.3)) as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
    ):
        conn = await connect(proxy.uri(), proxy=None, reconnect=False)
        receipt = await conn.send("x")
        assert await conn.recv() == "x"
        await receipt
        proxy.reset()
        with pytest.raises(SessionLost):
            await conn.recv()
        assert proxy.connections == 1


SERVER = """
import asyncio, sys
from reliable_ws import serve
async def handler(conn):
    async for message in conn:
        await conn.send(message)
async def main():
    async with serve(handler, "127.0.0.1", int(sys.argv[1])) as server:
        print(server.port, flush=True)
        await asyncio.Future()
asyncio.run(main())
"""


@contextlib.contextmanager
def process(port=0):
    child = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with child:
        try:
            yield child, int(child.stdout.readline())
        finally:
            child.kill()


async def test_a_server_that_is_killed_and_restarted():
    """It has forgotten the session: SessionLost, with a report that is true; never a hang."""
    events = []
    with process() as (first, port):
        conn = await connect(
            f"ws://127.0.0.1:{port}",
            proxy=None,
            reconnect=AT_ONCE,
            on_event=lambda event: events.append(event.name),
        )
        for n in range(10):
            await conn.send(n)
        assert await take(conn, 10) == list(range(10))
        await conn.flush()
        first.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        first.wait()
        last = await conn.send("nobody may have taken this")
    with process(port):
        with pytest.raises(SessionLost) as caught:
            await conn.recv()
        report = caught.value.report
        assert (report.sent, report.confirmed) == (11, 10)
        [entry] = report.undelivered
        assert entry.message == "nobody may have taken this"
        assert entry.outcome in (Outcome.UNKNOWN, Outcome.NOT_TAKEN)
        assert last.outcome is entry.outcome
        assert caught.value.ending.kind is End.REFUSED
        async with connect(f"ws://127.0.0.1:{port}", proxy=None) as fresh:
            await fresh.send("x")
            assert await fresh.recv() == "x"
    assert events == ["opened", "detached", "session_lost", "closed"]


async def test_a_server_that_is_killed_for_good():
    config = Config(session_ttl=1)
    with process() as (first, port):
        conn = await connect(f"ws://127.0.0.1:{port}", proxy=None, reconnect=AT_ONCE, config=config)
        await conn.send("x")
        assert await conn.recv() == "x"
        first.kill()
        with pytest.raises(SessionLost) as caught:
            await conn.recv()
        assert caught.value.ending.kind is End.EXPIRED
