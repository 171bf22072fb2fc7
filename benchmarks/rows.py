"""What is measured: a table of rows, and the work of each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from .contestants import THREADS, Broker, Contestant

KIB, MIB = 1024, 1024 * 1024

Work = Callable[[Any, Sequence[Any], bytes, int], Awaitable[float | None]]
"""Called with a contestant, its connections, a payload and how many messages. It returns the
seconds that count, or ``None``: all of them do."""


class Row(NamedTuple):
    """One kind of work, at one size."""

    name: str
    work: Work
    needs: str
    "The method of a contestant that the work calls."
    size: int
    "Bytes of a message."
    count: int
    "Messages of a round, on each connection."
    target: float
    "Of the ratio to plain websockets."
    target_picows: float | None = None
    "The same with reliable_ws over picows."
    slower: bool = False
    "Whether the ratio is that of the times, so that less is better, instead of that of the speeds."
    connections: int = 1
    contestants: Sequence[Contestant] | None = None
    "Those that take part, the plain one first. ``None``: all but threads."

    @property
    def path(self) -> str:
        return "/sink" if self.needs in {"stream", "resume"} else "/echo"

    def takes(self, one: Contestant) -> bool:
        """Whether a contestant takes part. A broker has no use for many connections of a client."""
        among = one not in THREADS if self.contestants is None else one in self.contestants
        can = getattr(one, self.needs, None) is not None
        return among and can and (self.connections == 1 or not isinstance(one, Broker))

    def ratio(self, plain: float, other: float) -> float:
        """Return what the table says, of seconds for one message."""
        return other / plain if self.slower else plain / other


async def stream(one: Any, conns: Sequence[Any], payload: bytes, count: int) -> None:
    """One way, as fast as it goes."""
    await one.stream(conns[0], payload, count)


async def one_by_one(one: Any, conns: Sequence[Any], payload: bytes, count: int) -> None:
    """Each is acknowledged before the next."""
    for _ in range(count):
        await one.burst(conns[0], payload, 1)


async def at_once(one: Any, conns: Sequence[Any], payload: bytes, count: int) -> None:
    """All connections at once, and a burst on each."""
    await asyncio.gather(*(one.burst(conn, payload, count) for conn in conns))


async def requests(one: Any, conns: Sequence[Any], payload: bytes, count: int) -> None:
    """One caller."""
    await one.calls(conns[0], payload, count, 1)


async def callers(one: Any, conns: Sequence[Any], payload: bytes, count: int) -> None:
    """64 callers on one connection."""
    await one.calls(conns[0], payload, count, 64)


async def resume(one: Any, conns: Sequence[Any], payload: bytes, count: int) -> float:
    """The connection is lost while everything is unconfirmed."""
    seconds: float = await one.resume(conns[0], payload, count)
    return seconds


async def opening(_one: Any, conns: Sequence[Any], _payload: bytes, count: int) -> None:
    """Open and close. What stands for the connections is what opens one."""
    for _ in range(count):
        async with conns[0]():
            pass


def _stream(size: str, bytes_: int, count: int, target: float, **more: Any) -> Row:
    return Row(f"stream, {size}", stream, "stream", bytes_, count, target, **more)


ROWS = (
    _stream("32 B", 32, 100_000, 20.0),
    _stream("256 B", 256, 60_000, 13.0),
    _stream("4 KiB", 4 * KIB, 16_000, 3.5),
    _stream("64 KiB", 64 * KIB, 2_000, 1.0, target_picows=1.3),
    _stream("256 KiB", 256 * KIB, 500, 0.95),
    _stream("1 MiB", MIB, 120, 0.95),
    Row("confirmed send, time", one_by_one, "burst", 32, 2_000, 1.1, 0.6, slower=True),
    Row("request, time", requests, "calls", 32, 2_000, 1.2, 0.7, slower=True),
    Row("64 concurrent requests", callers, "calls", 32, 6_400, 2.0),
    Row("1,000 connections, one each", at_once, "burst", 32, 1, 0.95, connections=1_000),
    Row("1,000 connections, bursts of 16", at_once, "burst", 32, 16, 5.0, connections=1_000),
    Row("open and close, time", opening, "connect", 0, 100, 1.3, slower=True, connections=0),
    Row("resume with 100,000 unconfirmed", resume, "resume", 32, 100_000, 1.0),
    _stream("32 B, threads", 32, 40_000, 10.0, contestants=THREADS),
    _stream("4 KiB, threads", 4 * KIB, 10_000, 2.5, contestants=THREADS),
    _stream("64 KiB, threads", 64 * KIB, 2_000, 1.0, contestants=THREADS),
    Row(
        "confirmed send, threads, time",
        one_by_one,
        "burst",
        32,
        2_000,
        1.3,
        slower=True,
        contestants=THREADS,
    ),
)
