"""What happens to one connection of a :class:`~reliable_ws.testing.ChaosProxy`."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from .plan import Fault, FaultName, FaultPlan, Fuse, Side
from .rates import Rates

__all__ = ["Conditions", "Ending", "Relay", "finish_sending", "reset"]

_RELAY_CHUNK = 16 * 1024
_CHUNKS_IN_FLIGHT = 32
_SLICES_PER_SECOND = 20
_FIN_TIMEOUT = 2.0


@dataclass
class Conditions:
    """What all connections of a proxy share."""

    plan: FaultPlan | None
    struck: Callable[[Fault], None]
    rates: Rates = field(default_factory=Rates)
    delay: float = 0.0


class Ending(NamedTuple):
    """How a connection ends, and which side stays when it is half open."""

    how: FaultName | Literal["over"]
    keep: Side = "client"


class _Ended(Exception):
    """Raised within a connection to end its tasks."""


class Relay:
    """One client, one server, and what is in flight between them."""

    def __init__(
        self, conditions: Conditions, number: int, client: socket.socket, server: socket.socket
    ) -> None:
        self._conditions = conditions
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
        directions: tuple[tuple[Side, socket.socket, socket.socket], ...] = (
            ("client", self._client, self._server),
            ("server", self._server, self._client),
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._until_ended())
                for side, source, sink in directions:
                    pipe: _Pipe = asyncio.Queue(_CHUNKS_IN_FLIGHT)
                    tasks.create_task(self._fill(source, pipe))
                    tasks.create_task(self._drain(pipe, sink, side))
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
        self._conditions.struck(Fault(name, self._number, self._carried, planned))
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
            data = await self._loop.sock_recv(source, _RELAY_CHUNK)
            await pipe.put((self._loop.time() + self._conditions.delay, data))
            if not data:
                return

    async def _drain(self, pipe: _Pipe, sink: socket.socket, side: Side) -> None:
        plan = self._conditions.plan
        fuse = Fuse(plan.strikes(self._number, side, plan.every_bytes) if plan else ())
        while True:
            due, data = await pipe.get()
            if (early := due - self._loop.time()) > 0:
                await asyncio.sleep(early)
            await self._flowing.wait()
            if not data:
                break
            await self._deliver(memoryview(data), sink, side, plan, fuse)
        sink.shutdown(socket.SHUT_WR)
        self._open_directions -= 1
        if not self._open_directions and not self._ending.done():
            self._ending.set_result(Ending("over"))

    async def _deliver(
        self,
        data: memoryview,
        sink: socket.socket,
        side: Side,
        plan: FaultPlan | None,
        fuse: Fuse,
    ) -> None:
        while data:
            await self._flowing.wait()
            rate = self._conditions.rates.of_what_is_sent_by(side)
            most = len(data) if rate is None else max(1, int(rate / _SLICES_PER_SECOND))
            piece = data[: min(most, fuse.left)]
            await self._loop.sock_sendall(sink, piece)
            data = data[len(piece) :]
            self._carried += len(piece)
            strike = fuse.burn(len(piece))
            if strike is not None and plan is self._conditions.plan:
                self.strike(strike.fault, strike.keep, seconds=strike.seconds, planned=True)
                if self.ended:
                    raise _Ended
            if rate is not None:
                await asyncio.sleep(len(piece) / rate)


_Pipe: TypeAlias = "asyncio.Queue[tuple[float, bytes]]"
"""What is in flight in one direction: when it is due, and the bytes; none mean the end."""


def reset(sock: socket.socket) -> None:
    """Close with RST: drop what is unsent, and linger for no time."""
    zero = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, zero)
    sock.close()


async def finish_sending(sock: socket.socket) -> None:
    """Send FIN, and read on for a while: closing with bytes unread would send RST after it."""
    try:
        sock.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(_FIN_TIMEOUT):
            while await asyncio.get_running_loop().sock_recv(sock, _RELAY_CHUNK):
                pass
    except OSError:  # TimeoutError is one
        pass
