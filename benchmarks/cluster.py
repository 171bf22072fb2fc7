"""What a cluster costs (docs/cluster.md): ``make bench-cluster``.

It needs redis-server, and python-socketio (the dependency group ``bench``). JetStream is beside it
where nats-server is installed.

Nodes and an engine, each in a process of its own, and one client here. Each row is measured a few
times, in turn with the others, and the best counts: only ratios within one run mean anything. A
client asks for its URI with each attempt (``connect(uri)``): so it is brought to another node.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import reliable_ws

from . import brokers, rooms

HOST = "127.0.0.1"
PAYLOAD = b"x" * 256
ROWS = {
    "no cluster": ("none", False),
    "relay, at the owner": ("relay", False),
    "relay, at another node": ("relay", True),
    "log, at the owner": ("log", False),
}
SESSIONS = 10_000
PER_TURN = 16
"""Messages that a node sends in one turn of the loop, where it sends."""

SHORT_ROUNDS = 10
"""Rounds of the rows for each round of the rooms: some of them run when nothing else does."""

SEND, LAST = b"send ", b"last"


# ---------------------------------------------------------------------- a node


async def take(conn: reliable_ws.Connection) -> None:
    """Take messages; send as many as a message asks for."""
    async for message in conn:
        if message[: len(SEND)] == SEND:
            await send_in_turns(conn, int(message[len(SEND) :]))


async def send_in_turns(conn: reliable_ws.Connection, count: int) -> None:
    """Send so many messages, :data:`PER_TURN` in each turn of the loop, and a last one."""
    for number in range(count):
        try:
            conn.send_nowait(PAYLOAD)
        except reliable_ws.OutboxFull:
            await conn.flush()
            conn.send_nowait(PAYLOAD)
        if number % PER_TURN == PER_TURN - 1:
            await asyncio.sleep(0)
    await conn.flush()
    await conn.send(LAST)


async def node(port: int, engine: str, level: str) -> None:
    options: dict[str, Any] = {}
    if level != "none":
        options = {"cluster": reliable_ws.Cluster(engine), "level": level}
    server = await reliable_ws.serve(take, HOST, port, **options)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.inner.close)
    await server.wait_closed()


# ---------------------------------------------------------------------- the client


class Row:
    """One way to a handler."""

    def __init__(self, conn: reliable_ws.Connection) -> None:
        self.conn = conn
        self.stream = 0.0
        "Messages per second from the client, confirmed."
        self.sent = 0.0
        "Messages per second from the node, confirmed."
        self.single = float("inf")
        "Milliseconds of one confirmed send, the median."

    async def measure(self, messages: int) -> None:
        conn = self.conn
        # What the node sends.
        begun = time.perf_counter()
        await conn.send(SEND + str(messages).encode())
        async for message in conn:
            if message == LAST:
                break
        self.sent = max(self.sent, messages / (time.perf_counter() - begun))
        # What the client sends.
        begun = time.perf_counter()
        for _ in range(messages):
            await conn.send(PAYLOAD)
        await conn.flush()
        self.stream = max(self.stream, messages / (time.perf_counter() - begun))
        times = []
        for _ in range(200):
            begun = time.perf_counter()
            await (await conn.send(PAYLOAD))
            times.append(time.perf_counter() - begun)
        self.single = min(self.single, statistics.median(times) * 1000)


async def open_row(nodes: list[int]) -> Row:
    """Open a session at the first node; its next WebSocket reaches the last one."""
    target = nodes[0]
    conn = await reliable_ws.connect(lambda: f"ws://{HOST}:{target}", proxy=None)
    if target != nodes[-1]:
        target = nodes[-1]
        conn.transport.abort()
        await (await conn.send(b""))
    return Row(conn)


async def memory_of_sessions(engine: str) -> float:
    """Return what a record of the engine takes, in MB for ten thousand sessions."""
    import redis.asyncio

    from reliable_ws.cluster.engine import Engine

    async with redis.asyncio.Redis.from_url(engine) as client:
        before = (await client.info("memory"))["used_memory"]
        own = Engine.at(engine, secrets.token_bytes(12), 10.0, 5.0)
        for _ in range(SESSIONS):
            fields = ["owner", secrets.token_bytes(12), "attempt", "1", "key"]
            fields += [secrets.token_bytes(32), "who", b"\xa8customer", "level", "relay", "run"]
            fields += [secrets.token_bytes(57)]
            await own.find(secrets.token_bytes(16), 3600.0, fields)
        after = (await client.info("memory"))["used_memory"]
        await own.close()
    return float(after - before) / 1e6


@contextlib.contextmanager
def programs() -> Iterator[Any]:
    running: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))

    try:
        yield start
    finally:
        for program in reversed(running):
            program.kill()
            program.wait()


async def listens(port: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            _reader, writer = await asyncio.open_connection(HOST, port)
            writer.close()
            return
        await asyncio.sleep(0.05)


def free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


async def compare(messages: int, times: int, members: int) -> None:
    with tempfile.TemporaryDirectory() as folder, programs() as start:
        port = free_port()
        engine = f"redis://{HOST}:{port}"
        redis_server = ["redis-server", "--port", str(port), "--dir", folder, "--save", ""]
        start(*redis_server, "--appendonly", "yes", "--appendfsync", "everysec")
        await listens(port)
        rows: dict[str, Row] = {}
        for name, (level, is_relayed) in ROWS.items():
            nodes = [free_port() for _ in range(1 + is_relayed)]
            for one in nodes:
                start(sys.executable, "-m", "benchmarks.cluster", "node", str(one), engine, level)
                await listens(one)
            rows[name] = await open_row(nodes)
        jetstream = 0.0
        async with contextlib.AsyncExitStack() as stack:
            publish = await brokers.start_nats(stack, Path(folder))
            for _ in range(times * SHORT_ROUNDS):
                for row in rows.values():
                    await row.measure(messages)
                if publish is not None:
                    begun = time.perf_counter()
                    few = messages // 5  # it is slower
                    await publish(PAYLOAD, few)
                    jetstream = max(jetstream, few / (time.perf_counter() - begun))
        base = rows["no cluster"]
        print(f"{'':26}{'messages/s':>12}{'':>8}{'one, ms':>10}{'':>10}")
        for name, row in rows.items():
            ratio, more = row.stream / base.stream, row.single - base.single
            print(f"{name:26}{row.stream:>12,.0f}{ratio:>7.2f}x{row.single:>10.2f}{more:>+10.2f}")
            await row.conn.close()
        print(f"\nsent by the node, {PER_TURN} messages in a turn:")
        for name, row in rows.items():
            print(f"{name:26}{row.sent:>12,.0f}{row.sent / base.sent:>7.2f}x")
        if jetstream:
            ratio = rows["log, at the owner"].sent / jetstream
            print(f"{'JetStream, file, acks':26}{jetstream:>12,.0f}  (log is {ratio:.1f}x of it)")
        else:
            print(brokers.ABSENT)
        print(f"{SESSIONS:,} sessions in the engine: {await memory_of_sessions(engine):.1f} MB")
        await rooms.compare(engine, [free_port() for _ in range(6)], members, times)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="*")
    parser.add_argument("--messages", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3, help="of rooms; ten times as many of rows")
    parser.add_argument("--members", type=int, default=1000)
    given = parser.parse_args()
    if given.what[:1] == ["node"]:
        asyncio.run(node(int(given.what[1]), given.what[2], given.what[3]))
        return
    os.environ["no_proxy"] = HOST
    asyncio.run(compare(given.messages, given.rounds, given.members))


if __name__ == "__main__":
    main()
