"""The library websocket-client, driven by ``reliable_ws.sync``."""

from __future__ import annotations

import websocket

from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.testing.transport_contract.endpoints import BOAST, BOASTED
from reliable_ws.testing.transport_contract.scenarios import BOASTFUL, scenario
from tests.sync.awaited import BlockingClientContract


class TestWebSocketClient(BlockingClientContract):
    library = "websocket-client"
    distributions = ("websocket-client",)
    max_frame = 2**22  # so much is tried; it has no limit

    def open(self, uri):
        return websocket.create_connection(
            uri, subprotocols=[SUBPROTOCOL], http_no_proxy=["127.0.0.1"]
        )

    @scenario
    async def test_a_limit_that_nobody_told_is_found(self):
        """There is none: nothing has to be sent again."""
        async with (
            self.proxied() as (_, proxy),
            await self.connected(proxy, BOAST, config=BOASTFUL, boasted=BOASTED) as conn,
        ):
            await conn.send(["burst", 1, 2 * self.max_frame])
            assert await conn.recv() == [0, b"x" * 2 * self.max_frame]
            assert proxy.connections == 1
