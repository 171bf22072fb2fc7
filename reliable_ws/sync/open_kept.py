"""Open the session of a name that a store has kept, or begin it."""

from __future__ import annotations

import time
from collections.abc import Callable

from reliable_ws.driver.options import SessionOptions
from reliable_ws.driver.restored import claims_of, revive, sessions_of, with_previous
from reliable_ws.protocol.report import End, Report
from reliable_ws.protocol.stored_session import StoredSession
from reliable_ws.store import Store
from reliable_ws.transport import SyncTransport

from .connection import Connection
from .initiator import Initiator, Open

__all__ = ["open_kept"]

First = Callable[[], SyncTransport]


def open_kept(
    options: SessionOptions, store: Store, name: str, first: First, reopen: Open | None
) -> Connection:
    """Return the connection of a named session: that of an earlier process, if it goes on.

    ``first`` opens the first WebSocket, ``reopen`` the later ones.
    """
    release = claims_of(store).claim(name)
    try:
        closing, going_on = sessions_of(store.open(), name)
        # Bring a session to its end that the earlier process was closing.
        previous: Report | None = None
        for one in closing:
            previous = _bring_to_its_end(one, options, store, first, reopen)
        # Go on with the session, or begin one.
        initiator = _initiator(options, store, reopen, going_on)
        initiator.restored = with_previous(initiator.restored, previous)
        connection = Connection(initiator, options.on_event)
        initiator.released = release
        if options.offline and reopen is not None:
            initiator.start_offline(reopen)
        else:
            initiator.start(first())
    except BaseException:
        release()
        raise
    return connection


def _initiator(
    options: SessionOptions, store: Store, reopen: Open | None, kept: StoredSession | None
) -> Initiator:
    if kept is None:
        return Initiator(options, reopen)
    now, wall = time.monotonic(), time.time()
    session, restored = revive(kept, store, options.config, options.codec, now=now, wall=wall)
    initiator = Initiator(options, reopen, revived=session)
    initiator.restored = restored
    return initiator


def _bring_to_its_end(
    kept: StoredSession,
    options: SessionOptions,
    store: Store,
    first: First,
    reopen: Open | None,
) -> Report:
    """Close a session that an earlier process was closing, and return its report."""
    initiator = _initiator(options, store, reopen, kept)
    initiator.start(first(), may_end=True)
    with initiator.lock:
        initiator.wait_ended(None)
        initiator.close(1000, "", None)  # returns when the end is kept
        session = initiator.session
        if session.ended is not None and session.ended.kind is End.KEPT:
            raise session.error()  # it is not over: no other one can begin
        return session.report()
