"""The main scenarios on other event loops: uvloop, and asyncio with eager tasks (3.12).

Sockets are real, so that each loop does what it does. The matrix runs all of it on every supported
Python, and what differs between sockets with every release of websockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from reliable_ws import (
    Backoff,
    Config,
    Connection,
    DeliveryError,
    Methods,
    RemoteError,
    connect,
    serve,
    wrap,
)
from reliable_ws.testing import ChaosProxy, FaultPlan
from reliable_ws.testing.memory import pair
from tests.aio.loops import debug, eager, plain, with_uvloop
from tests.aio.memory_network import rest, start, take

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = Backoff(initial=0.02, longest=0.1)
HASTY = Config(open_timeout=2, idle_timeout=0.6, session_ttl=20, close_progress_timeout=10)


TRANSPORT, PYTHON = pytest.mark.transport, pytest.mark.python
EAGER = [
    PYTHON,
    pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12"),
]
UVLOOP = [
    PYTHON,
    pytest.mark.skipif(find_spec("uvloop") is None, reason="there is no uvloop"),
]
LOOPS = [
    pytest.param(plain, marks=TRANSPORT),
    pytest.param(debug, marks=PYTHON),
    pytest.param(eager, marks=EAGER),
    pytest.param(with_uvloop, marks=UVLOOP),
]

on_every_loop = pytest.mark.parametrize("new_loop", LOOPS)


def run(new_loop, scenario):
    """Run it, and fail for whatever it leaves: tasks, and what the exception handler is told."""
    told = []

    async def bounded():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        async with asyncio.timeout(60):
            await scenario()
        for _ in range(3000):
            if len(asyncio.all_tasks()) == 1:
                break
            await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) == 1

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(bounded())
        gc.collect()
    assert told == []


async def echo(conn):
    async for message in conn:
        await conn.send(message)


@on_every_loop
def test_a_conversation(new_loop):
    async def scenario():
        async with (
            serve(echo, "127.0.0.1", 0) as server,
            connect(f"ws://127.0.0.1:{server.port}", proxy=None) as conn,
        ):
            for message in ("x", bytes(3 * 2**20), {"a": [1]}):
                await (await conn.send(message))
                assert await conn.recv() == message
            for n in range(5000):
                await conn.send(n)
            assert await take(conn, 5000) == list(range(5000))

    run(new_loop, scenario)


@on_every_loop
def test_a_network_that_keeps_breaking(new_loop):
    async def scenario():
        plan = FaultPlan(3, every_bytes=(10_000, 60_000), stall_for=(0.05, 0.3))
        async with (
            serve(echo, "127.0.0.1", 0, config=HASTY) as server,
            ChaosProxy("127.0.0.1", server.port, plan=plan) as proxy,
            connect(proxy.uri(), proxy=None, config=HASTY, reconnect=AT_ONCE) as conn,
        ):
            sending = start(_send_all(conn, 1000))
            got = await take(conn, 1000)
            assert [number for number, _ in got] == list(range(1000))
            await sending
            await conn.flush()
            assert proxy.faults

    run(new_loop, scenario)


async def _send_all(conn, count):
    for n in range(count):
        await conn.send([n, "x" * (n % 200)])


@on_every_loop
@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_handler_of_a_request_ends_the_session_in_its_first_step(new_loop, how):
    async def goodbye(conn: Connection):
        ending = getattr(conn, how)()
        if ending is not None:
            await ending
        await asyncio.sleep(0 if how == "close" else 60)

    async def scenario():
        near, far = pair()
        methods = Methods()
        methods.add(goodbye)
        client, server = await asyncio.gather(wrap(near), wrap(far, methods=methods))
        with pytest.raises(RemoteError if how == "close" else DeliveryError):
            await client.request("goodbye")
        await client.close()
        await server.wait_closed()

    run(new_loop, scenario)


@on_every_loop
def test_the_last_message_arrives(new_loop):
    async def scenario():
        async def handler(conn):
            await conn.send("last")

        async with (
            serve(handler, "127.0.0.1", 0) as server,
            connect(f"ws://127.0.0.1:{server.port}", proxy=None) as conn,
        ):
            await asyncio.sleep(0.2)
            assert await rest(conn) == ["last"]

    run(new_loop, scenario)


@on_every_loop
def test_cancelled_receivers_lose_nothing(new_loop):
    async def scenario():
        async def handler(conn):
            for n in range(300):
                await conn.send(n)
                if n % 10 == 0:
                    await asyncio.sleep(0.001)

        async with (
            serve(handler, "127.0.0.1", 0) as server,
            connect(f"ws://127.0.0.1:{server.port}", proxy=None) as conn,
        ):
            got = []
            while len(got) < 300:
                with contextlib.suppress(TimeoutError):
                    got.append(await conn.recv(timeout=0.0005))
            assert got == list(range(300))

    run(new_loop, scenario)


@on_every_loop
def test_cancelling_everything(new_loop):
    async def scenario():
        async def body():
            async with connect(f"ws://127.0.0.1:{server.port}", proxy=None) as conn:
                await conn.send("x")
                await conn.recv()
                await conn.recv()

        async with serve(echo, "127.0.0.1", 0) as server:
            for delay in (0, 0.001, 0.01, 0.05):
                tasks = [start(body()) for _ in range(3)]
                await asyncio.sleep(delay)
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(isinstance(r, asyncio.CancelledError) for r in results)

    run(new_loop, scenario)


class NeverNow:
    """A transport of a library that cannot write without waiting, and does not wait either."""

    def __init__(self, inner):
        self._inner = inner
        self.role = inner.role
        self.max_frame = inner.max_frame
        self.websocket = inner
        self.recv, self.send = inner.recv, inner.send
        self.close, self.abort = inner.close, inner.abort

    def send_now(self, _data):
        return False


@on_every_loop
def test_a_transport_that_never_writes_at_once(new_loop):
    async def scenario():
        near, far = map(NeverNow, pair())
        client, server = await asyncio.gather(wrap(near), wrap(far))
        for n in range(100):
            await client.send(n)
            await server.send(n)
            assert await server.recv(timeout=5) == n
            assert await client.recv(timeout=5) == n
        await asyncio.gather(client.close(timeout=5), server.close(timeout=5))

    run(new_loop, scenario)


@on_every_loop
def test_a_transport_that_is_full(new_loop):
    async def scenario():
        near, far = pair(limit=1000)
        client, server = await asyncio.gather(wrap(near), wrap(far))

        async def sender(conn):
            for n in range(300):
                await conn.send(bytes(n))
            await conn.finish()

        sending = [start(sender(conn)) for conn in (client, server)]
        for conn in (client, server):
            assert list(map(len, await rest(conn))) == list(range(300))
        await asyncio.gather(*sending, client.close(timeout=5), server.close(timeout=5))

    run(new_loop, scenario)


PROGRAM = """
import asyncio, signal, sys
from reliable_ws import connect, serve
from tests.aio import loops

how = sys.argv[2]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is started without

async def handler(conn):
    async for message in conn:
        if how == "exit":
            sys.exit(3)
        await conn.send(message)

async def main():
    if how == "blocks":
        async with serve(handler, "127.0.0.1", 0) as server:
            async with connect(f"ws://127.0.0.1:{server.port}", proxy=None) as conn:
                await use(conn)
    else:
        server = await serve(handler, "127.0.0.1", 0)
        conn = await connect(f"ws://127.0.0.1:{server.port}", proxy=None)
        await use(conn)

async def use(conn):
    await conn.send("x")
    receiving = asyncio.create_task(conn.recv())
    await receiving
    if how in ("interrupt", "blocks"):
        signal.raise_signal(signal.SIGINT)
        await conn.recv()

with asyncio.Runner(loop_factory=getattr(loops, sys.argv[1])) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize("how", ["return", "interrupt", "blocks", "exit"])
@on_every_loop
def test_a_program_ends_though_a_session_lives(new_loop, how):
    """At once, and without a word but that of the interpreter and of what is not confirmed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, new_loop.__name__, how],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if "left without close()" not in line]
    if how in ("interrupt", "blocks"):
        assert lines[-1] == "KeyboardInterrupt"
        assert "never retrieved" not in done.stderr
        assert "destroyed" not in done.stderr
    else:
        assert not lines, done.stderr
        assert done.returncode == (3 if how == "exit" else 0)
