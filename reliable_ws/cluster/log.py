"""The engine as a write-ahead log of sessions: level ``"log"``.

Theory of operation. To a session this is a store (protocol.md, "Stores"): what is not kept is not
said. What changed in one turn of the loop goes to the engine in one step, for all sessions of the
node; while that is under way the next one grows. The engine refuses what comes from a node that
has lost a session, and that session ends here as *moved*. What the engine has lost is said again,
whole, from a copy that is held here of all that is not confirmed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from reliable_ws.aio.store_port import StorePort
from reliable_ws.driver.session_store import STORE_SLOW
from reliable_ws.protocol.durable import unpack_facts
from reliable_ws.protocol.errors import ReliableWSError, SessionMoved
from reliable_ws.protocol.stored import Change, Run, Stored
from reliable_ws.store import Apply

from .engine import EngineAway, Entry
from .records import State, pack_ending, run_field

__all__ = ["Copy", "LogPort", "moved"]

KEPT, REFUSED, MISSING, OTHER = 0, 1, 2, 3
"""What the engine says of each session."""

CHANGES_AT_ONCE = 200
"""Sessions in one step: another node's step waits for so long at most."""

NO_KEYS = "key= and apply= need a store: a cluster keeps no keys, and no data of the application"

Done = Callable[[ReliableWSError | None], None]


def moved() -> SessionMoved:
    """Return why a session ends here."""
    return SessionMoved("another node has this session now")


class Copy:
    """What the engine has, or should have, of one session."""

    __slots__ = ("attempt", "facts", "fields", "runs")

    def __init__(self) -> None:
        self.attempt = 0
        self.facts = b""
        self.runs: dict[str, int] = {}
        "Names of runs, with the number of the last one in each."
        self.fields: dict[str, bytes] = {}

    @classmethod
    def of(cls, stored: Stored) -> Copy:
        """Return a copy of what the engine has."""
        copy = cls()
        copy.facts = stored.facts
        for kind, runs in (("m", stored.messages), ("c", stored.entries)):
            for run in runs:
                copy.add(kind, run)
        return copy

    def add(self, kind: str, run: Run) -> tuple[str, bytes]:
        """Note a run; return its field."""
        name, value = run_field(kind, run)
        self.runs[name] = run.last
        self.fields[name] = value
        return name, value

    def take(self, change: Change) -> tuple[list[str | bytes], list[str]]:
        """Note a change; return the values to be kept, and the names of fields to forget."""
        self.facts = change.facts
        values: list[str | bytes] = ["facts", change.facts]
        for kind, run in (("m", change.messages), ("c", change.entries)):
            if run is not None:
                values += self.add(kind, run)
        names = [
            name
            for name, last in self.runs.items()
            if last <= (change.confirmed if name[0] == "m" else change.received)
        ]
        for name in names:
            del self.runs[name], self.fields[name]
        return values, names

    def values(self) -> list[str | bytes]:
        """Return all fields."""
        values: list[str | bytes] = ["facts", self.facts]
        for field in self.fields.items():
            values += field
        return values


class LogPort(StorePort):
    """The way from the sessions of a node to the engine, and back."""

    __slots__ = (
        "_append",
        "_ending",
        "_life",
        "_patience",
        "_restate",
        "_send_away",
        "_wait_for_engine",
        "_wall",
        "_writing",
        "copies",
        "timer",
    )

    def __init__(
        self,
        append: Callable[[list[Entry]], Awaitable[list[int]]],
        restate: Callable[[list[bytes]], Awaitable[list[bytes]]],
        wait_for_engine: Callable[[], Awaitable[None]],
        send_away: Callable[[list[bytes]], None],
        wall: Callable[[], float],
        *,
        life: float,
        patience: float,
    ) -> None:
        """``life``: seconds that the engine remembers a session that has ended.

        ``patience``: seconds without the engine after which the peers of sessions that wait for it
        are sent away.
        """
        self._append = append
        self._restate = restate
        self._wait_for_engine = wait_for_engine
        self._send_away = send_away
        self._wall = wall
        self._life = life
        self._patience = patience
        self._queued: list[tuple[Change, Done]] = []
        self._writing: asyncio.Task[None] | None = None
        self.waiting = 0
        self.is_alone = False
        self.on_slow: set[Callable[[], None]] = set()
        self.timer: asyncio.TimerHandle | None = None
        self.copies: dict[bytes, Copy] = {}
        "Of every session that lives here."

    def wall(self) -> float:
        """Return the engine's time, which is the same for all nodes."""
        return self._wall()

    async def find(self, key: str) -> tuple[bytes, int, bytes] | None:  # noqa: ARG002 - the port's
        """Raise: there are no keys here."""
        raise TypeError(NO_KEYS)

    def apply(
        self,
        apply: Apply,  # noqa: ARG002 - the port's
        done: Callable[[Any, BaseException | None], None],
    ) -> None:
        """Answer that there is no database here."""
        asyncio.get_running_loop().call_soon(done, None, TypeError(NO_KEYS))

    def submit(self, change: Change, done: Done) -> None:
        """Have a change kept with the others of this turn; ``done`` is called in the loop."""
        self._queued.append((change, done))
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        """Keep what is queued, batch by batch, until nothing is."""
        try:
            while self._queued:
                batch, self._queued = self._queued[:CHANGES_AT_ONCE], self._queued[CHANGES_AT_ONCE:]
                self.waiting += 1
                self.timer = asyncio.get_running_loop().call_later(STORE_SLOW, self._tell_slow)
                try:
                    answers = await self._keep([change for change, _done in batch])
                finally:
                    self.timer.cancel()
                    self.waiting -= 1
                for (_change, done), refused in zip(batch, answers, strict=True):
                    done(moved() if refused else None)
        finally:
            self._writing = None

    async def _keep(self, changes: list[Change]) -> list[bool]:
        """Return when these changes are kept, with whether each was refused."""
        entries = [self._entry(change) for change in changes]
        while True:
            try:
                said = await self._append(entries)
                missing = [
                    entry.session
                    for entry, one in zip(entries, said, strict=True)
                    if one == MISSING
                ]
                lost = set(await self._restate(missing)) if missing else set()
                break
            except EngineAway:
                await self._wait(changes)
        answers = []
        for entry, one in zip(entries, said, strict=True):
            refused = one == REFUSED or entry.session in lost
            if refused or entry.life is not None:
                self.copies.pop(entry.session, None)
            answers.append(refused)
        return answers

    async def _wait(self, changes: list[Change]) -> None:
        """Return when the engine is back. Peers that wait with us go to other nodes meanwhile."""
        while True:
            try:
                async with asyncio.timeout(self._patience):
                    await self._wait_for_engine()
                return
            except TimeoutError:
                behind = [change for change, _done in self._queued]
                self._send_away([change.session for change in changes + behind])

    def _entry(self, change: Change) -> Entry:
        copy = self.copies.setdefault(change.session, Copy())
        values, names = copy.take(change)
        facts = unpack_facts(change.facts)
        copy.attempt = facts["attempt"]
        if change.until is None:
            return Entry(change.session, copy.attempt, None, values, names)
        values += ["state", State.ENDED.value, "final", pack_ending(facts)]
        return Entry(change.session, copy.attempt, self._life, values, names)

    def _tell_slow(self) -> None:
        for call in list(self.on_slow):
            call()
