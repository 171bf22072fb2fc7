"""ASGIApp, spoken to as a server does."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from reliable_ws import ASGIApp, SessionLost, Sessions, wrap
from reliable_ws.testing.memory import pair


async def echo(conn):
    async for message in conn:
        await conn.send(message)


async def answers(app, scope, *events):
    """What the application sends on a scope in which these events come."""
    sent = []
    coming = iter(events)

    async def receive():
        return next(coming)

    async def send(event):
        sent.append(event)

    await app(scope, receive, send)
    return sent


class Socket:
    """A WebSocket as its server sees it; ``near`` is the other end."""

    def __init__(self, app, **scope):
        self.near, self._far = pair()
        self.accepted = asyncio.get_running_loop().create_future()
        self._events = [{"type": "websocket.connect"}]
        self.scope = {"type": "websocket", "path": "/", "subprotocols": [], **scope}
        self.serving = asyncio.create_task(app(self.scope, self._receive, self._send))

    async def _receive(self):
        if self._events:
            return self._events.pop()
        try:
            return {"type": "websocket.receive", "bytes": await self._far.recv()}
        except ConnectionError as end:
            return {"type": "websocket.disconnect", "code": end.code}

    async def _send(self, event):
        match event["type"]:
            case "websocket.accept" | "websocket.close" if not self.accepted.done():
                self.accepted.set_result(event)
            case "websocket.send":
                await self._far.send(event["bytes"])
            case "websocket.close":
                await self._far.close(event["code"], event["reason"])


@pytest.fixture(autouse=True)
def sigterm():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


async def test_serves_sessions_and_gives_the_scope_to_the_handler():
    scopes = []

    async def handler(conn):
        scopes.append(conn.websocket)
        await echo(conn)

    socket = Socket(ASGIApp(handler), subprotocols=["other", "reliable-ws.v1"])
    assert (await socket.accepted)["subprotocol"] == "reliable-ws.v1"
    async with wrap(socket.near) as conn:
        await conn.send("hello")
        assert await conn.recv() == "hello"
    await socket.serving
    assert scopes == [socket.scope]


async def test_resumes_sessions_whatever_app_shares_them():
    sessions = Sessions()
    apps = [ASGIApp(echo, sessions=sessions) for _ in range(2)]
    sockets = [Socket(app) for app in apps]
    detached = asyncio.Event()

    def on_event(event):
        if event.name == "detached":
            detached.set()

    async with wrap(sockets[0].near, resume_within=10, on_event=on_event) as conn:
        await conn.send("one")
        assert await conn.recv() == "one"
        sockets[0].near.abort()
        await detached.wait()
        await conn.resume(sockets[1].near)
        await conn.send("two")
        assert await conn.recv() == "two"
        assert [app.sessions for app in apps] == [sessions] * 2
    await asyncio.gather(*(socket.serving for socket in sockets))


async def test_a_peer_that_offers_no_subprotocol_is_told_of_none():
    socket = Socket(ASGIApp(echo))
    assert (await socket.accepted)["subprotocol"] is None
    socket.near.abort()
    await socket.serving


async def test_the_principal_is_found_in_the_scope_and_kept():
    async def principal(scope):
        if scope["path"] == "/forbidden":
            raise PermissionError
        return scope["path"]

    app = ASGIApp(echo, principal=principal)
    refused = Socket(app, path="/forbidden")
    assert (await refused.accepted)["type"] == "websocket.close"
    await refused.serving
    ann, bob = Socket(app, path="/ann"), Socket(app, path="/bob")
    conn = await wrap(ann.near, resume_within=10)
    with pytest.raises(SessionLost, match="no such session here"):
        await conn.resume(bob.near)
    conn.abort()
    ann.near.abort()
    await asyncio.gather(ann.serving, bob.serving)


@pytest.mark.parametrize("version", ["1.1", "2"])
async def test_other_requests_are_told_to_upgrade(version):
    start, body = await answers(ASGIApp(echo), {"type": "http", "http_version": version})
    assert start["status"] == 426
    headers = dict(start["headers"])
    assert headers.get(b"upgrade") == (b"websocket" if version == "1.1" else None)
    assert int(headers[b"content-length"]) == len(body["body"])


async def test_an_unknown_scope_is_refused():
    with pytest.raises(ValueError, match="'webtransport'"):
        await answers(ASGIApp(echo), {"type": "webtransport"})


async def test_the_end_of_the_server_is_the_end_of_what_is_left():
    app = ASGIApp(echo)
    socket = Socket(app)
    conn = await wrap(socket.near, resume_within=10)
    socket.near.abort()
    await socket.serving
    (left,) = app.sessions.connections
    types = ["lifespan.startup", "lifespan.of_a_test_client", "lifespan.shutdown"]
    sent = await answers(app, {"type": "lifespan"}, *({"type": name} for name in types))
    assert sent == [{"type": f"{types[0]}.complete"}, {"type": f"{types[2]}.complete"}]
    assert left.state.name == "CLOSED"
    conn.abort()


async def test_sigterm_drains_though_nobody_told_of_the_start():
    gone = asyncio.Event()
    signal.signal(signal.SIGTERM, lambda *_: gone.set())
    socket = Socket(ASGIApp(echo))
    async with wrap(socket.near) as conn:
        await conn.send("hello")
        await conn.flush()
        os.kill(os.getpid(), signal.SIGTERM)
        assert [message async for message in conn] == ["hello"]
    assert conn.close_code == 1001
    async with asyncio.timeout(60):
        await gone.wait()
    await socket.serving


async def test_sigterm_that_cannot_be_watched_is_told_once_if_it_should(caplog, monkeypatch):
    def refuse(*_):
        raise NotImplementedError  # as on Windows

    monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", refuse)
    for timeout in (None, 1.0):
        app = ASGIApp(echo, drain_timeout=timeout)
        for _ in range(2):
            await answers(app, {"type": "lifespan"}, *[{"type": "lifespan.startup"}, END])
        assert caplog.text.count("SIGTERM will not drain") == (timeout is not None)


END = {"type": "lifespan.shutdown"}
