"""Fault points: product functions of this process are wrapped, and are not changed.

:func:`install` wraps them once, in the parent. :func:`begin` says in a child whose points they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from reliable_ws.aio import link_io as aio_link_io
from reliable_ws.aio import session_store as aio_session_store
from reliable_ws.aio import store_port as aio_store_port
from reliable_ws.protocol import frames
from reliable_ws.protocol.codec import decode
from reliable_ws.protocol.durable import unpack_facts
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.session import Session
from reliable_ws.stores import ledger as ledger_module
from reliable_ws.stores.ledger import Ledger
from reliable_ws.stores.sqlite import SQLiteStore
from reliable_ws.sync import link_io as sync_link_io
from reliable_ws.sync import session_store as sync_session_store
from reliable_ws.sync import store_port as sync_store_port

from .board import Board

__all__ = ["begin", "cross", "install"]

SAID = {
    frames.Hello: "attempt",
    frames.Welcome: "welcome",
    frames.Messages: "messages",
    frames.Part: "messages",
    frames.Ack: "confirmed",
    frames.Calls: "calls",
    frames.CallAck: "calls",
    frames.Finish: "finish",
    frames.Stop: "stopped",
    frames.Done: "ended",
    frames.Refuse: "ended",
}

_cross: Callable[[str], None] = lambda point: None  # noqa: E731
_before: dict[bytes, dict[str, Any]] = {}  # the facts of each session's change before
_kinds: dict[bytes, frozenset[str]] = {}  # of a change, by its facts
_working: dict[bytes, bytes] = {}  # the facts that the store works on, by session
_said: set[str] = set()  # in frames that are not written


def begin(board: Board, side: str, kind: str) -> None:
    """Let the points of this process be those of one side."""
    global _cross  # noqa: PLW0603 - one process, one side
    _cross = functools.partial(board.cross, side, kind)


def cross(point: str) -> None:
    """Be at a point of the application."""
    _cross(point)


def _cross_all(stage: str, kinds: Iterable[str]) -> None:
    for kind in kinds:
        _cross(f"{stage} {kind}")


def _classify(change: Any) -> frozenset[str]:
    facts = unpack_facts(change.facts)
    facts["taken"], facts["forgotten"] = change.taken, change.confirmed
    before = _before.get(change.session)
    _before[change.session] = facts
    kinds = set()
    if before is None:
        kinds |= {"attempt", "welcome"}
        before = dict.fromkeys(facts, None) | {"taken": 0, "forgotten": 0, "calls": facts["calls"]}
    for kind, name in (("attempt", "attempt"), ("welcome", "incarnation")):
        if facts[name] != before[name]:
            kinds.add(kind)
    for kind, name in (("confirmed", "taken"), ("forgotten", "forgotten")):
        if facts[name] > before[name]:
            kinds.add(kind)
    for kind in ("finish", "stopped", "ended"):
        if facts[kind] is not None and before[kind] is None:
            kinds.add(kind)
    if change.messages is not None or change.sends:
        kinds.add("messages")
    if change.entries is not None or facts["calls"]["received"] != before["calls"]["received"]:
        kinds.add("calls")
    return frozenset(kinds)


def _wrap(owner: Any, name: str) -> Callable[[Any], None]:
    inner = getattr(owner, name)

    def put(around: Any) -> None:
        @functools.wraps(inner)
        def wrapped(*arguments: Any, **options: Any) -> Any:
            return around(inner, *arguments, **options)

        setattr(owner, name, wrapped)

    return put


def install() -> None:
    """Wrap what the order of commits goes through."""
    ledger_module.CHECKPOINT = 200_000  # else no test would see one

    @_wrap(Session, "take_change")
    def take_change(inner: Any, session: Any, *arguments: Any) -> Any:
        change = inner(session, *arguments)
        if change is not None:
            _kinds[change.facts] = _classify(change)
            _working[change.session] = change.facts
            _cross_all("taken", _kinds[change.facts])
        return change

    @_wrap(SQLiteStore, "submit")
    def submit(inner: Any, store: Any, changes: Any, done: Any) -> None:
        kinds = frozenset().union(*(_kinds.get(change.facts, ()) for change in changes))
        inner(store, changes, done)
        _cross_all("submitted", kinds)

    group: set[str] = set()

    @_wrap(Ledger, "change")
    def change_(inner: Any, ledger: Any, change: Any) -> None:
        inner(ledger, change)
        group.update(_kinds.get(change.facts, ()))

    @_wrap(Ledger, "commit")
    def commit(inner: Any, ledger: Any) -> None:
        kinds = sorted(group)
        group.clear()
        _cross_all("committing", kinds)
        inner(ledger)
        _cross_all("committed", kinds)

    @_wrap(Ledger, "checkpoint")
    def checkpoint(inner: Any, ledger: Any) -> None:
        _cross("checkpoint")
        inner(ledger)
        _cross("checkpointed")

    @_wrap(Session, "kept")
    def kept(inner: Any, session: Any, now: float) -> Any:
        events = inner(session, now)
        _cross_all("kept", sorted(_kinds.get(_working.get(session.id, b""), ())))
        return events

    @_wrap(Link, "transmit")
    def transmit(inner: Any, link: Any, now: float) -> Any:
        data = inner(link, now)
        if data is not None:
            kinds = {SAID[type(frame)] for frame in decode(data, 1 << 30) if type(frame) in SAID}
            _said.update(kinds)
            _cross_all("transmit", sorted(kinds))
        return data

    _install_in_drivers()


def _install_in_drivers() -> None:
    """Wrap the same of either driver."""
    for session_store in (aio_session_store.SessionStore, sync_session_store.SessionStore):

        @_wrap(session_store, "answered")
        def answered(inner: Any, store: Any, error: Any) -> None:
            facts = _working.get(store._driver.session.id, b"")
            _cross_all("told", sorted(_kinds.get(facts, ())))
            inner(store, error)
            _kinds.pop(facts, None)

    for link_io, write in ((aio_link_io.LinkIO, "flush"), (sync_link_io.LinkIO, "_send_all")):

        @_wrap(link_io, write)
        def write_(inner: Any, *arguments: Any) -> Any:
            done = inner(*arguments)
            kinds = sorted(_said.copy())  # another thread may be writing on another link
            _said.clear()
            _cross_all("written", kinds)
            return done

    for port in (aio_store_port.StorePort, sync_store_port.StorePort):

        @_wrap(port, "apply")
        def apply(inner: Any, port: Any, work: Any, done: Any) -> None:
            def applied(result: Any, error: Any) -> None:
                _cross("applied")
                done(result, error)

            inner(port, work, applied)
