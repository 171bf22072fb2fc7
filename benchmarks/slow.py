"""``make bench-slow``: close over a slow line, with real sockets.

The sender sends one large message and closes at once. A proxy in a process of its own lets so many
bytes pass in a second, and its sockets have small buffers. Kernel and proxy still swallow much more
at once than has arrived, so a close that goes by what was handed to the transport gives up too
early (CLOSE-24). Each line of what is printed is one transfer; all of them run at the same time.
*Plain* is websockets with compression and pings off: its pings end a transfer of over 40 s.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import hashlib
import multiprocessing
import secrets
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from multiprocessing.connection import Connection as Pipe
from typing import Any, NamedTuple

import websockets.asyncio.client
import websockets.asyncio.server

import reliable_ws

KIB = 1024
MIB = 1024 * KIB
PLAIN = {"max_size": None, "compression": None, "ping_interval": None}
BUFFER = 16 * KIB
"""Bytes that each socket of the proxy asks the system to buffer, in each direction."""


class Case(NamedTuple):
    """One transfer."""

    size: int
    rate: int
    up: bool

    def __str__(self) -> str:
        way = "client to server" if self.up else "server to client"
        return f"{self.size // KIB:6} KiB at {self.rate // KIB:3} KiB/s, {way}"


CASES = [
    Case(1 * MIB, 32 * KIB, up=False),
    Case(4 * MIB, 64 * KIB, up=False),
    Case(4 * MIB, 64 * KIB, up=True),
    Case(20 * MIB, 100 * KIB, up=True),
]


def relay(source: socket.socket, sink: socket.socket, rate: int) -> None:
    """Carry bytes one way, no faster than the rate, until there are none."""
    step = max(rate // 20, 1)
    begun, carried = time.monotonic(), 0
    with contextlib.suppress(OSError):
        while data := source.recv(step):
            sink.sendall(data)
            now = time.monotonic()
            begun, carried = max(begun, now - (carried + step) / rate), carried + len(data)
            time.sleep(max(0.0, begun + carried / rate - now))
        sink.shutdown(socket.SHUT_WR)


def proxy(port: int, rate: int, ready: Pipe) -> None:
    """Run a proxy to this port until the process is ended."""
    listener = socket.socket()
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        listener.setsockopt(socket.SOL_SOCKET, option, BUFFER)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    ready.send(listener.getsockname()[1])
    while True:
        client, _ = listener.accept()
        server = socket.socket()
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            server.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        server.connect(("127.0.0.1", port))
        for source, sink in ((client, server), (server, client)):
            threading.Thread(target=relay, args=(source, sink, rate), daemon=True).start()


@contextlib.contextmanager
def proxied(port: int, rate: int) -> Iterator[str]:
    """Run the proxy in a process of its own; yield the URI that leads through it."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=proxy, args=(port, rate, there), daemon=True)
    process.start()
    try:
        yield f"ws://127.0.0.1:{here.recv()}"
    finally:
        process.kill()
        process.join()


def port_of(server: Any) -> int:
    """Return the port that a server of ours or of websockets listens at."""
    return int(next(iter(server.sockets)).getsockname()[1])


async def transfer(case: Case, *, plain: bool) -> str:
    """Send one message and close; say what arrived, when, and how both sides ended."""
    message = secrets.token_bytes(case.size)
    got: list[int] = []
    words: dict[str, str] = {}
    done = asyncio.Event()

    async def send(conn: Any) -> None:
        await conn.send(message)

    async def read(conn: Any) -> None:
        async for data in conn:
            assert hashlib.sha256(data).digest() == hashlib.sha256(message).digest()
            got.append(len(data))

    async def at_server(conn: Any) -> None:
        links.append(conn)
        try:
            await (read(conn) if case.up else send(conn))
        except Exception as error:  # noqa: BLE001 - it is what is shown
            words["server"] = f"{type(error).__name__}: {error}"
        finally:
            done.set()

    links: list[Any] = []
    options: dict[str, Any] = PLAIN if plain else {}
    library: Any = websockets.asyncio.server if plain else reliable_ws
    client: Any = websockets.asyncio.client if plain else reliable_ws
    async with library.serve(at_server, "127.0.0.1", 0, **options) as server:
        with proxied(port_of(server), case.rate) as uri:
            begun = time.monotonic()
            try:
                async with client.connect(uri, **options) as conn:
                    await (send(conn) if case.up else read(conn))
            except Exception as error:  # noqa: BLE001 - it is what is shown
                words["client"] = f"{type(error).__name__}: {error}"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(30):
                    await done.wait()
            took = time.monotonic() - begun
            resumes = [] if plain else [f"{links[0].stats.resumes} resumes"]
    outcome = "arrived" if got == [case.size] else "DID NOT ARRIVE"
    faults = [f"{side}: {text}" for side, text in words.items()]
    return ", ".join([outcome, f"{took:.1f} s", *resumes, *faults])


async def show(case: Case, *, plain: bool, run: Callable[[], Awaitable[str]]) -> bool:
    """Run one transfer and print its line; return whether it arrived."""
    said = await run()
    print(f"{case}: {'plain websockets' if plain else 'reliable_ws'}: {said}", flush=True)
    return said.startswith("arrived")


async def main(cases: list[Case]) -> bool:
    """Run all transfers at once; return whether all of ours arrived."""
    runs = [
        show(case, plain=plain, run=functools.partial(transfer, case, plain=plain))
        for case in cases
        for plain in (True, False)
    ]
    return all((await asyncio.gather(*runs))[1::2])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", action="store_true", help="only the first case (about 35 s)")
    wanted = CASES[:1] if parser.parse_args().first else CASES
    sys.exit(not asyncio.run(main(wanted)))
