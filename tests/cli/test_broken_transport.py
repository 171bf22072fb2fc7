"""Writing to a transport that has failed, in the turn in which nobody has been told yet."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws.adapters.websockets.asyncio import dial, listen
from reliable_ws.transport import TransportClosed


@pytest.mark.transport
async def test_sending_on_a_failed_transport_raises_and_does_not_warn_for_every_write(caplog):
    async def handler(transport):
        while True:
            await transport.recv()

    async with asyncio.timeout(60), listen(handler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        transport = await dial(f"ws://127.0.0.1:{port}")
        transport.websocket.transport.abort()  # as a write that met a reset does
        for _ in range(10):
            with pytest.raises(TransportClosed):
                transport.send_now(b"into the void")
        assert "socket.send() raised exception" not in caplog.text
        transport.abort()
