"""A session out of what a store has kept of it (RESUME-7, CALL-12)."""

# ruff: noqa: SLF001 - what is stored is the inside of a session

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from .config import Config
from .durable import pack_facts, pack_run, unpack_facts, unpack_payload, unpack_run
from .frames import Counters, Finish, Limits
from .outbox import Outbox
from .payload import DEFAULT_CODEC, PayloadCodec, seal_weight
from .registry import Tombstone
from .report import End, Ending, Outcome, Report
from .session import Session
from .stored import Stored

__all__ = ["StoredSession", "restore", "store_whole"]


def store_whole(session: Session, now: float, wall: float, about: dict[str, Any]) -> Stored:
    """Return a session as a store would have it now, whether it has one or not.

    ``wall`` is the time in seconds since 1970, ``about`` what the driver wants kept beside.
    """
    outbox, queue = session.outbox, session.call_queue
    facts = pack_facts(session._identity(now, wall), session._ledgers, about)
    messages = [payload for _number, payload in outbox.unconfirmed()]
    first = min(outbox.confirmed, outbox.messages) + 1
    entries = queue.entries(queue.acked + 1)
    return Stored(
        session.id,
        facts,
        (pack_run(first, messages),) if messages else (),
        (pack_run(queue.acked + 1, entries),) if entries else (),
    )


def restore(
    values: dict[str, Any],
    now: float,
    config: Config | None = None,
    codec: PayloadCodec | None = None,
) -> Session:
    """Return the session of these facts, messages and entries, as if the network had dropped.

    What it had transmitted is not known, so everything counts as transmitted (R4 of the
    model: an honest peer may ack any of it). What the peer sends again and may have been
    handed over before is flagged by ``inbox.redelivered_upto``.
    """
    session = Session(
        values["role"],
        values["id"],
        values["key"],
        now,
        config,
        codec,
        incarnation=values["incarnation"],
    )
    session.attempt = values["attempt"]
    session.outbox.heed(Limits(*values["peer"]))
    calls = values["calls"]
    session.call_queue.restore(calls, values["entries"])
    session.outgoing_calls.restore(calls)
    session.incoming_calls.restore(calls)
    _restore_outbox(session, values, now)
    finish, stopped = values["peer_finish"], values["stopped"]
    session.restored = True
    session.inbox.restore(
        values["confirmed"],
        None if finish is None else Finish(*finish),
        None if stopped is None else _counters(stopped),
    )
    return session


def _restore_outbox(session: Session, values: dict[str, Any], now: float) -> None:
    outbox, sent, finish = session.outbox, values["sent"], values["finish"]
    weights = [(payload, seal_weight(payload)) for payload in values["messages"]]
    outbox.restore(sent if finish is None else min(sent, finish[0] - 1), weights)
    if finish is not None:
        session.finish(now, *finish[1:])
        outbox.transmitted = outbox.last
    if values["settled"] is not None:
        session._peer_stopped(_counters(values["settled"]), now)
    elif sent > outbox.confirmed:  # Finish is confirmed too
        session._acked(sent, sent, now)
        session.poll(now)


def _counters(values: tuple[Any, ...]) -> Counters:
    received, confirmed, handed, stopped, ranges = values
    return Counters(received, confirmed, handed, stopped, tuple(map(tuple, ranges)))


class StoredSession:
    """What a store has of one session: to look at, and to go on with."""

    def __init__(self, stored: Stored) -> None:
        """Take what the store gave.

        Raises:
            ValueError: It is not what a session of this release was stored as.
        """
        self._stored = stored
        try:
            self.facts = unpack_facts(stored.facts)
            self.about: dict[str, Any] = dict(self.facts["about"])
            "What the driver had kept beside."
            self.role: str = self.facts["role"]
            self.attached: bool = self.facts["attached"]
            self.closing: bool = self.facts["closing"]
            self.contact: float = self.facts["contact"]
            self._sent: int = self.facts["sent"]
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"these are no facts of a session: {error!r}") from error

    @property
    def id(self) -> bytes:
        """The session's id."""
        return self._stored.session

    @property
    def key(self) -> bytes:
        """Its secret at the initiator, the hash of that at the acceptor."""
        return bytes(self.facts["key"])

    @property
    def keys(self) -> dict[str, int]:
        """Keys of messages, with the number of each; 0 for a kept send."""
        return dict(self._stored.keys)

    @property
    def ending(self) -> Ending | None:
        """How it ended; ``None``: it goes on."""
        ended = self.facts["ended"]
        return None if ended is None else Ending(End(ended[0]), ended[1], ended[2])

    def tombstone(self, principal: Hashable, until: float) -> Tombstone:
        """Return what an acceptor's registry remembers of it, now that it has ended (TOMB-1)."""
        facts = self.facts
        who = self.key, facts["incarnation"], facts["attempt"]
        return Tombstone(*who, _counters(facts["counters"]), principal, until)

    def messages(self) -> list[Any]:
        """Return the payloads of our messages that the peer has not confirmed, in order."""
        payloads: list[Any] = []
        for run in self._stored.messages:
            payloads += unpack_run(run)[max(0, self._confirmed + 1 - run.first) :]
        return payloads

    @property
    def _confirmed(self) -> int:
        """The highest number of a message that is confirmed."""
        finish = self.facts["finish"]
        return self._sent if finish is None else min(self._sent, finish[0] - 1)

    def _entries(self) -> list[tuple[Any, int]]:
        acked = self.facts["calls"]["acked"]
        entries: list[tuple[Any, int]] = []
        for run in self._stored.entries:
            entries += unpack_run(run)[max(0, acked + 1 - run.first) :]
        return entries

    def report(self, codec: PayloadCodec | None = None) -> Report:
        """Return what is known of our messages."""
        outbox = Outbox(Config(), codec or DEFAULT_CODEC)
        payloads = self.messages() + [unpack_payload(send.data) for send in self._stored.sends]
        outbox.restore(self._confirmed, [(payload, seal_weight(payload)) for payload in payloads])
        settled = self.facts["settled"]
        ending = self.ending
        outbox.transmitted = self.facts["transmitted"]
        if settled is not None:
            outbox.settle(_counters(settled))
        else:
            outbox.kept = outbox.last if ending is None else 0
            outbox.end()
        return outbox.report(None, ending)

    def outcome(self, number: int) -> Outcome:
        """Return what is known of one message of ours; 0 is a kept send."""
        if 0 < number <= self._confirmed:
            return Outcome.CONFIRMED
        if self.ending is None and self.facts["settled"] is None:
            return Outcome.KEPT
        outbox = Outbox(Config(), DEFAULT_CODEC)
        outbox.transmitted = self.facts["transmitted"]
        if self.facts["settled"] is not None:
            outbox.settle(_counters(self.facts["settled"]))
        else:
            outbox.end()
        return outbox.outcome(number) if number else Outcome.NOT_TAKEN

    @classmethod
    def outcome_of(cls, facts: bytes, number: int) -> Outcome:
        """Return what the facts of a session say of one message."""
        return cls(Stored(b"", facts)).outcome(number)

    def revive(
        self,
        now: float,
        wall: float,
        alive_at: float | None,
        config: Config | None = None,
        codec: PayloadCodec | None = None,
        *,
        keeps: bool = True,
    ) -> Session:
        """Return the session, as if the network had dropped when its process died.

        ``keeps``: whether a store keeps it from now on. ``wall`` is the time in seconds since 1970,
        ``alive_at`` the last time at which the process that had the store was alive. A clock that
        was set back ends nothing.
        """
        facts, stored = self.facts, self._stored
        # What was confirmed together with the application's data is confirmed.
        applied = set(stored.applied)
        for first, last in facts["ahead"]:
            applied |= set(range(first, last + 1))
        confirmed: int = facts["confirmed"]
        while confirmed + 1 in applied and facts["peer_finish"] is None:
            confirmed += 1
        # The ledgers.
        values = facts | {
            "messages": self.messages(),
            "entries": self._entries(),
            "confirmed": confirmed,
        }
        session = restore(values, now, config, codec)
        session.inbox.applied = frozenset(number for number in applied if number > confirmed)
        if session.inbox.applied:
            session.take = session.inbox.take_unless_applied
        # How long it was out of contact.
        contact = self.contact
        if self.attached and alive_at is not None:
            contact = max(contact, alive_at)
        session.timers.contact_at = now - max(0.0, wall - contact)
        if self.closing:
            session.timers.close(now, None)
        # What the store has is kept. Kept sends get their numbers now.
        if keeps:
            session.keep_in_store(self.about)
        for send in stored.sends:
            payload = unpack_payload(send.data)
            session.accept_kept(send.row, payload, seal_weight(payload), send.key)
        return session
