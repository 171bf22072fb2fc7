"""What happens to one connection of a :class:`~reliable_ws.testing.ChaosProxy`."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

__all__ = [
    "Ending",
    "Fault",
    "FaultName",
    "FaultPlan",
    "Network",
    "Relay",
    "Side",
    "finish_sending",
    "reset",
]

FaultName: TypeAlias = Literal["cut", "reset", "stall", "half_open"]
Side: TypeAlias = Literal["client", "server"]

_CHUNK = 16 * 1024
_CHUNKS_IN_FLIGHT = 32
_SLICES_PER_SECOND = 20
_LINGER = 2.0


class Fault(NamedTuple):
    """One fault, as ``on_fault`` is told of it."""

    name: FaultName
    connection: int
    "Connections are numbered from 1, in the order in which they were made."
    carried: int
    "Bytes that the connection had carried until then, both directions together: whole chunks."
    planned: bool
    "Whether the plan struck, not a command."


@dataclass(frozen=True)
class FaultPlan:
    """After a random number of bytes a random fault strikes, and so on; the same for a seed.

    The bytes of each direction of each connection are counted on their own, from the first
    byte of the opening handshake, and the connection's number goes into the chance: where the
    faults strike does not depend on timing.
    """

    seed: int = 0
    faults: tuple[FaultName, ...] = ("cut", "reset", "stall", "half_open")
    every_bytes: tuple[int, int] = (500, 50_000)
    stall_for: tuple[float, float] = (0.05, 1.0)

    def __post_init__(self) -> None:
        """Complain of what cannot be carried out."""
        if not self.faults or not set(self.faults) <= set(get_args(FaultName)):
            raise ValueError(f"faults are some of {get_args(FaultName)}, not {self.faults}")
        if not 1 <= self.every_bytes[0] <= self.every_bytes[1]:
            raise ValueError(f"every_bytes is 1 <= low <= high, not {self.every_bytes}")
        if not 0 <= self.stall_for[0] <= self.stall_for[1]:
            raise ValueError(f"stall_for is 0 <= low <= high, not {self.stall_for}")


@dataclass
class Network:
    """What all connections of a proxy share."""

    plan: FaultPlan | None
    struck: Callable[[Fault], None]
    rate: float | None = None
    delay: float = 0.0


class Ending(NamedTuple):
    """How a connection ends, and which side stays when it is half open."""

    how: Literal["over", "cut", "reset", "half_open"]
    keep: Side = "client"


class _Ended(Exception):
    """Raised within a connection to end its tasks."""


class Relay:
    """One client, one server, and what is in flight between them."""

    def __init__(
        self, network: Network, number: int, client: socket.socket, server: socket.socket
    ) -> None:
        self._network = network
        self._number = number
        self._client = client
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._stall_timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.Future[Ending] = self._loop.create_future()
        self._carried = 0
        self._open_directions = 2

    async def carry(self) -> Ending:
        """Carry bytes both ways until both sides have ended or a fault strikes."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._until_ended())
                for source, sink, side in (
                    (self._client, self._server, "client"),
                    (self._server, self._client, "server"),
                ):
                    pipe: _Pipe = asyncio.Queue(_CHUNKS_IN_FLIGHT)
                    tasks.create_task(self._fill(source, pipe))
                    tasks.create_task(
                        self._drain(pipe, sink, _Fuse(self._network, self._number, side))
                    )
        except* (_Ended, OSError):
            if not self._ending.done():  # one side was reset, so the other is
                self._ending.set_result(Ending("reset"))
        return self._ending.result()

    @property
    def ended(self) -> bool:
        """Whether it is past carrying: over, or broken."""
        return self._ending.done()

    def strike(
        self,
        name: FaultName,
        keep: Side = "client",
        *,
        seconds: float | None = None,
        planned: bool = False,
    ) -> bool:
        """Let a fault happen; False if the connection is past it."""
        if self.ended:
            return False
        if name != "stall":
            self._ending.set_result(Ending(name, keep))
        else:
            self._stall(seconds)
        self._network.struck(Fault(name, self._number, self._carried, planned))
        return True

    def resume(self) -> None:
        """End a stall, if there is one."""
        self._cancel_timer()
        self._flowing.set()

    def _stall(self, seconds: float | None) -> None:
        if seconds is None:
            self._cancel_timer()  # a stall by command ends by command
        elif self._flowing.is_set():
            self._stall_timer = self._loop.call_later(seconds, self.resume)
        self._flowing.clear()

    def _cancel_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    async def _until_ended(self) -> None:
        await asyncio.wait({self._ending})
        raise _Ended

    async def _fill(self, source: socket.socket, pipe: _Pipe) -> None:
        while True:
            data = await self._loop.sock_recv(source, _CHUNK)
            await pipe.put((self._loop.time() + self._network.delay, data))
            if not data:
                return

    async def _drain(self, pipe: _Pipe, sink: socket.socket, fuse: _Fuse) -> None:
        while True:
            due, data = await pipe.get()
            if (early := due - self._loop.time()) > 0:
                await asyncio.sleep(early)
            await self._flowing.wait()
            if not data:
                break
            await self._deliver(memoryview(data), sink, fuse)
        sink.shutdown(socket.SHUT_WR)
        self._open_directions -= 1
        if not self._open_directions and not self._ending.done():
            self._ending.set_result(Ending("over"))

    async def _deliver(self, data: memoryview, sink: socket.socket, fuse: _Fuse) -> None:
        while data:
            await self._flowing.wait()
            rate = self._network.rate
            most = len(data) if rate is None else max(1, int(rate / _SLICES_PER_SECOND))
            piece = data[: min(most, fuse.left)]
            await self._loop.sock_sendall(sink, piece)
            data = data[len(piece) :]
            self._carried += len(piece)
            fuse.left -= len(piece)
            if not fuse.left and fuse.strike(self):
                raise _Ended
            if rate is not None:
                await asyncio.sleep(len(piece) / rate)


_Pipe: TypeAlias = "asyncio.Queue[tuple[float, bytes]]"
"""What is in flight in one direction: when it is due, and the bytes; none mean the end."""


class _Fuse:
    """Counts the bytes of one direction down to its next planned fault."""

    def __init__(self, network: Network, number: int, side: str) -> None:
        self._network = network
        self._plan = network.plan
        self._chance = random.Random(f"{self._plan and self._plan.seed}/{number}/{side}")
        self._light()

    def _light(self) -> None:
        self.left = self._chance.randint(*self._plan.every_bytes) if self._plan else sys.maxsize

    def strike(self, relay: Relay) -> bool:
        """Let the planned fault happen; True if it ends the connection."""
        plan, chance = self._plan, self._chance
        if plan is None or plan is not self._network.plan:
            self._plan = None
            self._light()
            return False
        name = chance.choice(plan.faults)
        keep = chance.choice(get_args(Side))
        relay.strike(name, keep, seconds=chance.uniform(*plan.stall_for), planned=True)
        self._light()
        return name != "stall"


def reset(sock: socket.socket) -> None:
    """Close with RST: drop what is unsent, and linger for no time."""
    zero = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, zero)
    sock.close()


async def finish_sending(sock: socket.socket) -> None:
    """Send FIN, and read on for a while: closing with bytes unread would send RST after it."""
    try:
        sock.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(_LINGER):
            while await asyncio.get_running_loop().sock_recv(sock, _CHUNK):
                pass
    except OSError:  # TimeoutError is one
        pass
