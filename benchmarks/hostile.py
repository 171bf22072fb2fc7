"""``make bench-hostile``: what one hostile peer costs a server with default limits.

Each flood has a server process of its own (``--serve``). A peer that speaks the protocol by hand
floods it over a real socket. The server measures three things:

- *block*: the CPU time of the longest step of its event loop, in which nobody else is served;
- *memory*: by how much the peak of its memory has grown;
- *lines*: how many lines it has logged.

CPU time does not depend on what else the machine does, but on the machine. The table begins with
the time of a fixed piece of work, to compare machines by.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import inspect
import json
import logging
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgpack
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_plain

import reliable_ws
from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.frames import (
    SUBPROTOCOL,
    Ack,
    CallAck,
    CallPosition,
    Calls,
    Cancel,
    Counters,
    Finish,
    Frame,
    Hello,
    Messages,
    Part,
    Position,
    Request,
    Stop,
    Void,
    Want,
)

MIB = 1024 * 1024
PLAIN: dict[str, Any] = {
    "subprotocols": [SUBPROTOCOL],
    "compression": None,
    "max_size": None,
    "ping_interval": None,
    "proxy": None,
    "legacy": True,  # no context manager
}
KNOWN = inspect.signature(open_plain).parameters
PLAIN = {name: value for name, value in PLAIN.items() if name in KNOWN}
LIMITS = Config().limits(None)
NOTHING = Counters(0, 0, 0, stopped=False)
START = Position(NOTHING, 0, 1, 0)


# ------------------------------------------------------------------------------- the server


class Steps:
    """Times each step of the event loop."""

    def __init__(self) -> None:
        self.longest = 0.0
        run = asyncio.Handle._run  # type: ignore[attr-defined]  # noqa: SLF001

        def timed(handle: Any) -> None:
            began = time.thread_time()
            run(handle)
            self.longest = max(self.longest, time.thread_time() - began)

        asyncio.Handle._run = timed  # type: ignore[attr-defined,method-assign]  # noqa: SLF001


class Lines(logging.Handler):
    """Counts log lines, those of tracebacks included."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += self.format(record).count("\n") + 1


async def handle(conn: reliable_ws.Connection) -> None:
    """Send what the first message asks for, then take what comes."""
    match await conn.recv():
        case "hold":
            await asyncio.Event().wait()
        case "unread":
            for number in range(32_000):
                conn.send_nowait(["never", "taken"])
                if number % 100 == 0:
                    await asyncio.sleep(0)
            with contextlib.suppress(reliable_ws.ConnectionClosed):
                while True:
                    await conn.recv()
            for _ in range(100):  # each of these errors has a report
                with contextlib.suppress(reliable_ws.ConnectionClosed):
                    conn.send_nowait("late")
            return
    async for _message in conn:
        pass


async def large() -> bytes:
    return bytes(100_000)


async def fails() -> None:
    raise RuntimeError("a bug of the application")


async def echo(value: Any) -> Any:
    return value


def begin_peak() -> None:
    """Let ``VmHWM`` begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def memory(what: str) -> float:
    """Return ``VmRSS``, what this process has now, or ``VmHWM``, the most it had, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise LookupError(what)


async def serve(transport: str) -> None:
    """Serve, and say what it has cost whenever a line is read."""
    lines = Lines()
    logging.getLogger().addHandler(lines)
    methods = reliable_ws.Methods()
    methods.register(large)
    methods.register(echo)
    methods.register(fails)
    steps = Steps()
    options: dict[str, Any] = {"methods": methods, "drain_timeout": 0, "transport": transport}
    async with reliable_ws.serve(handle, "127.0.0.1", 0, **options) as server:
        print(server.port, flush=True)
        loop = asyncio.get_running_loop()
        began = 0.0
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps([steps.longest, memory("VmHWM") - began, lines.count]), flush=True)
            steps.longest = 0.0
            began = memory("VmRSS")
            begin_peak()


# ------------------------------------------------------------------------------- the peer


def hello(session: int = 0, **limits: int) -> Frame:
    """Return a greeting that is in order."""
    who = session.to_bytes(16, "big"), bytes(32), 1, 0
    return Hello(1, 1, *who, START, LIMITS._replace(**limits), CallPosition(0, 0, 1))


class Peer:
    """A WebSocket that says what it is told to."""

    def __init__(self, uri: str) -> None:
        self.ws: ClientConnection = open_plain(uri, **PLAIN)

    def says(self, envelopes: Sequence[bytes]) -> None:
        """Send, until the server has had enough."""
        with contextlib.suppress(ConnectionClosed, OSError):
            for data in envelopes:
                self.ws.send(data)

    def until_quiet(self, seconds: float = 0.5) -> None:
        """Read until nothing has come for so long."""
        with contextlib.suppress(TimeoutError, ConnectionClosed):
            while True:
                self.ws.recv(timeout=seconds)

    def takes_answers(self, count: int) -> None:
        """Read until so many answers have come."""
        with contextlib.suppress(TimeoutError, ConnectionClosed):
            while count > 0:
                for frame in decode(self.ws.recv(timeout=5), MIB):
                    if isinstance(frame, Calls):
                        count -= len(frame.entries)


Flood = Callable[[str], None]
FLOODS: dict[str, Flood] = {}


def flood(name: str) -> Callable[[Callable[[], Sequence[bytes]]], None]:
    """Register what one greeted peer says: a first message for the handler, then these."""

    def register(envelopes: Callable[[], Sequence[bytes]]) -> None:
        def run(uri: str) -> None:
            peer = Peer(uri)
            peer.says([encode([hello(max_message=1000)]), encode([Messages(1, ["take"])])])
            peer.until_quiet(0.1)
            peer.says(envelopes())
            peer.until_quiet()
            peer.ws.close()

        FLOODS[name] = run

    return register


def value(data: bytes) -> list[bytes]:
    """Return the envelopes of one message that is a packed value, in parts if it is large."""
    size, step = len(data), 250_000
    return [
        encode([Part(2, offset, size, 2, data[offset : offset + step])])
        for offset in range(0, size, step)
    ]


TIMESTAMP = msgpack.packb(msgpack.Timestamp(1))


def array32(count: int) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big")


@flood("a value: 1 MB of empty lists")
def _() -> Sequence[bytes]:
    return value(array32(MIB - 10) + b"\x90" * (MIB - 10))


@flood("a value: 100,000 empty lists, the most that is unpacked")
def _() -> Sequence[bytes]:
    return value(array32(100_000) + b"\x90" * 100_000)


@flood("a value: 1 MB of lists in lists that are open")
def _() -> Sequence[bytes]:
    return value((array32(90_000) + b"\x90" * 89_999) * 11 + b"\x90")


@flood("a value: 1 MB of records")
def _() -> Sequence[bytes]:
    return value(msgpack.packb([{"id": n, "name": f"name {n}", "at": 1.5} for n in range(30_000)]))


@flood("a value: 1 MB of timestamps")
def _() -> Sequence[bytes]:
    return value(array32(90_000) + TIMESTAMP * 89_999 + array32(80_000) + TIMESTAMP * 80_000)


@flood("a value: 30,000 numbers as keys")
def _() -> Sequence[bytes]:
    return value(msgpack.packb({n << 40: n for n in range(30_000)}))


@flood("a value of 16 MB")
def _() -> Sequence[bytes]:
    return value(array32(16 * MIB) + b"\x90" * (16 * MIB))


@flood("1,000 lists announced in 5 KB, 200 times")
def _() -> Sequence[bytes]:
    bad = msgpack.ExtType(1, array32(100_000) * 1000)
    return [encode([Messages(number, [bad])]) for number in range(2, 202)]


@flood("20,000 values that cannot be decoded")
def _() -> Sequence[bytes]:
    bad = [msgpack.ExtType(1, b"\xc1")] * 1000
    return [encode([Messages(2 + 1000 * n, bad)]) for n in range(20)]


@flood("32,000 empty messages, 4,000 in an envelope")
def _() -> Sequence[bytes]:
    return [encode([Messages(2 + 4000 * n, [""] * 4000)]) for n in range(8)]


@flood("54,000 Wants, 2,700 in an envelope")
def _() -> Sequence[bytes]:
    return [encode([Want(1)] * 2700)] * 20


@flood("40,000 Acks, 2,000 in an envelope")
def _() -> Sequence[bytes]:
    return [encode([Ack(0, 0)] * 2000)] * 20


@flood("54,000 CallAcks, 2,700 in an envelope")
def _() -> Sequence[bytes]:
    return [encode([CallAck(0)] * 2700)] * 20


@flood("80,000 Voids, 4,000 in an envelope")
def _() -> Sequence[bytes]:
    return [encode([Calls(1 + 4000 * n, [Void()] * 4000)]) for n in range(20)]


@flood("54,000 Cancels, 2,700 in an envelope")
def _() -> Sequence[bytes]:
    return [encode([Calls(1 + 2700 * n, [Cancel(1)] * 2700)]) for n in range(20)]


@flood("20,000 Wants, each in an envelope")
def _() -> Sequence[bytes]:
    return [encode([Want(1)])] * 20_000


@flood("an envelope of 1 MB of empty lists")
def _() -> Sequence[bytes]:
    lists = (b"\xdc\x10\x00" + b"\x90" * 4095) * 250 + b"\x90"
    return [b"\x91\x92\x00" + lists]


@flood("an envelope of 1 MB of extension values")
def _() -> Sequence[bytes]:
    lists = (b"\xdc\x10\x00" + b"\xd4\x01\x00" * 4095) * 80 + b"\x90"
    return [b"\x91\x92\x00" + lists]


@flood("an envelope of 1 MB of numbers")
def _() -> Sequence[bytes]:
    lists = (b"\xdc\x10\x00" + b"\x00" * 4095) * 250 + b"\x90"
    return [b"\x91\x92\x00" + lists]


@flood("an envelope of 1 MB of short texts")
def _() -> Sequence[bytes]:
    lists = (b"\xdc\x10\x00" + b"\xa2xy" * 4095) * 85 + b"\x90"
    return [b"\x91\x92\x00" + lists]


@flood("a frame that is skipped, 1 MB")
def _() -> Sequence[bytes]:
    return [msgpack.packb([[0, "x" * (MIB - 20)]])] * 20


@flood("a frame that is skipped, 8,000 empty lists")
def _() -> Sequence[bytes]:
    return [msgpack.packb([[0, [[]] * 4000, [[]] * 4000]])] * 20


@flood("a frame that is skipped, 8,000 texts of 120 bytes")
def _() -> Sequence[bytes]:
    return [msgpack.packb([[0, ["x" * 120] * 4000, ["x" * 120] * 4000]])] * 20


def asking(name: str, method: str, params: bytes) -> None:
    """Register a peer that asks 12,000 times, as often as it may, and takes the answers."""

    def run(uri: str) -> None:
        peer = Peer(uri)
        peer.says([encode([hello(max_message=1000)])])
        ask = Request(method, None, 0, msgpack.ExtType(1, params))
        for number in range(1, 12_001, 600):
            peer.says([encode([CallAck(number - 1), Calls(number, [ask] * 600)])])
            peer.takes_answers(600)
        peer.ws.close()

    FLOODS[name] = run


asking("12,000 requests whose answers it does not take", "large", b"\x90")
asking("12,000 requests that make their handler fail", "fails", b"\x90")
asking("12,000 requests with wrong parameters", "echo", b"\x90")
asking("12,000 requests for a method that there is not", "none", b"\x90")


def unread(uri: str) -> None:
    """End a session with 32,000 messages that were never taken."""
    peer = Peer(uri)
    peer.says([encode([hello()]), encode([Messages(1, ["unread"])])])
    peer.until_quiet()
    peer.says([encode([Stop(NOTHING._replace(stopped=True)), Finish(2, 1000, "")])])
    peer.until_quiet()


FLOODS["an end with 32,000 messages that it never took"] = unread


def strangers(uri: str) -> None:
    """Say 1 MB first, 40 times at once."""
    peers = [Peer(uri) for _ in range(40)]
    for peer in peers:
        peer.says([bytes(MIB - 20)])
    time.sleep(1)
    for peer in peers:
        peer.until_quiet(0.01)


FLOODS["40 strangers whose first envelope has 1 MB"] = strangers


def frame(opcode: int, payload: bytes = b"", final: int = 0x80) -> bytes:
    """Return a short frame whose mask is 0."""
    return bytes([final | opcode, 0x80 | len(payload)]) + bytes(4) + payload


def writes(name: str, data: Callable[[], bytes]) -> None:
    """Register what one greeted peer writes at once to its TCP connection."""

    def run(uri: str) -> None:
        peer = Peer(uri)
        peer.says([encode([hello()]), encode([Messages(1, ["take"])])])
        peer.until_quiet(0.1)
        with contextlib.suppress(OSError):
            peer.ws.socket.sendall(data())
        peer.until_quiet()
        peer.ws.close()

    FLOODS[name] = run


def wants(large: bytes) -> bytes:
    return large + frame(2, encode([Want(1)])) * 100_000


def skipped() -> bytes:
    """Return an envelope of nearly 1 MB."""
    envelope = msgpack.packb([[0, "x" * (MIB - 20)]])
    return b"\x82\xff" + len(envelope).to_bytes(8, "big") + bytes(4) + envelope


writes("100,000 Wants, each in an envelope, written at once", lambda: wants(b""))
writes("the same behind an envelope of 1 MB", lambda: wants(skipped()))
writes("1,000,000 fragments of 1 byte", lambda: frame(2, b"x", 0) + frame(0, b"x", 0) * 999_999)
writes("200,000 empty fragments", lambda: frame(2, b"", 0) + frame(0, b"", 0) * 200_000)
writes("100,000 texts that are not UTF-8", lambda: frame(1, b"\xff") * 100_000)
writes("100,000 close frames", lambda: frame(8, b"\x03\xe8") * 100_000)
writes("64 MB of a frame of 2^62 bytes", lambda: b"\x82\xff\x40" + bytes(64 * MIB))


def reset(uri: str) -> None:
    """Send 40,000 pings, written at once, and reset the connection."""
    peer = Peer(uri)
    peer.says([encode([hello()]), encode([Messages(1, ["take"])])])
    peer.until_quiet(0.1)
    own = peer.ws.socket
    own.sendall(frame(9) * 40_000)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(own.detach())
    time.sleep(1)


FLOODS["40,000 pings, and a reset"] = reset

UPGRADE = f"""GET / HTTP/1.1
Host: localhost
Upgrade: websocket
Connection: Upgrade
Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==
Sec-WebSocket-Version: 13
Sec-WebSocket-Protocol: {SUBPROTOCOL}

""".replace("\n", "\r\n").encode()


def pongs_unread(uri: str) -> None:
    """Send 64 MB of pings, and read none of the pongs."""
    with socket.create_connection(("127.0.0.1", int(uri.rpartition(":")[2]))) as own:
        own.sendall(UPGRADE)
        own.recv(4096)
        own.sendall(frame(2, encode([hello()])))
        time.sleep(0.2)
        pings = frame(9, bytes(125)) * 500
        for _ in range(64 * MIB // len(pings)):
            own.sendall(pings)
        time.sleep(0.2)


FLOODS["64 MB of pings whose pongs are not read"] = pongs_unread


def half_strangers(uri: str) -> None:
    """Say 1 MB first and never end it, 40 times at once."""
    peers = [Peer(uri) for _ in range(40)]

    for peer in peers:
        peer.ws.socket.sendall(b"\x82\xff" + (MIB - 20).to_bytes(8, "big") + bytes(MIB - 40))
    time.sleep(1)


FLOODS["40 strangers who do not end their 1 MB"] = half_strangers


# ------------------------------------------------------------------------------- the table


def yardstick() -> float:
    """Return the seconds that a fixed piece of work takes."""
    best = 1.0
    for _ in range(5):
        began = time.process_time()
        sum(number * number for number in range(200_000))
        best = min(best, time.process_time() - began)
    return best


def measure(run: Flood, transport: str) -> tuple[float, float, int]:
    """Return the milliseconds, the MiB and the lines that a flood costs a fresh server."""
    command = (sys.executable, "-m", "benchmarks.hostile", "--serve", "--transport", transport)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def ask() -> list[Any]:
            print(file=server.stdin, flush=True)
            return json.loads(server.stdout.readline())  # type: ignore[union-attr,no-any-return]

        uri = f"ws://127.0.0.1:{int(server.stdout.readline())}"
        Peer(uri).ws.close()  # what is imported late is imported
        ask()
        run(uri)
        longest, grown, lines = ask()
        server.kill()
    return longest * 1000, grown, lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--transport", default="websockets", help="websockets or picows")
    parser.add_argument("--only", default="", help="floods whose name has this text")
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.transport))
        return
    print(f"yardstick: {yardstick() * 1000:.1f} ms\n")
    print("| flood | block, ms | memory, MiB | log lines |")
    print("| --- | ---: | ---: | ---: |")
    for name, run in FLOODS.items():
        if arguments.only in name:
            block, memory, lines = measure(run, arguments.transport)
            print(f"| {name} | {block:.0f} | {memory:.0f} | {lines} |", flush=True)


if __name__ == "__main__":
    main()
