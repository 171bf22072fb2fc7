"""What is measured: each function returns seconds for plain websockets, and for reliable_ws.

One process sends, another receives (``benchmarks.peers``). Both contestants do the same job:
the application at the other end has taken every message when the clock stops. Plain websockets
proves it by one answer at the end, reliable_ws by ``flush()``.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Self

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as plain_connect

import reliable_ws

from .peers import PLAIN

Pair = tuple[float, float]


class Peers:
    """The receiving process, for the time of a block.

    Args:
        store: Path of a file: the process also serves sessions that are kept there.
    """

    def __init__(self, store: Path | None = None) -> None:
        self._arguments = [] if store is None else [str(store)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        echo, sink, reliable, durable = self._process.stdout.readline().split()
        self.echo = f"ws://127.0.0.1:{echo}"
        self.sink = f"ws://127.0.0.1:{sink}"
        self.reliable = f"ws://127.0.0.1:{reliable}"
        self.durable = f"ws://127.0.0.1:{durable}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()


@contextlib.asynccontextmanager
async def both(
    plain: str, reliable: str
) -> AsyncIterator[tuple[ClientConnection, reliable_ws.Connection]]:
    """Both contestants, connected."""
    async with (
        plain_connect(plain, proxy=None, **PLAIN) as ws,
        reliable_ws.connect(reliable, proxy=None) as conn,
    ):
        yield ws, conn


async def echoes(ws: ClientConnection, payload: bytes, count: int) -> None:
    """Plain websockets: send, wait for the echo, and so on."""
    for _ in range(count):
        await ws.send(payload)
        await ws.recv()


async def timed(work: Callable[[], Awaitable[None]]) -> float:
    began = perf_counter()
    await work()
    return perf_counter() - began


async def stream(peers: Peers, size: int, count: int) -> Pair:
    """Send ``count`` messages of ``size`` bytes one way; all are taken at the end."""
    payload = b"x" * size
    async with both(peers.sink, peers.reliable) as (ws, conn):

        async def plain() -> None:
            for _ in range(count):
                await ws.send(payload)
            await ws.send(b"")
            await ws.recv()

        async def reliable() -> None:
            for _ in range(count):
                await conn.send(payload)
            await conn.flush()

        return await timed(plain), await timed(reliable)


async def one_by_one(peers: Peers, size: int, count: int) -> Pair:
    """Plain: send, wait for the echo. Reliable: send, wait for the confirmation."""
    payload = b"x" * size
    async with both(peers.echo, peers.reliable) as (ws, conn):

        async def reliable() -> None:
            for _ in range(count):
                await (await conn.send(payload))

        return await timed(lambda: echoes(ws, payload, count)), await timed(reliable)


def run(
    measure: Callable[..., Awaitable[Pair]], peers: Peers, *args: int, rounds: int
) -> list[Pair]:
    """Measure several times, the contestants alternating; the first round warms up."""

    async def once() -> Pair:
        return await measure(peers, *args)

    return [asyncio.run(once()) for _ in range(rounds + 1)][1:]
