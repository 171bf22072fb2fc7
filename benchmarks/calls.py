"""Requests against echoes of plain websockets, whose answers are matched by hand-made ids."""

from __future__ import annotations

import asyncio
import itertools

from .measure import Pair, Peers, both, echoes, timed

CALLERS = 64


async def concurrent(peers: Peers, size: int, count: int) -> Pair:
    """64 callers at once over one connection, each waiting for its answer before the next."""
    payload = b"x" * size
    each = count // CALLERS
    async with both(peers.echo, peers.reliable) as (ws, conn):
        ids = itertools.count()
        waiting: dict[bytes, asyncio.Future[bytes]] = {}

        async def read() -> None:
            async for message in ws:
                assert isinstance(message, bytes)
                waiting.pop(message[:8]).set_result(message[8:])

        async def plain_caller() -> None:
            loop = asyncio.get_running_loop()
            for _ in range(each):
                key = next(ids).to_bytes(8, "big")
                answer = waiting[key] = loop.create_future()
                await ws.send(key + payload)
                await answer

        async def reliable_caller() -> None:
            for _ in range(each):
                await conn.request("echo", payload)

        async def plain() -> None:
            await asyncio.gather(*(plain_caller() for _ in range(CALLERS)))

        async def reliable() -> None:
            await asyncio.gather(*(reliable_caller() for _ in range(CALLERS)))

        reader = asyncio.create_task(read())
        pair = await timed(plain), await timed(reliable)
        reader.cancel()
        return pair


async def sequential(peers: Peers, size: int, count: int) -> Pair:
    """One rpc_client: the time of a request against that of an echo."""
    payload = b"x" * size
    async with both(peers.echo, peers.reliable) as (ws, conn):

        async def reliable() -> None:
            for _ in range(count):
                await conn.request("echo", payload)

        return await timed(lambda: echoes(ws, payload, count)), await timed(reliable)
