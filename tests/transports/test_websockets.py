"""The library websockets, both sides."""

from __future__ import annotations

from reliable_ws.testing.transport_contract import ClientContract
from reliable_ws.testing.transport_contract.scenarios import open_plain

from .programs import ProgramContract


class TestServer(ProgramContract):
    program = ("own", "websockets_asyncio")


class TestClient(ClientContract):
    async def opened(self, uri):
        return await open_plain(uri, max_size=self.max_frame)
