"""Many connections: confirmed publications against ``broadcast()``, and the memory of idle ones.

``broadcast()`` of websockets is unconfirmed; its clock stops when the members, in a second
process, have got the last message. Publications are confirmed, at most 256 at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator
from time import perf_counter

from websockets.asyncio.server import ServerConnection, broadcast
from websockets.asyncio.server import serve as plain_serve

import reliable_ws

from .peers import PLAIN

Pair = tuple[float, float]
"Of plain websockets, and of reliable_ws."

OUTSTANDING = 256


@contextlib.asynccontextmanager
async def _members(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The second process; it says "ready", then a line for each thing that it was to tell."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.members",
        *arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        await _line(process)
        yield process
    finally:
        process.kill()
        await process.communicate()


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def publications(members: int, size: int, count: int) -> Pair:
    """Return the seconds for ``count`` messages to so many members."""
    payload = b"x" * size
    return await _broadcast(members, payload, count), await _publish(members, payload, count)


async def _broadcast(members: int, payload: bytes, count: int) -> float:
    crowd: set[ServerConnection] = set()

    async def join(ws: ServerConnection) -> None:
        crowd.add(ws)
        await ws.wait_closed()

    async with plain_serve(join, "127.0.0.1", 0, **PLAIN) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with _members("plain", str(port), str(members)) as process:
            while len(crowd) < members:  # noqa: ASYNC110 - the last ones are on their way
                await asyncio.sleep(0.01)
            began = perf_counter()
            for _ in range(count):
                broadcast(crowd, payload)
                await asyncio.sleep(0)
            broadcast(crowd, b"")
            await _line(process)
            return perf_counter() - began


async def _publish(members: int, payload: bytes, count: int) -> float:
    group = reliable_ws.Group()

    async def join(conn: reliable_ws.Connection) -> None:
        group.join(conn)
        await conn.wait_closed()

    server = await reliable_ws.serve(join, "127.0.0.1", 0)
    async with _members("reliable", str(server.port), str(members)):
        while len(group) < members:  # noqa: ASYNC110 - the last ones are on their way
            await asyncio.sleep(0.01)
        began = perf_counter()
        outstanding: deque[reliable_ws.Publication] = deque()
        for _ in range(count):
            if len(outstanding) >= OUTSTANDING:
                await outstanding.popleft().wait()
            outstanding.append(group.publish(payload))
        for publication in outstanding:
            await publication.wait()
        seconds = perf_counter() - began
        assert len(group) == members
    await server.drain(0)
    return seconds


async def idle(members: int) -> tuple[float, float]:
    """Return the bytes of resident memory for each idle connection: plain, reliable."""
    return await _idle("plain", members), await _idle("reliable", members)


async def _idle(kind: str, members: int) -> float:
    """The second process serves; a third has the members, so that neither is in the way."""
    async with _members(f"serve-{kind}", "0", "0") as server:
        assert server.stdin is not None
        port, before = (await _line(server)).split()
        async with _members(kind, port, str(members)):
            server.stdin.write(b"\n")
            after = await _line(server)
    return (int(after) - int(before)) / members
