"""Faults as somebody meets them who has only the log, the tools and the pages."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

import reliable_ws
from reliable_ws import Config
from reliable_ws.cli import main
from reliable_ws.driver import loop_watch
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
    config = Config(idle_timeout=1.0)
    async with (
        reliable_ws.serve(silent, "127.0.0.1", 0, config=config) as server,
        local(server, config=config) as one,
        local(server, config=config) as other,
    ):
        time.sleep(1.2)  # noqa: ASYNC251 - what a handler should not do
        assert await one.recv()
        assert await other.recv()
        await asyncio.sleep(0)
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
