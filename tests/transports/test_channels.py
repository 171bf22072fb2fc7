"""Consumers of Django Channels, without a server."""

from __future__ import annotations

import importlib
import sys

import pytest
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator

import reliable_ws
from reliable_ws.adapters import adapt
from reliable_ws.adapters.channels import ReliableConsumer

from . import settings  # noqa: F401 - Django's


def briefly():
    """What an application gets for a WebSocket that is gone at once."""
    coming = iter(["websocket.connect", "websocket.disconnect"])

    async def receive():
        return {"type": next(coming), "code": 1000}

    async def send(_event):
        pass

    return {"type": "websocket", "path": "/", "subprotocols": []}, receive, send


async def test_events_of_the_channel_layer_are_dispatched_while_connect_goes_on():
    conns = []

    async def handler(conn):
        conns.append(conn)
        await conn.wait_closed()

    class Member(ReliableConsumer):
        groups = ("room",)
        sessions = reliable_ws.Sessions()

        async def connect(self):
            await self.accept()
            await self.sessions.handle(self, handler)

        async def said(self, event):
            await conns[0].send(event["words"])

    communicator = WebsocketCommunicator(Member.as_asgi(), "/")
    assert (await communicator.connect())[0]
    async with reliable_ws.wrap(communicator) as conn:
        await get_channel_layer().group_send("room", {"type": "said", "words": "hello"})
        assert await conn.recv() == "hello"
    await communicator.wait()


async def test_a_consumer_that_has_not_accepted():
    refused = []

    class Hasty(ReliableConsumer):
        async def connect(self):
            with pytest.raises(ValueError, match="not accepted yet"):
                adapt(self)
            refused.append(True)

    await Hasty.as_asgi()(*briefly())
    assert refused


async def test_what_connect_raises_reaches_the_server():
    class Broken(ReliableConsumer):
        async def connect(self):
            await self.accept()
            raise LookupError("no such room")

    with pytest.raises(LookupError, match="no such room"):
        await Broken.as_asgi()(*briefly())


def test_an_ordinary_consumer():
    with pytest.raises(TypeError, match=r"subclass of reliable_ws\.adapters\.channels\.Reliable"):
        adapt(AsyncWebsocketConsumer())


def test_channels_that_is_not_installed(monkeypatch):
    monkeypatch.delitem(sys.modules, "reliable_ws.adapters.channels")
    monkeypatch.setitem(sys.modules, "channels.consumer", None)
    with pytest.raises(ImportError, match="pip install channels"):
        importlib.import_module("reliable_ws.adapters.channels")
