"""Faults as somebody meets them who has only the log, the tools and the pages."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

import reliable_ws
from reliable_ws import Config
from reliable_ws.aio import pump, sessions
from reliable_ws.cli import main, top
from reliable_ws.driver import loop_watch
from reliable_ws.driver.loop_watch import LoopWatch
from reliable_ws.live_page.snapshot import snapshot
from tests.aio.memory_network import until
from tests.aio.sockets import local

from .test_live import TOKEN, silent


def expired(websocket):
    """A principal= that raises, as for a token that has expired."""
    raise PermissionError("the token has expired")


async def test_a_principal_that_raises_is_told_at_both_ends(caplog):
    async with reliable_ws.serve(silent, "127.0.0.1", 0, principal=expired) as server:
        with pytest.raises(OSError, match="principal= raised"):
            await local(server)
    assert "principal= raised for a WebSocket" in caplog.text
    assert "PermissionError: the token has expired" in caplog.text


def test_a_principal_that_raises_is_told_with_threads(caplog):
    def handler(conn):
        conn.wait_closed()

    with reliable_ws.sync.serve(handler, "127.0.0.1", 0, principal=expired) as server:
        with pytest.raises(OSError, match="principal= raised"):
            reliable_ws.sync.connect(f"ws://127.0.0.1:{server.port}", proxy=None)
        server.drain(1)
    assert "PermissionError: the token has expired" in caplog.text


async def test_a_handler_that_blocks_the_event_loop_is_told_once(caplog, monkeypatch):
    """Heartbeats are due every 0.33 s, and none is sent meanwhile: two sessions, one line."""
    monkeypatch.setattr(loop_watch, "BLOCKED", 0.5)
    monkeypatch.setattr(pump, "LOOP_WATCH", watch := LoopWatch())
    config = Config(idle_timeout=1.0)
    async with (
        reliable_ws.serve(silent, "127.0.0.1", 0, config=config) as server,
        local(server, config=config) as one,
        local(server, config=config) as other,
    ):
        time.sleep(1.2)  # noqa: ASYNC251 - what a handler should not do
        assert await one.recv()
        assert await other.recv()
        await until(lambda: watch.total)  # the timers of this turn fire after its tasks
        figures, state = server.figures(), await snapshot({"": server})
        assert one.figures().loop_stalled_seconds == figures.loop_stalled_seconds
    assert 0.5 < figures.loop_last_stall == figures.loop_stalled_seconds < 60
    assert abs(time.time() - figures.loop_last_stall_at) < 60
    words = "the event loop last stood still for "
    assert next(top.lines(state, 200)).startswith(words)
    assert state["loop"].startswith(words)
    lines = [line for line in caplog.messages if "the event loop did not run for" in line]
    assert len(lines) == 1


async def test_top_says_what_is_wrong_with_the_token(capsys, monkeypatch):
    monkeypatch.delenv("RELIABLE_WS_TOKEN", raising=False)
    app = reliable_ws.live(reliable_ws.Sessions(), token=TOKEN)
    async with app.serve() as own:
        uri = f"http://127.0.0.1:{own.sockets[0].getsockname()[1]}/"
        for given, words in ((uri, "wants its token: put it behind a #"), (f"{uri}#x", "another")):
            assert await asyncio.to_thread(main, ["top", given, "--once"]) == 2
            assert words in capsys.readouterr().err


def test_top_does_not_answer_while_the_loop_is_blocked(capsys, monkeypatch):
    monkeypatch.setattr("reliable_ws.cli.top.ANSWER_WITHIN", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as blocked:  # it accepts nothing
        uri = f"http://127.0.0.1:{blocked.getsockname()[1]}/#{TOKEN}"
        assert main(["top", uri, "--once"]) == 2
    assert "something may block its event loop" in capsys.readouterr().err


async def test_top_says_for_how_long_there_was_no_answer_and_goes_on(capsys, monkeypatch):
    """It answers, then twice not in time, then again; a first answer is waited for once only."""
    monkeypatch.setattr(top, "SILENT_AFTER", 0.01)
    late = threading.Event()
    state = await snapshot({"": reliable_ws.Sessions()})
    answers = iter((state, None, None, state))

    def ask(_uri, _token):
        answer = next(answers, ...)
        if answer is ...:
            raise top.Failure("it has ended")
        if answer is None:
            late.wait(0.05)
            raise top.NoAnswer("it did not answer")
        return answer

    monkeypatch.setattr(top, "_state", ask)
    with pytest.raises(top.Failure, match="it has ended"):
        await top._go_on("uri", "token", 0.001)
    screens = capsys.readouterr().out.split(top.CLEAR)[1:]
    assert screens[0].startswith("no session lives") or screens[0].startswith("no answer for")
    silent = [screen for screen in screens if screen.startswith("no answer for 0 s: something may")]
    assert any("no session lives" in screen for screen in silent)  # what was shown last
    assert sum(screen.startswith("no session lives") for screen in screens) == 2
    answers = iter((None,))
    with pytest.raises(top.NoAnswer):
        await top._go_on("uri", "token", 0.001)


async def test_a_block_of_the_event_loop_is_shown_for_a_while():
    class Blocked:
        connections = ()

        def __init__(self, ago):
            self._at = time.time() - ago

        def figures(self):
            return reliable_ws.Figures(loop_last_stall=6.0, loop_last_stall_at=self._at)

    words = "the event loop last stood still for 6.0 s at least, 5 s ago"
    assert (await snapshot({"": Blocked(5.1)}))["loop"].startswith(words)
    assert (await snapshot({"": Blocked(3600)}))["loop"] == ""


async def test_a_server_tells_how_long_its_loop_was_blocked_but_for_its_own_interval(monkeypatch):
    """The next heartbeat is due in 6 s: it alone would not come late."""
    monkeypatch.setattr(sessions, "EVICTION_INTERVAL", 0.1)
    monkeypatch.setattr(loop_watch, "BLOCKED", 0.2)
    monkeypatch.setattr(pump, "LOOP_WATCH", watch := LoopWatch())
    async with reliable_ws.serve(silent, "127.0.0.1", 0) as server, local(server):
        begun = time.monotonic()
        time.sleep(0.4)  # noqa: ASYNC251 - what a handler should not do
        await until(lambda: watch.total)
        assert 0.3 <= watch.total <= time.monotonic() - begun
