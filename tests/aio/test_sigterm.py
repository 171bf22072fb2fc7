"""SIGTERM drains, and then does what it did before."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reliable_ws import Sessions, drain_on_sigterm, wrap
from reliable_ws.testing.memory import pair

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60

RUNNERS = [asyncio.run]
with contextlib.suppress(ImportError):  # it does not exist everywhere
    import uvloop

    RUNNERS.append(uvloop.run)


@pytest.fixture(autouse=True)
def signals():
    """Put back what a test has changed."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Server:
    """Sessions with one peer, and what the signals that reach the server did."""

    def __init__(self) -> None:
        self.sessions = Sessions()
        self.said: list[str] = []
        self.over = asyncio.Event()

    def stop(self, *_):
        self.said.append("stopped")
        self.over.set()

    def drained(self, reports):
        self.said += [str(report) for report in reports.values()]

    async def echo(self, conn):
        async for message in conn:
            await conn.send(message)

    async def peer(self):
        """Send a message; return what comes until the server says that it goes."""
        near, far = pair()
        serving = asyncio.create_task(self.sessions.handle(far, self.echo))
        async with wrap(near) as conn:
            await conn.send("hello")
            await conn.flush()
            os.kill(os.getpid(), signal.SIGTERM)
            received = [message async for message in conn]
        await serving
        return received

    async def ended(self):
        async with asyncio.timeout(SECONDS):
            await self.over.wait()
        return self.said


REPORT = "1 sent, 1 confirmed; finished (1000)"


async def test_the_handler_of_the_server_comes_last():
    server = Server()
    signal.signal(signal.SIGTERM, server.stop)
    drain_on_sigterm(server.sessions, on_drained=server.drained)
    assert await server.peer() == ["hello"]
    assert await server.ended() == [REPORT, "stopped"]
    assert signal.getsignal(signal.SIGTERM) == server.stop


async def test_what_stops_the_server_can_be_given():
    server = Server()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, pytest.fail, "it is replaced")
    drain_on_sigterm(server.sessions, on_drained=server.drained, then=server.stop)
    assert await server.peer() == ["hello"]
    assert await server.ended() == [REPORT, "stopped"]


async def test_the_handler_of_asyncio_s_loop_comes_last_and_stays():
    """It is SIGTERM's and not SIGINT's: for gunicorn that means to go without a shutdown."""
    server = Server()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, pytest.fail, "it is not asked")
    loop.add_signal_handler(signal.SIGTERM, server.stop, "argument")
    drain_on_sigterm(server.sessions, on_drained=server.drained)
    assert await server.peer() == ["hello"]
    assert await server.ended() == [REPORT, "stopped"]
    server.over.clear()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await server.ended() == [REPORT, "stopped", "stopped"]
    loop.remove_signal_handler(signal.SIGINT)
    loop.remove_signal_handler(signal.SIGTERM)


@pytest.mark.parametrize("runner", RUNNERS[1:])
def test_a_handler_of_another_loop_is_reached_by_sigint(runner):
    async def main():
        server = Server()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, server.stop)
        drain_on_sigterm(server.sessions, on_drained=server.drained)
        assert await server.peer() == ["hello"]
        assert await server.ended() == [REPORT, "stopped"]

    runner(main())


@pytest.mark.parametrize("runner", RUNNERS[1:])
def test_one_that_cannot_be_reached_is_refused_and_stays(runner):
    async def main():
        server = Server()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
        with pytest.raises(RuntimeError, match="pass then="):
            drain_on_sigterm(server.sessions)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await server.ended() == ["stopped"]

    runner(main())


async def test_all_sessions_are_drained_each_once():
    server, other = Server(), Server()
    signal.signal(signal.SIGTERM, server.stop)
    for _ in range(2):
        drain_on_sigterm(server.sessions, on_drained=server.drained)
    drain_on_sigterm(other.sessions, on_drained=lambda _: server.said.append("the other too"))
    assert await server.peer() == ["hello"]
    assert await server.ended() == ["the other too", REPORT, "stopped"]


async def test_a_second_sigterm_waits_for_nothing():
    server = Server()
    signal.signal(signal.SIGTERM, server.stop)
    near, far = pair()
    serving = asyncio.create_task(server.sessions.handle(far, lambda _: asyncio.Event().wait()))
    conn = await wrap(near)
    drain_on_sigterm(server.sessions, on_drained=server.drained)
    os.kill(os.getpid(), signal.SIGTERM)
    assert [message async for message in conn] == []  # it is draining
    os.kill(os.getpid(), signal.SIGTERM)
    assert await server.ended() == ["stopped"]
    conn.abort()
    await serving
    await server.sessions.drain(0)


async def test_two_that_come_at_once_wait_for_nothing_either():
    server = Server()
    signal.signal(signal.SIGTERM, server.stop)
    drain_on_sigterm(server.sessions)
    for _ in range(2):  # the event loop hears of both in one turn
        os.kill(os.getpid(), signal.SIGTERM)
    assert await server.ended() == ["stopped"]


async def test_what_stops_the_server_may_be_given_later():
    server = Server()
    signal.signal(signal.SIGTERM, pytest.fail)
    drain_on_sigterm(server.sessions)
    drain_on_sigterm(Sessions(), then=server.stop)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await server.ended() == ["stopped"]


async def test_what_on_drained_raises_keeps_no_process_alive(caplog):
    server = Server()
    signal.signal(signal.SIGTERM, server.stop)
    drain_on_sigterm(server.sessions, on_drained=lambda reports: reports["?"])
    os.kill(os.getpid(), signal.SIGTERM)
    assert await server.ended() == ["stopped"]
    assert "draining failed" in caplog.text


def test_another_thread_gets_no_signals_and_goes_on(caplog):
    """As in the lifespan of an application under a test client."""

    async def elsewhere():
        drain_on_sigterm(Sessions())
        drain_on_sigterm(Sessions(), then=pytest.fail)

    before = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor() as threads:
        threads.submit(asyncio.run, elsewhere()).result()
    assert signal.getsignal(signal.SIGTERM) == before
    said = [record.getMessage() for record in caplog.records]
    assert said == ["SIGTERM will not drain: only the main thread gets signals"] * 2


async def test_an_event_loop_that_gets_no_signals_goes_on(caplog, monkeypatch):
    """As on Windows."""

    def refuse(*_):
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", refuse)
    before = signal.getsignal(signal.SIGTERM)
    for _ in range(2):
        drain_on_sigterm(Sessions())
    assert caplog.text.count("EventLoop gets no signals") == 2
    monkeypatch.undo()
    server = Server()
    signal.signal(signal.SIGTERM, server.stop)
    drain_on_sigterm(server.sessions)  # nothing of the others is left
    os.kill(os.getpid(), signal.SIGTERM)
    assert await server.ended() == ["stopped"]
    signal.signal(signal.SIGTERM, before)


PROGRAM = """
import asyncio, os, signal
from reliable_ws import connect, drain_on_sigterm, serve

def drained(reports):
    print(*reports.values(), sep=", ", flush=True)

async def handler(conn):
    async for message in conn:
        await conn.send(message)

async def main():
    async with serve(handler, "127.0.0.1", 0) as server:
        drain_on_sigterm(server.sessions, on_drained=drained)
        async with connect(f"ws://127.0.0.1:{server.port}", proxy=None) as conn:
            await conn.send("hello")
            await conn.flush()
            os.kill(os.getpid(), signal.SIGTERM)
            print([message async for message in conn], flush=True)
        await server.serve_forever()

asyncio.run(main())
"""


@pytest.mark.transport
def test_a_server_of_ours_drains_and_then_dies_of_the_signal():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.stdout.splitlines() == ["['hello']", "1 sent, 1 confirmed; finished (1000)"]
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")
