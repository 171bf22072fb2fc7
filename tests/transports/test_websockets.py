"""The library websockets, both implementations for asyncio, both sides, in every release."""

from __future__ import annotations

import importlib
import warnings

import pytest
import websockets

from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.testing.transport_contract import ClientContract
from reliable_ws.testing.transport_contract.scenarios import open_plain

from .programs import ProgramContract

pytestmark = pytest.mark.transport

RELEASE = tuple(int(part) for part in websockets.__version__.split(".")[:2])
KEEPS_UNREAD = RELEASE >= (14, 1)  # before, what is unread is dropped when the connection ends


class TestServer(ProgramContract):
    library = "websockets (asyncio)"
    distributions = ("websockets",)
    program = ("own", "websockets_asyncio")
    keeps_unread = KEEPS_UNREAD


class TestClient(ClientContract):
    library = "websockets (asyncio)"
    distributions = ("websockets",)
    keeps_unread = KEEPS_UNREAD

    async def opened(self, uri):
        return await open_plain(uri, max_size=self.max_frame)


class TestLegacyServer(ProgramContract):
    library = "websockets (legacy)"
    distributions = ("websockets",)
    program = ("own", "websockets_legacy")


class TestLegacyClient(ClientContract):
    library = "websockets (legacy)"
    distributions = ("websockets",)

    async def opened(self, uri):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            legacy = importlib.import_module("websockets.legacy.client")
        return await legacy.connect(
            uri, subprotocols=[SUBPROTOCOL], compression=None, ping_interval=None
        )
