"""One WebSocket of a :class:`~reliable_ws.testing.Network`: two ends, and what is between them."""

# ruff: noqa: SLF001 - an end extends the transport whose inside it knows

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from reliable_ws.testing.memory import LIMIT, MAX_FRAME, MemoryTransport

from .plan import FaultName, Schedule, Side, Strike
from .rates import Rates

__all__ = ["Conditions", "Dialer", "End", "Wire"]


class Dialer(Protocol):
    """Who opens WebSockets: a process."""

    def die(self) -> bool:
        """Let it be gone; whether it lived."""
        raise NotImplementedError


@dataclass
class Conditions:
    """What all WebSockets of a network share."""

    carry_out: Callable[[Wire, Strike], None]
    "Lets what is planned happen."
    forget: Callable[[Wire], None]
    "Is told when both ends of one are over."
    schedule: Schedule
    messages: Counter[Side] = field(default_factory=Counter)
    rates: Rates = field(default_factory=Rates)
    delay: float = 0.0


class End(MemoryTransport):
    """What a connection takes for its WebSocket: the network sees all that is sent from here."""

    def __init__(self, wire: Wire, side: Side) -> None:
        super().__init__("initiator" if side == "client" else "acceptor", LIMIT, MAX_FRAME)
        self.side: Side = side
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._under_way: deque[tuple[float, Any]] = deque()  # when it arrives, and what
        self._busy_until = 0.0  # the line, with what was sent before
        self._arrival: asyncio.TimerHandle | None = None

    @property
    def over(self) -> bool:
        """Whether this end knows of the end."""
        return self._end is not None

    def inject(self, message: bytes | str) -> None:
        """Send one message, unless it is lost, and let strike what is planned for it."""
        wire = self._wire
        strikes = wire.count(self.side) if wire.live else []
        if not any(strike.lost for strike in strikes):
            super().inject(message)
        for strike in strikes:
            wire.conditions.carry_out(wire, strike)

    def start_anew(self) -> None:
        """Time what is under way by the conditions of now."""
        under_way = [item for _, item in self._under_way]
        self._forget()
        self._busy_until = 0.0
        for item in under_way:
            self._post(item)

    def _post(self, item: Any) -> None:
        now = self._loop.time()
        conditions = self._wire.conditions
        rate = conditions.rates.of_what_is_sent_by(self.side)
        begins = max(now, self._busy_until)
        size = len(item) if isinstance(item, bytes | str) else 0
        self._busy_until = begins + (size / rate if rate else 0.0)
        arrives = self._busy_until + conditions.delay
        if self._under_way:
            arrives = max(arrives, self._under_way[-1][0])
        elif arrives <= now:
            super()._post(item)
            return
        self._under_way.append((arrives, item))
        self._arm()

    def _arm(self) -> None:
        if self._arrival is None and self._under_way:
            self._arrival = self._loop.call_at(self._under_way[0][0], self._arrive_in_time)

    def _arrive_in_time(self) -> None:
        self._arrival = None
        while self._under_way and self._under_way[0][0] <= self._loop.time():
            super()._post(self._under_way.popleft()[1])
        self._arm()

    def _lose(self) -> None:
        super()._lose()
        self._forget()

    def _forget(self) -> None:
        self._under_way.clear()
        if self._arrival is not None:
            self._arrival.cancel()
            self._arrival = None

    def _finish(self, end: Any) -> None:
        super()._finish(end)
        self._wire.noticed()


class Wire:
    """One WebSocket, and what can be done to it."""

    def __init__(self, conditions: Conditions, number: int, dialer: Dialer) -> None:
        self.conditions = conditions
        self.number = number
        "From 1, in the order in which they were made."
        self.dialer = dialer
        "Who opened it."
        self.carried = 0
        "Messages, both directions together."
        self.client = End(self, "client")
        self.server = End(self, "server")
        self.client._peer, self.server._peer = self.server, self.client
        self._struck = False
        self._stalled_until: asyncio.TimerHandle | None = None

    @property
    def ends(self) -> tuple[End, End]:
        """The client's and the server's."""
        return self.client, self.server

    @property
    def live(self) -> bool:
        """Whether it still carries anything."""
        return not (self._struck or self.client.over or self.server.over)

    def noticed(self) -> None:
        """One end has learnt that it is over."""
        if self.client.over and self.server.over:
            self.resume()
            self.conditions.forget(self)

    def count(self, sender: Side) -> list[Strike]:
        """Count one message; return what strikes at it."""
        self.carried += 1
        self.conditions.messages[sender] += 1
        return self.conditions.schedule.count(self.number, sender)

    def strike(self, fault: FaultName, keep: Side, seconds: float | None) -> None:
        """Let a fault happen."""
        if fault == "stall":
            self._stall(seconds)
            return
        self._struck = True
        if fault == "half_open":
            for end in self.ends:
                end.freeze()
            (self.server if keep == "client" else self.client).abort()
        elif fault == "reset":
            self.client.reset()
        else:
            self.client.cut()

    def resume(self) -> None:
        """End a stall, if there is one."""
        if self._stalled_until is not None:
            self._stalled_until.cancel()
            self._stalled_until = None
        if not self._struck:
            for end in self.ends:
                end.thaw()

    def _stall(self, seconds: float | None) -> None:
        self.resume()
        for end in self.ends:
            end.freeze()
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._stalled_until = loop.call_later(seconds, self.resume)
