"""``make bench-durable``: what it costs that messages survive a power cut.

Every round measures all contestants, one after another, in this order: plain websockets, a session
with a store at both ends, NATS JetStream with file storage, MQTT (QoS 1) with persistence. All
files are on one disk. Servers of others run with the settings that they come with, but for ports,
paths, and limits that would drop messages.

It also measures a store alone, with no session and no socket: no session that keeps its messages
there can be faster. And what a program does by hand, with plain websockets and a commit in a thread
at each end: it has no session.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, closing
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from types import TracebackType
from typing import NamedTuple, Self

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as plain_connect

import reliable_ws
from reliable_ws.protocol.durable import BYTES_AT_ONCE, pack_run
from reliable_ws.store import Change, StoreError

from . import brokers
from .bare_store import BareStore
from .peers import PLAIN

SIZE = 256
STREAM = 50_000
"Messages of a round, for plain websockets and for sessions with a store."

BROKERS = 20_000
"Messages of a round for NATS; MQTT gets a fifth. They are slower, and their rates are compared."

ONE_BY_ONE = 300
COMMITS = 300

RUN = 1024
"After so many messages a stream lets others run."

SLOWER = """
#define _GNU_SOURCE
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>
int fdatasync(int file) {
    struct timespec pause = {%d, %d};
    nanosleep(&pause, 0);
    return syscall(SYS_fdatasync, file);
}
"""
"The function by which SQLite waits for a disk that is so many seconds and nanoseconds slower."

AHEAD = 14
"So many runs may be unconfirmed: nearly what the outbox takes."


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
        echo, sink, reliable, *stored = self._process.stdout.readline().split()
        self.echo = f"ws://127.0.0.1:{echo}"
        self.sink = f"ws://127.0.0.1:{sink}"
        self.reliable = f"ws://127.0.0.1:{reliable}"
        self.durable, self.by_hand = [f"ws://127.0.0.1:{port}" for port in stored] or ("", "")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()


async def echoes(ws: ClientConnection, payload: bytes, count: int) -> None:
    """Plain websockets: send, wait for the echo, and so on."""
    for _ in range(count):
        await ws.send(payload)
        await ws.recv()


async def by_hand(ws: ClientConnection, path: Path, payload: bytes, count: int) -> None:
    """Plain websockets: keep it, send it, wait until the other side has kept it."""
    loop = asyncio.get_running_loop()
    with closing(BareStore(path)) as bare, ThreadPoolExecutor(1) as thread:
        for _ in range(count):
            await loop.run_in_executor(thread, bare.keep, payload)
            await ws.send(payload)
            await ws.recv()


async def timed(work: Callable[[], Awaitable[None]]) -> float:
    began = perf_counter()
    await work()
    return perf_counter() - began


class Round(NamedTuple):
    """Seconds for one message, of each contestant; ``None``: it is absent."""

    plain: float
    durable: float
    nats: float | None
    mqtt: float | None
    echo: float
    confirmed: float
    by_hand: float
    commit: float
    alone_stream: float
    alone_commit: float


async def stream(conn: reliable_ws.Connection, payload: bytes, count: int) -> None:
    """Send one way, and wait until everything is confirmed."""
    marks: deque[reliable_ws.Receipt] = deque()
    for number in range(count):
        receipt = conn.send_nowait(payload)
        if number % RUN == 0:
            marks.append(receipt)
            await (marks.popleft() if len(marks) > AHEAD else asyncio.sleep(0))
    await conn.flush()


async def plain_stream(ws: ClientConnection, payload: bytes, count: int) -> None:
    """Send one way, and wait for the answer to the last one."""
    for _ in range(count):
        await ws.send(payload)
    await ws.send(b"")
    await ws.recv()


async def one_by_one(conn: reliable_ws.Connection, payload: bytes, count: int) -> None:
    """Send, wait for the confirmation, and so on."""
    for _ in range(count):
        await (await conn.send(payload))


def commits(path: Path, payload: bytes, count: int) -> None:
    """Keep messages in a file of the same kind, one with each commit, and nothing else."""
    with closing(BareStore(path)) as bare:
        for _ in range(count):
            bare.keep(payload)


class Alone:
    """A store that is given what a sender and a receiver give theirs, and nobody else."""

    def __init__(self, store: reliable_ws.SQLiteStore) -> None:
        self._store = store
        self._free = threading.Semaphore(1)
        self._error: StoreError | None = None
        self._last = 0
        self._facts = 0

    def _keep(self, change: Change) -> None:
        """Give it to the store once that has kept what it was given before."""
        self._free.acquire()
        self._store.submit([change], self._kept)

    def _kept(self, error: StoreError | None) -> None:
        self._error = error
        self._free.release()

    def _flush(self) -> None:
        """Wait until everything is kept."""
        with self._free:
            if self._error is not None:
                raise self._error

    def _facts_now(self) -> bytes:
        self._facts += 1
        return b"%400d" % self._facts

    def send(self, payloads: list[bytes]) -> None:
        """Keep messages as a sender does, and forget those before."""
        run = pack_run(self._last + 1, payloads)
        self._keep(Change(bytes(16), self._facts_now(), run, confirmed=self._last))
        self._last = run.last

    def stream(self, payload: bytes, count: int) -> None:
        """Keep messages in runs as long as those of a stream."""
        length = BYTES_AT_ONCE // len(payload)
        for first in range(0, count, length):
            self.send([payload] * min(length, count - first))
        self._flush()

    def one_by_one(self, payload: bytes, count: int) -> None:
        """Keep a message, then a confirmation, and so on, each when the one before is kept."""
        for _ in range(count):
            self.send([payload])
            self._flush()
            self._keep(Change(bytes([1] * 16), self._facts_now()))
            self._flush()


@asynccontextmanager
async def connected(
    peers: Peers, store: reliable_ws.SQLiteStore
) -> AsyncIterator[tuple[ClientConnection, ClientConnection, reliable_ws.Connection]]:
    """Connect to the plain sink, the plain echo, and the server with a store."""
    async with (
        plain_connect(peers.sink, proxy=None, **PLAIN) as sink,
        plain_connect(peers.echo, proxy=None, **PLAIN) as echo,
        reliable_ws.connect(peers.durable, proxy=None, store=store, name="bench") as conn,
    ):
        yield sink, echo, conn


async def measure(directory: Path, rounds: int) -> list[Round]:
    """Measure so many rounds, and one before them that warms up."""
    payload = b"x" * SIZE
    found: list[Round] = []
    async with AsyncExitStack() as stack:
        peers = stack.enter_context(Peers(directory / "receiver.db"))
        store = stack.enter_context(
            reliable_ws.SQLiteStore(directory / "sender.db", survives="power")
        )
        alone = Alone(stack.enter_context(reliable_ws.SQLiteStore(directory / "alone.db")))
        nats = await brokers.start_nats(stack, directory)
        mqtt = await brokers.start_mqtt(stack, directory)
        sink, echo, conn = await stack.enter_async_context(connected(peers, store))
        keeping = await stack.enter_async_context(plain_connect(peers.by_hand, proxy=None, **PLAIN))

        async def each(count: int, work: Callable[[], Awaitable[None]]) -> float:
            return await timed(work) / count

        for _ in range(rounds + 1):
            plain = await each(STREAM, lambda: plain_stream(sink, payload, STREAM))
            durable = await each(STREAM, lambda: stream(conn, payload, STREAM))
            over_nats = over_mqtt = None
            if nats is not None:
                over_nats = await each(BROKERS, lambda: nats(payload, BROKERS))
            if mqtt is not None:
                over_mqtt = await each(BROKERS // 5, lambda: mqtt(payload, BROKERS // 5))
            echoed = await each(ONE_BY_ONE, lambda: echoes(echo, payload, ONE_BY_ONE))
            confirmed = await each(ONE_BY_ONE, lambda: one_by_one(conn, payload, ONE_BY_ONE))
            hand_made = await each(
                ONE_BY_ONE, lambda: by_hand(keeping, directory / "hand.db", payload, ONE_BY_ONE)
            )
            began = perf_counter()
            commits(directory / "commits.db", payload, COMMITS)
            commit = (perf_counter() - began) / COMMITS
            began = perf_counter()
            alone.stream(payload, STREAM)
            alone_stream = (perf_counter() - began) / STREAM
            began = perf_counter()
            alone.one_by_one(payload, ONE_BY_ONE // 2)
            alone_commit = (perf_counter() - began) / ONE_BY_ONE
            kept = hand_made, commit, alone_stream, alone_commit
            found.append(Round(plain, durable, over_nats, over_mqtt, echoed, confirmed, *kept))
    return found[1:]


def run_slower(milliseconds: float, arguments: list[str]) -> int:
    """Run this program again, on a disk that is slower by so much. Return its exit status."""
    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit("--slower needs a C compiler")
    seconds, rest = divmod(milliseconds / 1000, 1)
    with tempfile.TemporaryDirectory() as directory:
        library = f"{directory}/slower.so"
        source = SLOWER % (seconds, rest * 1e9)
        made = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-o", library]
        subprocess.run(made, input=source, text=True, check=True)
        again = [sys.executable, "-m", "benchmarks.durable", *arguments]
        environment = os.environ | {"LD_PRELOAD": library}
        return subprocess.run(again, env=environment, check=False).returncode


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.durable", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each (default 7)")
    parser.add_argument("--dir", default=".", help="a directory on the disk (default: this one)")
    parser.add_argument(
        "--slower",
        type=float,
        metavar="MS",
        help="let the disk take so many milliseconds longer for each commit (Linux)",
    )
    arguments = parser.parse_args()
    if arguments.slower is not None:
        same = ["--rounds", str(arguments.rounds), "--dir", arguments.dir]
        sys.exit(run_slower(arguments.slower, same))
    rounds = arguments.rounds
    print(
        f"Python {platform.python_version()}, websockets {version('websockets')}, "
        f"SQLite {sqlite3.sqlite_version}; medians of {rounds} rounds, range in brackets.\n"
        "plain = websockets, compression and pings off. durable = stores that survive a power cut "
        f"at both ends.\nMessages of {SIZE} B.\n"
    )
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=arguments.dir) as directory:
        found = asyncio.run(measure(Path(directory), rounds))
    print("| what | ratio | range | target |")
    print("|---|---|---|---|")
    _row("durable stream / plain", [r.plain / r.durable for r in found], "≥ 4x")
    nats = [r.nats / r.durable for r in found if r.nats is not None]
    _row("durable stream / NATS JetStream, file storage", nats, "≥ 8x")
    mqtt = [r.mqtt / r.durable for r in found if r.mqtt is not None]
    _row("durable stream / MQTT QoS 1, persistence", mqtt, "≥ 30x")
    spent = [(r.confirmed - r.echo) / r.commit for r in found]
    _row("durable confirmed send: time above plain echo, in commits", spent, "≤ 2.2x")
    spent = [(r.by_hand - r.echo) / r.commit for r in found]
    _row("plain websockets, a commit in a thread at both ends: the same", spent, "")
    _row("the store alone: stream / plain", [r.plain / r.alone_stream for r in found], "")
    twice = [2 * r.alone_commit / r.commit for r in found]
    _row("the store alone: the two commits of a confirmed send, in commits", twice, "")
    print("\n| a second | messages, or commits |")
    print("|---|---|")
    for name, field in (
        ("plain stream", "plain"),
        ("durable stream", "durable"),
        ("NATS JetStream", "nats"),
        ("MQTT", "mqtt"),
        ("plain echo", "echo"),
        ("durable confirmed send", "confirmed"),
        ("plain websockets, a commit in a thread at both ends", "by_hand"),
        ("commit", "commit"),
        ("the store alone: stream", "alone_stream"),
        ("the store alone: commit", "alone_commit"),
    ):
        times = [getattr(one, field) for one in found]
        if None not in times:
            print(f"| {name} | {1 / median(times):,.0f} |")


def _row(what: str, ratios: list[float], target: str) -> None:
    if not ratios:
        print(f"| {what} | {brokers.ABSENT} | | {target} |")
        return
    span = f"{min(ratios):.2f} - {max(ratios):.2f}"
    print(f"| {what} | {median(ratios):.2f}x | {span} | {target} |", flush=True)


if __name__ == "__main__":
    main()
