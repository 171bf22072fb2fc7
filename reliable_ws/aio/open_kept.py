"""Open the session of a name that a store has kept, or begin it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from reliable_ws.driver.options import SessionOptions
from reliable_ws.driver.restored import (
    Restored,
    claims_of,
    read_stored,
    restored_from,
)
from reliable_ws.protocol.report import End, Report
from reliable_ws.protocol.snapshot import StoredSession
from reliable_ws.store import Store
from reliable_ws.transport import Transport

from .connection import Connection
from .initiator import Initiator, Open
from .store_port import StorePort

__all__ = ["open_kept"]

First = Callable[[], Awaitable[Transport]]


async def open_kept(
    options: SessionOptions, store: Store, name: str, first: First, reopen: Open | None
) -> Connection:
    """Return the connection of a named session: that of an earlier process, if it goes on.

    ``first`` opens the first WebSocket, ``reopen`` the later ones.
    """
    claims = claims_of(store)
    claims.claim(name)
    try:
        port = StorePort(store, asyncio.get_running_loop())
        kept = [
            one
            for one in read_stored(await port.open(), "initiator")
            if one.about.get("name") == name and one.ending is None
        ]
        # Bring a session to its end that the earlier process was closing.
        previous: Report | None = None
        for one in kept:
            if one.closing:
                previous = await _bring_to_its_end(one, options, port, first, reopen)
        going_on = [one for one in kept if not one.closing]
        # Go on with the session, or begin one.
        initiator = _initiator(options, port, reopen, going_on[0] if going_on else None)
        if previous is not None:
            restored = initiator.restored or Restored()
            initiator.restored = Restored(restored.unconfirmed, restored.uncertain, previous)
        connection = Connection(initiator, options.on_event)
        initiator.released = lambda: claims.release(name)
        await initiator.start(await first())
    except BaseException:
        claims.release(name)
        raise
    return connection


def _initiator(
    options: SessionOptions, port: StorePort, reopen: Open | None, kept: StoredSession | None
) -> Initiator:
    if kept is None:
        return Initiator(options, reopen, port=port)
    store, now = port.store, asyncio.get_running_loop().time()
    session = kept.revive(now, time.time(), store.alive_at, options.config, options.codec)
    initiator = Initiator(options, reopen, revived=session, port=port)
    initiator.restored = restored_from(kept, session, options.codec, uncertain=store.uncertain)
    return initiator


async def _bring_to_its_end(
    kept: StoredSession,
    options: SessionOptions,
    port: StorePort,
    first: First,
    reopen: Open | None,
) -> Report:
    """Close a session that an earlier process was closing, and return its report."""
    initiator = _initiator(options, port, reopen, kept)
    await initiator.start(await first(), may_end=True)
    await initiator.wait_ended()
    session = initiator.session
    await initiator.close(1000, "", None)  # returns when the end is kept
    if session.ended is not None and session.ended.kind is End.KEPT:
        raise session.error()  # it is not over: no other one can begin
    return session.report()
