"""What cannot be taken over is refused, and the error says what to do."""

from __future__ import annotations

import asyncio

import pytest

import reliable_ws
from reliable_ws.adapters import adapt
from tests.support.lazy import Lazy

falcon, litestar, quart, starlette = map(Lazy, ("falcon", "litestar", "quart", "starlette"))
werkzeug = Lazy("werkzeug")

KINDS = {"starlette": Lazy("starlette.websockets"), "litestar": litestar}
SCOPE = {"type": "websocket", "path": "/", "headers": [], "query_string": b"", "subprotocols": []}
NOT_ACCEPTED = r"not accepted yet: await its accept\(\) first"


def server(*events):
    """What an ASGI server gives to an application in which these events come."""
    coming = iter([{"type": f"websocket.{name}", "code": 1000} for name in events])

    async def receive():
        return next(coming)

    async def send(_event):
        pass

    return receive, send


@pytest.mark.parametrize("kind", KINDS)
async def test_a_websocket_that_is_not_open(kind):
    websocket = KINDS[kind].WebSocket(dict(SCOPE), *server("connect", "disconnect"))
    with pytest.raises(ValueError, match=NOT_ACCEPTED):
        adapt(websocket)
    await websocket.accept()
    assert adapt(websocket).role == "acceptor"
    assert adapt(websocket, max_frame=5000).max_frame == 5000
    await websocket.receive()
    with pytest.raises(ValueError, match="closed"):
        reliable_ws.wrap(websocket)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_websocket_that_does_not_tell_who_reads_it_is_wrapped_once(kind):
    websocket = KINDS[kind].WebSocket(dict(SCOPE), *server("connect"))
    await websocket.accept()
    with pytest.raises(ValueError, match="reopen= is for the initiator"):
        reliable_ws.wrap(websocket, reopen=websocket.accept)
    sessions = reliable_ws.Sessions()
    sessions.handle(websocket, reliable_ws.Connection.wait_closed).close()  # took nothing over
    wrapped = reliable_ws.wrap(websocket)
    for take in (
        reliable_ws.wrap,
        lambda ws: sessions.handle(ws, reliable_ws.Connection.wait_closed),
    ):
        with pytest.raises(ValueError, match="wrapped already: it belongs to a connection"):
            take(websocket)
    del wrapped
    reliable_ws.wrap(websocket)


async def test_quart_stands_for_another_websocket_in_every_handler():
    app = quart.Quart(__name__)
    wrapped = []
    for _ in range(2):
        inner = quart.wrappers.Websocket(
            "/", b"", "ws", werkzeug.datastructures.Headers(), "", "1.1", [], *4 * [app], SCOPE
        )
        async with app.websocket_context(inner):
            wrapped.append(reliable_ws.wrap(quart.websocket))
            with pytest.raises(ValueError, match="wrapped already"):
                reliable_ws.wrap(quart.websocket)


async def test_falcon():
    """Which also tells whether somebody receives."""

    class Resource:
        async def on_websocket(self, _req, ws):
            with pytest.raises(ValueError, match=NOT_ACCEPTED):
                adapt(ws)
            await ws.accept()
            reading = asyncio.create_task(ws.receive_data())
            await asyncio.sleep(0)
            with pytest.raises(ValueError, match="another task is receiving"):
                adapt(ws)
            await asyncio.wait([reading])
            assert isinstance(reading.exception(), falcon.WebSocketDisconnected)
            with pytest.raises(ValueError, match="is closed"):
                adapt(ws)
            checked.set()

    checked = asyncio.Event()
    app = falcon.asgi.App()
    app.add_route("/", Resource())
    async with falcon.testing.ASGIConductor(app) as conductor:
        async with conductor.simulate_ws("/") as ws:
            adapt(ws)
        with pytest.raises(ValueError, match="is closed"):
            adapt(ws)
    assert checked.is_set()


async def test_quart_outside_of_a_handler():
    with pytest.raises(RuntimeError, match="websocket context"):
        adapt(quart.websocket)


def test_an_object_of_the_library_that_is_no_websocket():
    for wrong in (
        starlette.requests.Request({**SCOPE, "type": "http"}),
        litestar.Request({**SCOPE, "type": "http"}),
        falcon.testing.create_req(),
        quart.Quart(__name__),
    ):
        with pytest.raises(TypeError, match="not a WebSocket of"):
            adapt(wrong)
