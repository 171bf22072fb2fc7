"""The test clients of Starlette, FastAPI and Litestar: sessions without a socket."""

from __future__ import annotations

import contextlib

import pytest

import reliable_ws
from reliable_ws import Backoff, ConnectionClosed, NotReliablePeer, SessionLost
from reliable_ws.adapters import adapt as adapt_async
from reliable_ws.adapters import adapt_blocking as adapt
from reliable_ws.sync import wrap
from tests.support.lazy import Lazy
from tests.sync.conftest import SECONDS, run

fastapi, litestar, starlette = map(Lazy, ("fastapi", "litestar", "starlette"))

# Both libraries look at what httpx or anyio have deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Served:
    """Endpoints of one application, and what their handlers saw."""

    def __init__(self) -> None:
        self.methods = reliable_ws.Methods()
        self.methods.register(self.add)
        self.sessions = reliable_ws.Sessions(methods=self.methods)
        self.begun = []

    async def add(self, a: int, b: int):
        return a + b

    async def echo(self, conn):
        self.begun.append(conn.id)
        async for message in conn:
            if message == "leave":
                return
            await conn.send(message)


def of_fastapi(served):
    app = fastapi.FastAPI()

    @app.websocket("/session")
    async def session(websocket: fastapi.WebSocket):
        await websocket.accept()
        await served.sessions.handle(websocket, served.echo)

    @app.websocket("/other")
    async def other(websocket: fastapi.WebSocket):
        await websocket.accept()
        await websocket.send_bytes(b"something else")
        await websocket.close(4001, "no")

    return starlette.testclient.TestClient(app)


def of_litestar(served):
    @litestar.websocket("/session")
    async def session(socket: litestar.WebSocket) -> None:
        await socket.accept()
        await served.sessions.handle(socket, served.echo)

    @litestar.websocket("/other")
    async def other(socket: litestar.WebSocket) -> None:
        await socket.accept()
        await socket.send_bytes(b"something else")
        await socket.close(4001, "no")

    return litestar.testing.TestClient(litestar.Litestar([session, other], logging_config=None))


@pytest.fixture
def served():
    return Served()


@pytest.fixture(params=[of_fastapi, of_litestar])
def client(request, served):
    with request.param(served) as client:
        yield client


def test_messages_and_calls_and_a_close_that_waits_for_the_last(client, served):
    with client.websocket_connect("/session") as session, wrap(session) as conn:
        sent = ["text", b"bytes", {"a": [1, None]}, "x" * 3_000_000]
        for message in sent:
            conn.send(message)
        assert [conn.recv(timeout=SECONDS) for _ in sent] == sent
        assert conn.request("add", [1, 2], timeout=SECONDS) == 3
        conn.send("leave")
    assert (conn.close_code, conn.report.confirmed) == (1000, 5)
    assert served.begun == [conn.id]


def test_both_sides_send_at_the_same_time(client):
    with client.websocket_connect("/session") as session, wrap(session) as conn:
        reading = run(lambda: [conn.recv(timeout=SECONDS) for _ in range(2000)])
        for number in range(2000):
            conn.send(number)
        assert reading.result(SECONDS) == list(range(2000))


def test_a_session_resumes_on_another_websocket_and_its_handler_runs_once(client, served):
    with contextlib.ExitStack() as stack:

        def another():
            return stack.enter_context(client.websocket_connect("/session"))

        with wrap(another(), reopen=another, reconnect=Backoff(initial=0, longest=0)) as conn:
            conn.send("first")
            assert conn.recv(timeout=SECONDS) == "first"
            conn.transport.abort()
            conn.send("second")
            assert conn.recv(timeout=SECONDS) == "second"
            assert conn.stats.resumes == 1
        assert served.begun == [conn.id]


def test_without_another_the_session_is_lost_and_says_so(client):
    with client.websocket_connect("/session") as session:
        conn = wrap(session)
        conn.transport.abort()
        with pytest.raises(SessionLost):
            conn.recv(timeout=SECONDS)
        with pytest.raises(ConnectionClosed):
            conn.send("late")


def test_an_endpoint_that_speaks_something_else(client):
    with client.websocket_connect("/other") as session, pytest.raises(NotReliablePeer):
        wrap(session)


def test_what_is_wrong_is_said(client):
    with pytest.raises(ValueError, match="enter websocket_connect"):
        adapt(client.websocket_connect("/session"))
    with client.websocket_connect("/session") as session:
        with pytest.raises(TypeError, match=r"use reliable_ws\.sync"):
            adapt_async(session)
        transport = adapt(session, max_frame=5000)
        assert (transport.max_frame, transport.role) == (5000, "initiator")
        transport.abort()
