"""The second process of ``benchmarks.crowd``: members of a broadcast, or a server of idle ones."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect as plain_connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as plain_serve
from websockets.exceptions import ConnectionClosed

import reliable_ws

from .peers import PLAIN


def say(*words: object) -> None:
    print(*words, flush=True)


async def read(messages: Any, ends: list[None], count: int) -> None:
    """Take messages until the empty one."""
    async for message in messages:
        if not message:
            ends.append(None)
            if len(ends) == count:
                say("all")


async def members(kind: str, port: str, count: int) -> None:
    uri = f"ws://127.0.0.1:{port}"
    ends: list[None] = []
    connections: list[Any] = []
    while len(connections) < count:
        some = [
            plain_connect(uri, proxy=None, **PLAIN)
            if kind == "plain"
            else reliable_ws.connect(uri, proxy=None)
            for _ in range(min(50, count - len(connections)))
        ]
        connections += await asyncio.gather(*(_opened(connecting) for connecting in some))
    say("ready")
    await asyncio.gather(*(read(connection, ends, count) for connection in connections))


async def _opened(connecting: Any) -> Any:
    return await connecting


def resident() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


async def reader(connection: ServerConnection | reliable_ws.Connection) -> None:
    """Wait for messages, as nearly every handler does, until the members are gone."""
    with contextlib.suppress(ConnectionClosed):
        async for _message in connection:
            pass


async def serving(kind: str) -> None:
    """Say port and memory; for each line of input, memory again."""
    if kind == "serve-plain":
        plain = await plain_serve(reader, "127.0.0.1", 0, **PLAIN)
        port = next(iter(plain.sockets)).getsockname()[1]
        connect: Any = plain_connect(f"ws://127.0.0.1:{port}", proxy=None, **PLAIN)
    else:
        port = (await reliable_ws.serve(reader, "127.0.0.1", 0)).port
        connect = reliable_ws.connect(f"ws://127.0.0.1:{port}", proxy=None)
    async with connect:
        pass  # whatever is made once
    say("ready")
    say(port, resident())
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        say(resident())


if __name__ == "__main__":
    kind, port, count = sys.argv[1:]
    asyncio.run(serving(kind) if kind.startswith("serve") else members(kind, port, int(count)))
