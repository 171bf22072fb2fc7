"""What goes wrong and where, by chance or at a given message, and the record of it."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple, TypeAlias, get_args

__all__ = ["LOSES_NOTHING", "Fault", "FaultName", "FaultPlan", "Fuse", "Schedule", "Side", "Strike"]

FaultName: TypeAlias = Literal[
    "cut", "reset", "stall", "half_open", "kill_client", "kill_server", "drain"
]
Side: TypeAlias = Literal["client", "server"]

LOSES_NOTHING: frozenset[FaultName] = frozenset({"stall", "drain"})
"""Faults after which the connection goes on."""

_OF_A_CONNECTION: tuple[FaultName, ...] = ("cut", "reset", "stall", "half_open")


class Fault(NamedTuple):
    """One fault. ``on_fault`` is called with it."""

    name: FaultName
    "Which fault."
    connection: int
    """The number of the connection, from 1, in the order in which they were made. 0 for a
    process that a command killed."""
    carried: int
    """What the connection had carried by then, in both directions: bytes (whole chunks) for a
    ``ChaosProxy``, messages for a ``Network``."""
    planned: bool
    "Whether the plan struck. ``False`` for a command."


@dataclass(frozen=True, repr=False)
class Strike:
    """One fault at one message. A list of these is a plan for a ``Network``.

    Only WebSocket messages are counted. Greetings and acks are among them. Several messages of the
    application travel in one WebSocket message when they are sent together.

    Raises:
        ValueError: The values do not fit together. The message says which.
    """

    fault: FaultName
    "Which fault."
    at: int
    "The number of the message at which it strikes, from 1. All connections are counted together."
    sender: Side | None = None
    "Whose messages are counted. ``None``: those of both sides."
    lost: bool = False
    "Whether that message is lost with the connection. If not, it arrives before the fault strikes."
    times: int = 1
    "How often it strikes, each time after so many further messages."
    seconds: float | None = None
    """How long the trouble lasts. For a stall: until it ends (``None``: until ``resume()``). For
    any other fault: until new connections are accepted (``None``: at once)."""
    keep: Side = "client"
    "For ``half_open``: the side whose socket stays open."

    def __post_init__(self) -> None:
        """Complain of what cannot be carried out."""
        if self.fault not in get_args(FaultName):
            raise ValueError(f"fault is one of {get_args(FaultName)}, not {self.fault!r}")
        if self.at < 1 or self.times < 1:
            raise ValueError(f"at and times count from 1, not from {min(self.at, self.times)}")
        if self.sender not in {None, *get_args(Side)}:
            raise ValueError(f"sender is one of {get_args(Side)} or None, not {self.sender!r}")
        if self.keep not in get_args(Side):
            raise ValueError(f"keep is one of {get_args(Side)}, not {self.keep!r}")
        if self.seconds is not None and self.seconds < 0:
            raise ValueError(f"seconds is not negative, but this is {self.seconds}")
        if self.lost and self.fault in LOSES_NOTHING:
            raise ValueError(f"lost: {self.fault!r} loses nothing")

    def __repr__(self) -> str:
        """As it is written: what is as usual is left out."""
        options = "".join(
            f", {f.name}={getattr(self, f.name)!r}"
            for f in fields(self)[1:]
            if getattr(self, f.name) != f.default
        )
        return f"Strike({self.fault!r}{options})"


@dataclass(frozen=True)
class FaultPlan:
    """Random faults after random numbers of bytes or messages, the same for the same seed.

    A ``ChaosProxy`` counts bytes. A ``Network`` counts WebSocket messages. Each direction of each
    connection is counted on its own, from its opening. Where the faults strike depends on the seed
    and the connection's number, and never on timing.

    Raises:
        ValueError: A range or the list of faults makes no sense. The message says which.
    """

    seed: int = 0
    "The same seed gives the same faults."
    faults: tuple[FaultName, ...] = _OF_A_CONNECTION
    "The faults to choose from."
    every_bytes: tuple[int, int] = (500, 50_000)
    "For a ``ChaosProxy``: the least and most bytes between two faults."
    stall_for: tuple[float, float] = (0.05, 1.0)
    "The least and most seconds that a stall lasts."
    every_messages: tuple[int, int] = (1, 20)
    "For a ``Network``: the least and most messages between two faults."

    def __post_init__(self) -> None:
        """Complain of what cannot be carried out."""
        if not self.faults or not set(self.faults) <= set(_OF_A_CONNECTION):
            raise ValueError(f"faults are some of {_OF_A_CONNECTION}, not {self.faults}")
        for name in ("every_bytes", "every_messages"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise ValueError(f"{name} is 1 <= low <= high, not {(low, high)}")
        if not 0 <= self.stall_for[0] <= self.stall_for[1]:
            raise ValueError(f"stall_for is 0 <= low <= high, not {self.stall_for}")

    def strikes(self, connection: int, sender: Side, every: tuple[int, int]) -> Iterator[Strike]:
        """Return the faults of one direction, each ``at`` so many units after the one before."""
        chance = random.Random(f"{self.seed}/{connection}/{sender}")
        while True:
            at = chance.randint(*every)
            fault = chance.choice(self.faults)
            keep: Side = chance.choice(get_args(Side))
            stall = chance.uniform(*self.stall_for)
            yield Strike(fault, at, keep=keep, seconds=stall if fault == "stall" else None)


class Fuse:
    """Counts down to one strike after the other."""

    def __init__(self, strikes: Iterable[Strike] = ()) -> None:
        self._strikes = iter(strikes)
        self._light()

    def _light(self) -> None:
        self._strike = next(self._strikes, None)
        self.left = self._strike.at if self._strike else sys.maxsize

    def burn(self, count: int) -> Strike | None:
        """Count, at most what is ``left``; return the strike whose turn it is."""
        self.left -= count
        if self.left:
            return None
        strike = self._strike
        self._light()
        return strike


class Schedule:
    """A plan for a ``Network``, and how far the messages have been counted."""

    def __init__(self, plan: Sequence[Strike] | FaultPlan | None) -> None:
        self.plan = plan
        self._by_chance: dict[tuple[int, Side], Fuse] = {}
        script = () if plan is None or isinstance(plan, FaultPlan) else plan
        self._script = [(s.sender, Fuse(itertools.repeat(s, s.times))) for s in script]

    def count(self, connection: int, sender: Side) -> list[Strike]:
        """Count one message; return what strikes at it."""
        fuses = [fuse for who, fuse in self._script if who in {None, sender}]
        if isinstance(self.plan, FaultPlan):
            key = connection, sender
            if key not in self._by_chance:
                self._by_chance[key] = Fuse(self.plan.strikes(*key, self.plan.every_messages))
            fuses.append(self._by_chance[key])
        return [strike for fuse in fuses if (strike := fuse.burn(1)) is not None]
