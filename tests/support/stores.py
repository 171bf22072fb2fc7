"""A store in memory that keeps or loses what a test says, and a pair of sessions that use it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.registry import SessionRegistry
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.stored import Change, KeptSend, Run, Stored
from reliable_ws.protocol.stored_session import StoredSession
from reliable_ws.store import Apply, StoreError

from .pair import ID, KEY, Pair, Wire

Done = Callable[[StoreError | None], None]


class MemoryStore:
    """Keeps what :meth:`commit` is called for; the rest is lost with :meth:`crash`."""

    def __init__(self) -> None:
        self.pending: list[tuple[tuple[Change, ...], Done]] = []
        "What was submitted and is not kept yet."
        self.rows: dict[bytes, Stored] = {}
        self.until: dict[bytes, float] = {}
        self.sends = 0

    # ------------------------------------------------------------------ the protocol

    alive_at: float | None = None
    uncertain = False

    def open(self) -> Sequence[Stored]:
        return list(self.rows.values())

    def submit(self, changes: Sequence[Change], done: Done) -> None:
        self.pending.append((tuple(changes), done))

    def apply(self, apply: Apply, done: Callable[[Any, BaseException | None], None]) -> None:
        self.commit()
        try:
            result = apply.work(None)
        except Exception as error:
            done(None, error)
            return
        row = self.rows[apply.session]
        if apply.send is not None:
            self.sends += 1
            row = row._replace(sends=(*row.sends, KeptSend(self.sends, apply.send, apply.key)))
            result = (self.sends, result)
        if apply.delivery is not None:
            row = row._replace(applied=(*row.applied, apply.delivery))
        self.rows[apply.session] = row
        done(result, None)

    def find(self, key: str) -> tuple[bytes, int, bytes] | None:
        for row in self.rows.values():
            for name, number in row.keys:
                if name == key:
                    return row.session, number, row.facts
        return None

    def close(self) -> None:
        self.commit()

    # ------------------------------------------------------------------ what a test says

    def commit(self) -> None:
        """Keep everything that was submitted."""
        pending, self.pending = self.pending, []
        for changes, done in pending:
            for change in changes:
                self.rows[change.session] = changed(self.rows.get(change.session), change)
                if change.until is not None:
                    self.until[change.session] = change.until
            done(None)

    def fail(self, error: StoreError) -> None:
        """Keep nothing of what was submitted, and say so."""
        pending, self.pending = self.pending, []
        for _changes, done in pending:
            done(error)

    def crash(self) -> None:
        """Lose what was not kept."""
        self.pending = []


class HeldStore(MemoryStore):
    """A store that answers at once, in the thread that gives it something, as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic = True
        "Whether it keeps what it is given; else the test calls :meth:`commit`."
        self.error: StoreError | None = None
        "What it answers."

    def submit(self, changes: Sequence[Change], done: Done) -> None:
        super().submit(changes, done)
        if self.error is not None:
            self.fail(self.error)
        elif self.automatic:
            self.commit()


def changed(row: Stored | None, change: Change) -> Stored:
    """Return what a store has of a session once a change is kept."""
    row = row or Stored(change.session, b"")
    keys = dict(row.keys) | dict(change.keys)
    return Stored(
        change.session,
        change.facts,
        runs(row.messages, change.messages, change.confirmed),
        runs(row.entries, change.entries, change.received),
        tuple(keys.items()),
        tuple(send for send in row.sends if send.row not in change.sends),
        tuple(number for number in row.applied if number > change.taken),
    )


def runs(before: tuple[Run, ...], new: Run | None, upto: int) -> tuple[Run, ...]:
    together = before if new is None else (*before, new)
    return tuple(run for run in together if run.last > upto)


WALL = 1_700_000_000.0
"""The time in seconds since 1970 when a pair's clock shows 0."""


class StoredPair(Pair):
    """A pair whose sides keep their sessions, each in a store of its own."""

    def __init__(
        self,
        config: Config | None = None,
        *,
        client: bool = True,
        server: bool = True,
        automatic: bool = True,
    ) -> None:
        super().__init__(config)
        self.next_incarnation = 10_000
        "The next process of the acceptor begins to count there."
        self.stores: dict[str, MemoryStore] = {}
        self.automatic = automatic
        "Whether everything is kept as soon as it is submitted."
        if client:
            self.stores["client"] = MemoryStore()
            self.client.keep_in_store({"name": "test"})
        if server:
            self.stores["server"] = MemoryStore()
            self.registry.about = lambda principal: {"principal": principal}

    def session(self, who: str) -> Session | None:
        return self.client if who == "client" else self._server

    def submit(self, who: str) -> None:
        """Give a side's store what changed, as a driver does before it transmits."""
        store, session = self.stores.get(who), self.session(who)
        if store is None or session is None:
            return
        change = session.take_change(self.now, WALL + self.now)
        if change is not None:
            store.submit([change], lambda error: self.said(who, session, error))
            if self.automatic:
                self.keep(who)

    def said(self, who: str, session: Session, error: StoreError | None) -> None:
        events = session.kept(self.now) if error is None else session.unkept(self.now)
        if who == "client":
            self.client_events += events
        else:
            self._server_said(events)

    def keep(self, who: str) -> None:
        """Let a side's store keep what it was given."""
        self.stores[who].commit()

    def pull(self, wire: Wire | None = None) -> bool:
        wire = wire or self.wire
        for who in self.stores:
            self.submit(who)
        return super().pull(wire)

    def deliver_up(self, wire: Wire | None = None) -> bool:
        some = super().deliver_up(wire)
        self.submit("server")
        return some

    # ------------------------------------------------------------------ processes that die

    def crash(self, who: str, outage: float = 0.0) -> None:
        """Let a side's process die; it comes back with what its store had kept."""
        self.cut()
        store = self.stores[who]
        store.crash()
        self.now += outage
        if who == "client":
            (stored,) = store.open()
            self.client = self._revived(stored)
            return
        registry = SessionRegistry(self.next_incarnation, self.registry.config)
        registry.about = self.registry.about
        self.registry = registry
        self._server = None
        for row in store.open():
            kept = StoredSession(row)
            if kept.ending is None:
                self._server = self._revived(row)
                registry.restore(self._server, kept.about["principal"])
            else:
                tombstone = kept.tombstone(kept.about["principal"], self.now + 100)
                registry.restore_tombstone(kept.id, tombstone)

    def _revived(self, stored: Stored) -> Session:
        return StoredSession(stored).revive(self.now, WALL + self.now, None, self.config)


def new_client(pair: Pair, now: float) -> Session:
    """Return a session that knows nothing of an earlier one with the same id."""
    return Session("initiator", ID, KEY, now, pair.config)
