"""Sessions that a store has kept: which of them are in use here, and what is owed on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import msgpack

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import PayloadError, StoreCorrupt
from reliable_ws.protocol.payload import DEFAULT_CODEC, PayloadCodec, open_payload
from reliable_ws.protocol.registry import SessionRegistry
from reliable_ws.protocol.report import Report
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.stored_session import StoredSession
from reliable_ws.store import Store

__all__ = [
    "SERVER",
    "Claims",
    "Restored",
    "RestoredMessage",
    "about_acceptor",
    "about_initiator",
    "claims_of",
    "config_with_store",
    "read_stored",
    "restored_from",
    "revive",
    "sessions_of",
    "take_in",
    "with_previous",
]

SERVER = ""
"""The claim of the sessions that wait for WebSockets: they have no name."""


class RestoredMessage(NamedTuple):
    """A message that an earlier process accepted, and that was not confirmed when it died."""

    number: int
    "Its sequence number."
    key: str | None
    "The key that it was sent with."
    message: Any
    "The message, as the peer receives it."


@dataclasses.dataclass(frozen=True, slots=True)
class Restored:
    """What a session had when it came from a store: ``Connection.restored``."""

    unconfirmed: tuple[RestoredMessage, ...] = ()
    """Messages of this side that are owed to the peer. They are sent again by themselves. Some may
    have been taken: their receipts were lost with the process."""
    uncertain: bool = False
    """Whether the last things that the earlier process accepted may be missing: the machine was
    switched off, and the store survives only the death of a process."""
    previous: Report | None = None
    """What became of the session before, if the earlier process died while it closed that: it was
    brought to its end first, and this is a new session."""


class Claims:
    """Which sessions of one store this process uses: each has one driver. For any thread."""

    def __init__(self) -> None:
        self._claimed: dict[str, object] = {}

    def claim(self, name: str) -> Callable[[], None]:
        """Use the session of this name; return what is to be called when it is used no more.

        Raises:
            ValueError: It is in use.
        """
        claim = object()
        if self._claimed.setdefault(name, claim) is not claim:
            raise ValueError(
                "the sessions of a server in this store are in use: share them with sessions="
                if name == SERVER
                else f"the session {name!r} of this store is in use by another connection"
            )

        def release() -> None:
            if self._claimed.get(name) is claim:  # else it is another's by now
                del self._claimed[name]

        return release


_CLAIMS: WeakKeyDictionary[Store, Claims] = WeakKeyDictionary()


def claims_of(store: Store) -> Claims:
    """Return which sessions of this store are in use here."""
    return _CLAIMS.setdefault(store, Claims())


def about_initiator(name: str) -> dict[str, Any]:
    """Return what is kept beside a session of ``connect(store=…, name=…)``."""
    return {"name": name}


def about_acceptor(principal: Hashable) -> dict[str, Any]:
    """Return what is kept beside a session of a server.

    Raises:
        TypeError: The principal cannot be kept.
    """
    about = {"principal": principal}
    try:
        same = msgpack.unpackb(msgpack.packb(about), use_list=False) == about
    except (TypeError, ValueError, OverflowError):
        same = False
    if not same:
        raise TypeError(
            f"a store keeps a principal of str, bytes, numbers and tuples of them, "
            f"not {principal!r:.100}"
        )
    return about


def config_with_store(config: Config) -> Config:
    """Return the configuration of a session that outlives its process."""
    return dataclasses.replace(config, session_ttl=max(config.session_ttl, config.stored_ttl))


def restored_from(
    kept: StoredSession, session: Session, codec: PayloadCodec | None, *, uncertain: bool
) -> Restored:
    """Return what is owed on a session that was just revived."""
    keys = {number: key for key, number in kept.keys.items()}
    if session.durable is not None:
        keys |= {number: key for key, number in session.durable.keys.items()}
    unconfirmed = tuple(
        RestoredMessage(number, keys.get(number), _shown(payload, number, codec or DEFAULT_CODEC))
        for number, payload in session.outbox.unconfirmed()
    )
    return Restored(unconfirmed, uncertain)


def revive(
    kept: StoredSession,
    store: Store,
    config: Config,
    codec: PayloadCodec | None,
    *,
    now: float,
    wall: float,
) -> tuple[Session, Restored]:
    """Return a session that an earlier process had, and what is owed on it.

    ``wall`` is the time in seconds since 1970.
    """
    session = kept.revive(now, wall, store.alive_at, config, codec)
    return session, restored_from(kept, session, codec, uncertain=store.uncertain)


def take_in(
    registry: SessionRegistry, kept: StoredSession, store: Store, now: float, wall: float
) -> tuple[Session, Restored] | None:
    """Let a registry have a session that an earlier process of a server had.

    Return it, with what is owed on it; ``None`` for one that has ended: its tombstone is there.
    """
    principal, config = kept.about["principal"], registry.config
    if kept.ending is not None:
        until = now + max(0.0, kept.contact + config.stored_ttl - wall)
        registry.restore_tombstone(kept.id, kept.tombstone(principal, until))
        return None
    session, restored = revive(kept, store, config, registry.codec, now=now, wall=wall)
    registry.restore(session, principal)
    return session, restored


def sessions_of(rows: Any, name: str) -> tuple[list[StoredSession], StoredSession | None]:
    """Return the sessions of a name: those that were being closed, and the one that goes on.

    Bring the first to their end before you use the other, or begin a new one.

    Raises:
        StoreCorrupt: A session is not what this library stores.
    """
    kept = [
        one
        for one in read_stored(rows, "initiator")
        if one.about.get("name") == name and one.ending is None
    ]
    going_on = [one for one in kept if not one.closing]
    return [one for one in kept if one.closing], going_on[0] if going_on else None


def with_previous(restored: Restored | None, previous: Report | None) -> Restored | None:
    """Return what a connection says of its session and of the one that was closed before it."""
    if previous is None:
        return restored
    return dataclasses.replace(restored or Restored(), previous=previous)


def _shown(payload: Any, number: int, codec: PayloadCodec) -> Any:
    try:
        return open_payload(payload, number, codec)
    except PayloadError as error:
        return error.raw


def read_stored(rows: Any, role: str) -> list[StoredSession]:
    """Return the sessions of one side.

    Raises:
        StoreCorrupt: One of them is not what this library stores.
    """
    sessions: list[StoredSession] = []
    for row in rows:
        try:
            kept = StoredSession(row)
        except ValueError as error:
            raise StoreCorrupt(f"session {row.session.hex()} of the store: {error}") from error
        if kept.role == role:
            sessions.append(kept)
    return sessions
