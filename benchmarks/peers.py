"""The receiving process: a plain echo, a plain sink, and a reliable_ws handler.

Started by ``benchmarks.durable``; prints its three ports and serves until its input ends. With the
path of a file as argument it also serves sessions that are kept there, and a plain echo that keeps
each message in a file beside it before it answers: it prints two ports more.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as plain_serve

import reliable_ws

from .bare_store import BareStore

PLAIN: dict[str, Any] = {"compression": None, "ping_interval": None, "max_size": None}
"""Plain websockets at its fastest: both sides, in every comparison."""


async def plain_echo(ws: ServerConnection) -> None:
    """Send every message back."""
    async for message in ws:
        await ws.send(message)


async def plain_sink(ws: ServerConnection) -> None:
    """Take messages; answer an empty one, so that the sender knows that all were taken."""
    async for message in ws:
        if not message:
            await ws.send(b"")


async def reliable_sink(conn: reliable_ws.Connection) -> None:
    """Take messages. Taking confirms."""
    async for _message in conn:
        pass


async def echo(value: bytes) -> bytes:
    """Answer a request with its parameter."""
    return value


@contextlib.asynccontextmanager
async def durable(path: str | None = None) -> AsyncIterator[list[int]]:
    """Serve sessions that survive a power cut, if there is a path, and the same made by hand."""
    if path is None:
        yield []
        return
    bare, thread = BareStore(Path(f"{path}.bare")), ThreadPoolExecutor(1)
    loop = asyncio.get_running_loop()

    async def keeping_echo(ws: ServerConnection) -> None:
        async for message in ws:
            assert isinstance(message, bytes)
            await loop.run_in_executor(thread, bare.keep, message)
            await ws.send(message)

    with reliable_ws.SQLiteStore(path, survives="power") as store:
        async with (
            reliable_ws.serve(
                reliable_sink, "127.0.0.1", 0, store=store, drain_timeout=1
            ) as server,
            plain_serve(keeping_echo, "127.0.0.1", 0, **PLAIN) as by_hand,
        ):
            yield [server.port, port_of(by_hand)]


def port_of(server: Server) -> int:
    port: int = next(iter(server.sockets)).getsockname()[1]
    return port


async def main() -> None:
    methods = reliable_ws.Methods()
    methods.register(echo)
    async with (
        plain_serve(plain_echo, "127.0.0.1", 0, **PLAIN) as echoes,
        plain_serve(plain_sink, "127.0.0.1", 0, **PLAIN) as sink,
        reliable_ws.serve(
            reliable_sink, "127.0.0.1", 0, methods=methods, drain_timeout=1
        ) as server,
        durable(*sys.argv[1:]) as ports,
    ):
        print(port_of(echoes), port_of(sink), server.port, *ports, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
