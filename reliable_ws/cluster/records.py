"""What the engine has of a session: one hash each, which every node can read.

Fields of the hash, all bytes:

=============  ====================================================================================
``owner``      the node that has the session
``attempt``    the highest attempt that was seen when this was written last (RESUME-1)
``state``      where the session is: :class:`State`
``key``        the hash of its key (HELLO-16)
``who``        its principal, packed
``level``      what it survives
``run``        the engine that had the last change: an id and a nonce (see ``SETTLE`` in
               :mod:`.scripts`)
``facts``      what a store keeps of it (``protocol/durable.py``), where the level has that
``m1``, …      runs of its messages, by the number of the first; packed as (length, data)
``c1``, …      the same of entries of calls
``groups``     of a parked one: how far it was in its groups (:class:`~.receipts.Way`), packed
``final``      of a session that has ended: incarnation, attempt and final counters, packed
=============  ====================================================================================
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import msgpack

from reliable_ws.protocol.frames import Counters
from reliable_ws.protocol.registry import Tombstone
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.stored import Run, Stored

__all__ = [
    "Found",
    "State",
    "pack_ending",
    "pack_final",
    "pack_who",
    "run_field",
    "runs_of",
    "tombstone_of",
    "unpack_who",
]

PLAIN = {"use_list": False, "strict_map_key": False}


class State(enum.Enum):
    """Where a session is."""

    LIVE = b"live"
    "Its owner has it."
    PARKED = b"parked"
    "Its owner has left it to whoever is asked for it."
    ENDED = b"ended"


class Found(NamedTuple):
    """What the engine says of a session that is not here."""

    owner: bytes
    address: bytes | None
    "How to reach the owner; ``None``: its lease is over."
    fields: Mapping[bytes, bytes]

    @property
    def state(self) -> State:
        """Where the session is."""
        return State(self.fields.get(b"state", b"live"))

    @property
    def key(self) -> bytes:
        """The hash of its key."""
        return self.fields.get(b"key", b"")

    @property
    def who(self) -> bytes:
        """Its principal, packed."""
        return self.fields.get(b"who", b"")

    @property
    def attempt(self) -> int:
        """The highest attempt that the engine was told."""
        return int(self.fields.get(b"attempt", b"0"))

    @property
    def level(self) -> str:
        """What it survives."""
        return self.fields.get(b"level", b"relay").decode()

    @property
    def run(self) -> bytes:
        """Which engine had the last change."""
        return self.fields.get(b"run", b"")

    def has_all(self, run: bytes) -> bool:
        """Whether the engine has all that is needed to go on with the session.

        What was parked is whole. A log is, unless the engine is another one than the one that had
        the last change: that may have been lost with it, and the owner has not said it again.
        """
        if b"facts" not in self.fields:
            return False
        return self.state is State.PARKED or (self.level == "log" and self.run == run)

    def stored(self, session_id: bytes) -> Stored | None:
        """Return the session as a store would; ``None``: the engine has only where it is."""
        facts = self.fields.get(b"facts")
        if facts is None:
            return None
        return Stored(session_id, facts, runs_of(self.fields, b"m"), runs_of(self.fields, b"c"))


def pack_who(principal: Hashable) -> bytes:
    """Return a principal as the engine has it."""
    packed: bytes = msgpack.packb(principal)
    return packed


def unpack_who(who: bytes) -> Any:
    """Return what :func:`pack_who` has packed."""
    return msgpack.unpackb(who, **PLAIN)  # type: ignore[arg-type]


def run_field(kind: str, run: Run) -> tuple[str, bytes]:
    """Return name and value of the field for a run: ``"m"`` for messages, ``"c"`` for calls."""
    return f"{kind}{run.first}", msgpack.packb((run.length, run.data))


def runs_of(fields: Mapping[bytes, bytes], kind: bytes) -> tuple[Run, ...]:
    """Return the runs of one kind, in order."""
    runs = [
        Run(int(name[1:]), *msgpack.unpackb(value, **PLAIN))  # type: ignore[arg-type]
        for name, value in fields.items()
        if name[:1] == kind and name[1:].isdigit()
    ]
    return tuple(sorted(runs))


def pack_final(session: Session) -> bytes:
    """Return what must be known of a session that has ended (TOMB-1)."""
    counters = tuple(session.inbox.counters())
    packed: bytes = msgpack.packb((session.incarnation, session.attempt, counters))
    return packed


def pack_ending(facts: Mapping[str, Any]) -> bytes:
    """Return the same, from the facts that a store is given."""
    packed: bytes = msgpack.packb((facts["incarnation"], facts["attempt"], facts["counters"]))
    return packed


def tombstone_of(found: Found, until: float) -> Tombstone | None:
    """Return the tombstone of a session that has ended; ``None``: only its owner has it."""
    final = found.fields.get(b"final")
    if final is None:
        return None
    incarnation, attempt, counters = msgpack.unpackb(final, **PLAIN)  # type: ignore[arg-type]
    received, confirmed, handed, stopped, ranges = counters
    told = Counters(received, confirmed, handed, stopped, tuple(map(tuple, ranges)))
    return Tombstone(found.key, incarnation, attempt, told, unpack_who(found.who), until)
