"""A publication to 1,000 members in three processes: a group, and python-socketio's Redis manager.

Publications of the group are confirmed by every member, at most 256 at a time; the clock stops when
the publisher knows all outcomes. Those of python-socketio are not confirmed, and may be lost; the
clock stops when every member has got the last one. The publisher is one of the three processes. All
members are in one process of their own: those of the group are whole clients, those of
python-socketio only answer pings.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import Any

import uvicorn
from websockets.asyncio.client import connect as plain_connect

import reliable_ws

HOST = "127.0.0.1"
OUTSTANDING = 256
LAST = "last"

PUBLICATIONS = 50
"""In one round."""


def say(*words: object) -> None:
    print(*words, flush=True)


async def commands() -> asyncio.StreamReader:
    """Return what the parent says."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    return reader


# ---------------------------------------------------------------------- a node of each kind


async def group_node(port: int, engine: str) -> None:
    cluster = reliable_ws.Cluster(engine)
    group = reliable_ws.Group("room", cluster=cluster)

    async def join(conn: reliable_ws.Connection) -> None:
        await group.join(conn)
        await conn.wait_closed()

    await reliable_ws.serve(join, HOST, port, cluster=cluster)
    said = await commands()
    say("ready")
    while line := await said.readline():
        count, size = map(int, line.split())
        payload = "x" * size
        outstanding: deque[reliable_ws.Publication] = deque()
        for _ in range(count):
            if len(outstanding) >= OUTSTANDING:
                await outstanding.popleft().wait()
            outstanding.append(group.publish(payload))
        tally: dict[Any, int] = {}
        for publication in outstanding:
            for recipient in await publication.wait():
                tally[recipient.fate] = tally.get(recipient.fate, 0) + 1
        assert set(tally) == {reliable_ws.Fate.CONFIRMED}, tally
        say("done", tally[reliable_ws.Fate.CONFIRMED] // len(outstanding))


async def socketio_node(port: int, engine: str) -> None:
    import socketio

    manager = socketio.AsyncRedisManager(engine)
    server = socketio.AsyncServer(async_mode="asgi", client_manager=manager)

    @server.event  # type: ignore[untyped-decorator]
    async def connect(sid: str, _environ: object) -> None:
        await server.enter_room(sid, "room")

    app = socketio.ASGIApp(server)
    config = uvicorn.Config(app, HOST, port, log_level="error")
    serving = asyncio.create_task(uvicorn.Server(config).serve())
    said = await commands()
    say("ready")
    while line := await said.readline():
        count, size = map(int, line.split())
        payload = "x" * size
        for _ in range(count):
            await server.emit("m", payload, room="room")
        await server.emit("m", LAST, room="room")
        say("done")
    serving.cancel()


# ---------------------------------------------------------------------- the members


async def members(kind: str, count: int, ports: list[int]) -> None:
    connections: list[Any] = []
    opening = open_socketio if kind == "socketio" else open_member
    while len(connections) < count:
        some = range(len(connections), min(count, len(connections) + 50))
        connections += await asyncio.gather(*(opening(ports[at % len(ports)]) for at in some))
    say("ready")
    ends: list[None] = []

    async def read(conn: Any) -> None:
        async for message in conn:
            if kind == "socketio" and message == "2":
                await conn.send("3")
            elif LAST in message[:16]:
                ends.append(None)
                if len(ends) % count == 0:
                    say("all")

    await asyncio.gather(*map(read, connections))


async def open_member(port: int) -> reliable_ws.Connection:
    return await reliable_ws.connect(f"ws://{HOST}:{port}", proxy=None)


async def open_socketio(port: int) -> Any:
    uri = f"ws://{HOST}:{port}/socket.io/?EIO=4&transport=websocket"
    conn = await plain_connect(uri, proxy=None, compression=None, ping_interval=None)
    await conn.recv()
    await conn.send("40")
    await conn.recv()
    return conn


# ---------------------------------------------------------------------- the comparison


class Child:
    """A process that is told something, and answers with lines."""

    def __init__(self, *arguments: object) -> None:
        self._arguments = [str(one) for one in arguments]

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "benchmarks.rooms",
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert await self.line() == "ready"

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().strip()

    def tell(self, *words: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write((" ".join(map(str, words)) + "\n").encode())

    async def stop(self) -> None:
        self.process.kill()
        await self.process.communicate()


class Room:
    """Three nodes and their members."""

    def __init__(self, kind: str, engine: str, count: int, ports: list[int]) -> None:
        self.kind = kind
        self.nodes = [Child("node", kind, port, engine) for port in ports]
        self.members = Child("members", kind, count, *ports)
        self.best = float("inf")

    async def start(self) -> None:
        for node in self.nodes:
            await node.start()
        await self.members.start()
        await self.measure(10, 16)  # whatever is done once

    async def measure(self, count: int, size: int) -> float:
        """Return the seconds for so many publications."""
        begun = asyncio.get_running_loop().time()
        self.nodes[0].tell(count, size)
        if self.kind == "group":
            assert (await self.nodes[0].line()).startswith("done")
        else:
            assert await self.members.line() == "all"
            assert await self.nodes[0].line() == "done"
        return asyncio.get_running_loop().time() - begun

    async def stop(self) -> None:
        for child in (self.members, *self.nodes):
            await child.stop()


async def compare(engine: str, ports: list[int], count: int, rounds: int, size: int = 256) -> None:
    """Print the seconds of a publication to ``count`` members: the best of some rounds of each."""
    rooms = [Room("group", engine, count, ports[:3]), Room("socketio", engine, count, ports[3:])]
    try:
        for room in rooms:
            await room.start()
        for _ in range(rounds):
            for room in rooms:
                room.best = min(room.best, await room.measure(PUBLICATIONS, size) / PUBLICATIONS)
    finally:
        for room in rooms:
            await room.stop()
    group, other = rooms
    print(f"a publication to {count:,} members in three processes, {size} bytes")
    print(f"{'python-socketio, not confirmed':32}{other.best * 1000:>8.1f} ms")
    print(f"{'Group, confirmed by each':32}{group.best * 1000:>8.1f} ms", end="")
    print(f"{other.best / group.best:>8.2f}x as fast")


if __name__ == "__main__":
    role, kind, *rest = sys.argv[1:]
    if role == "node":
        run = group_node if kind == "group" else socketio_node
        asyncio.run(run(int(rest[0]), rest[1]))
    else:
        asyncio.run(members(kind, int(rest[0]), [int(port) for port in rest[1:]]))
