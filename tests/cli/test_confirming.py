"""Confirming deliveries one by one, as the listener does, tells the peer in good time."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import Config, Connection, connect, serve

COUNT = 50


@pytest.mark.transport
@pytest.mark.parametrize("order", ["forwards", "backwards"])
async def test_a_confirmation_is_told_soon_in_whatever_order_it_was_given(order):
    release = asyncio.Event()

    async def handler(conn: Connection) -> None:
        taken = []
        async for delivery in conn.deliveries():
            taken.append(delivery)
            if len(taken) == COUNT:
                await release.wait()
                for one in taken if order == "forwards" else reversed(taken):
                    one.confirm()

    config = Config(ack_delay=0.01, idle_timeout=60)
    async with (
        asyncio.timeout(60),
        serve(handler, "127.0.0.1", 0, config=config) as server,
        connect(f"ws://127.0.0.1:{server.port}", config=config) as conn,
    ):
        receipts = [await conn.send(str(number)) for number in range(COUNT)]
        with pytest.raises(TimeoutError):
            await conn.flush(timeout=0.05)
        release.set()
        await receipts[0]
        await conn.flush()
