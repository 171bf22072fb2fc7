"""The library websocket-client, driven by ``reliable_ws.sync``."""

from __future__ import annotations

import pytest
import websocket

from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.sync import serve, wrap
from reliable_ws.testing.transport_contract import BlockingClientContract
from reliable_ws.testing.transport_contract.endpoints import BOAST, BOASTED
from reliable_ws.testing.transport_contract.scenarios import BOASTFUL, scenario

NO_PROXY = {"http_no_proxy": ["127.0.0.1"]}


def echo(conn):
    for message in conn:
        conn.send(message)


def test_a_websocket_that_was_opened_again_can_be_wrapped_again():
    ws = websocket.WebSocket()
    used = []
    with serve(echo, "127.0.0.1", 0) as server:
        for _ in range(3):
            ws.connect(f"ws://127.0.0.1:{server.port}", **NO_PROXY)
            with wrap(ws) as conn:
                used.append(conn)
                with pytest.raises(ValueError, match="wrapped already"):
                    wrap(ws)
                conn.send("x")
                assert conn.recv() == "x"


@pytest.mark.parametrize("option", [{"enable_multithread": False}, {"fire_cont_frame": True}])
def test_options_that_it_cannot_work_with(option):
    with serve(echo, "127.0.0.1", 0) as server:
        uri = f"ws://127.0.0.1:{server.port}"
        ws = websocket.create_connection(uri, **option, **NO_PROXY)
        [(name, value)] = option.items()
        with pytest.raises(ValueError, match=f"made with {name}={value}"):
            wrap(ws)
        ws.send_binary(b"untouched")
        ws.shutdown()


class TestWebSocketClient(BlockingClientContract):
    library = "websocket-client"
    distributions = ("websocket-client",)
    max_frame = 2**22  # so much is tried; it has no limit

    def open(self, uri):
        return websocket.create_connection(uri, subprotocols=[SUBPROTOCOL], **NO_PROXY)

    @scenario
    async def test_a_limit_that_nobody_told_is_found(self):
        """There is none: nothing has to be sent again."""
        async with (
            self.proxied() as (_, proxy),
            await self.connected(proxy, BOAST, config=BOASTFUL, boasted=BOASTED) as conn,
        ):
            await conn.send(["large", 2 * self.max_frame])
            assert await conn.recv() == b"x" * 2 * self.max_frame
            assert proxy.connections == 1
