"""ASGIApp, mounted in every framework: it echoes, and it resumes."""

from __future__ import annotations

import pytest

import reliable_ws
from reliable_ws.testing import ChaosProxy
from tests.support.asgi_server import running
from tests.support.lazy import Lazy

from . import settings  # noqa: F401 - Django's

types = Lazy("litestar.types")

MOUNTS = {}


def mount(function):
    MOUNTS[function.__name__] = function
    return function


@mount
def by_itself(live):
    return live


@mount
def starlette(live):
    from starlette.applications import Starlette
    from starlette.routing import Mount

    return Starlette(routes=[Mount("/live", app=live)])


@mount
def fastapi(live):
    from fastapi import FastAPI

    app = FastAPI()
    app.mount("/live", live)
    return app


@mount
def litestar(live):
    from litestar import Litestar, asgi

    @asgi("/live", is_mount=True, copy_scope=True)
    async def mounted(scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        await live(scope, receive, send)

    return Litestar([mounted], logging_config=None)  # its own writes to a closed stream


@mount
def quart(live):
    from quart import Quart

    app = Quart(__name__)
    app.asgi_app = dispatcher(app.asgi_app, live)
    return app


@mount
def channels(live):
    from channels.routing import ProtocolTypeRouter, URLRouter
    from django.urls import path

    return ProtocolTypeRouter({"websocket": URLRouter([path("live/", live)])})


@mount
def falcon(live):
    from falcon.asgi import App as Falcon

    return dispatcher(Falcon(), live)


def dispatcher(app, live):
    async def dispatch(scope, receive, send):
        inner = scope["type"] == "websocket" and scope["path"].startswith("/live")
        await (live if inner else app)(scope, receive, send)

    return dispatch


@pytest.mark.parametrize("name", MOUNTS)
async def test_echoes_and_resumes(name):
    handled = 0

    async def handler(conn):
        nonlocal handled
        handled += 1
        async for message in conn:
            await conn.send(message)

    live = reliable_ws.ASGIApp(handler, drain_timeout=None)
    async with (
        running(MOUNTS[name](live)) as port,
        ChaosProxy("127.0.0.1", port) as proxy,
    ):
        async with reliable_ws.connect(proxy.uri("/live/")) as conn:
            await conn.send("before")
            assert await conn.recv() == "before"
            proxy.reset()
            await conn.send("after")
            assert await conn.recv() == "after"
        assert (conn.report.confirmed, conn.stats.resumes, handled) == (2, 1, 1)
        assert conn.subprotocol == "reliable-ws.v1"
