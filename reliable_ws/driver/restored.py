"""Sessions that a store has kept: which of them are in use here, and what is owed on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import msgpack

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import PayloadError, StoreCorrupt
from reliable_ws.protocol.payload import DEFAULT_CODEC, PayloadCodec, open_payload
from reliable_ws.protocol.report import Report
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.snapshot import StoredSession
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
    """Which sessions of one store this process uses: each has one driver."""

    def __init__(self) -> None:
        self._claimed: set[str] = set()

    def claim(self, name: str) -> None:
        """Use the session of this name.

        Raises:
            ValueError: It is in use.
        """
        if name in self._claimed:
            raise ValueError(
                "the sessions of a server in this store are in use: share them with sessions="
                if name == SERVER
                else f"the session {name!r} of this store is in use by another connection"
            )
        self._claimed.add(name)

    def release(self, name: str) -> None:
        """Use it no more. Again: no effect."""
        self._claimed.discard(name)


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
