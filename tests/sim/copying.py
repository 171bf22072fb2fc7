"""Objects of the core, copied and reduced to what decides the future.

How to do that with each class is written out once, from a sample (:class:`Tools`).
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

from reliable_ws.protocol.acks import Acks
from reliable_ws.protocol.calls.cursor import CallCursor
from reliable_ws.protocol.calls.flow import Streams
from reliable_ws.protocol.calls.fragments import Pieces
from reliable_ws.protocol.calls.incoming import IncomingCalls
from reliable_ws.protocol.calls.outgoing import OutgoingCalls
from reliable_ws.protocol.calls.queue import CallQueue
from reliable_ws.protocol.cursor import Cursor
from reliable_ws.protocol.deadline import NEVER
from reliable_ws.protocol.durable import Durable, Ledgers
from reliable_ws.protocol.frame_size import FrameSize
from reliable_ws.protocol.idle_cuts import IdleCuts
from reliable_ws.protocol.inbox import NO_QUEUE, Inbox
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.outbox import Outbox
from reliable_ws.protocol.registry import Arrival, SessionRegistry
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.stall import StallTimer
from reliable_ws.protocol.state import Phase
from reliable_ws.protocol.timers import Timers
from reliable_ws.protocol.unused import UNUSED, UNUSED_LIST

CORE = (
    Session,
    FrameSize,
    Timers,
    IdleCuts,
    Link,
    Acks,
    Cursor,
    Inbox,
    Outbox,
    CallQueue,
    OutgoingCalls,
    IncomingCalls,
    CallCursor,
    Pieces,
    StallTimer,
    Streams,
    SessionRegistry,
    Arrival,
    Durable,
)
CONTAINERS = (list, deque, set, dict, bytearray, Counter)

STOOD_FOR = {id(UNUSED): dict, id(UNUSED_LIST): list}
"""What takes the place of these once something is put in."""

SHARED = {deque: "NO_QUEUE", list: "UNUSED_LIST"}
"""What all sessions share as long as they use none."""

TIMES = frozenset(
    (
        "contact_at",
        "heard_at",
        "moved_at",
        "_detached_at",
        "_hard_by",
        "_open_by",
        "_speak_by",
        "_note_from",
        "_by",
        "_idle_timeout",
        "_delay",
    )
)
"""Attributes that say when: any moment is possible here."""

CONSTANT = frozenset(
    (
        "config",
        "codec",
        "id",
        "key",
        "peer",
        "principal",
        "max_frame",
        "max_bytes",
        "max_message",
        "max_messages",
        "_principals",
        "_spare",
        "_looked_at",
        "evicted",
        "_quarter",
        "_batch",
        "_batch_bytes",
        "_batch_messages",
        "_max_requests",
        "_most",
        "most_held",
        "max_weight",
        "_window_bytes",
        "limit",
        "max_there",
        "_speak_every",
        "_left",
        "_timeout",
        "_silence_limit",
        "_was_silent",
        "accepts",
        "_met",
        "_partial_there",
        "_part_timeout",
        "probe",
        "cause",
        "size",
        "_codec",
        "_config",
        "resumes",
        "_max_message",
    )
)
"""Attributes that never differ between states, or decide nothing in worlds as small as these."""

BYTES = frozenset(("_sizes", "_held", "_wide", "_extra", "memory", "_unmarked", "byte_marks"))
"""How much is held, by size on the wire: decides nothing where the window in bytes is large."""

HANGING = frozenset(
    (
        "session",
        "link",
        "registry",
        "frame_size",
        "timers",
        "idle_cuts",
        "inbox",
        "outbox",
        "acks",
        "cursor",
        "calls",
        "call_queue",
        "outgoing_calls",
        "incoming_calls",
        "_queue",
        "_outgoing",
        "_incoming",
        "incoming",
        "_timers",
        "_parts",
        "pieces",
        "_unfinished",
        "_streams",
        "durable",
    )
)
"""Attributes that say how objects hang together: other objects of the core."""

ARMED = frozenset(("progress_at", "by"))
"""Deadlines of which only counts whether there is one."""


LAZY = frozenset(("_never", "_given_up", "answers"))
"""Containers that are made when something is put in."""

SPECIAL = {
    "_sessions": ("{k: copy(v, memo) for k, v in o._sessions.items()}", ""),
    "_by_principal": (
        "{p: {k: copy(v, memo) for k, v in t.items()} for p, t in o._by_principal.items()}",
        "",
    ),
    "_tombstones": (
        (
            "{k: t if t.session is None else t._replace(session=copy(t.session, memo))"
            " for k, t in o._tombstones.items()}"
        ),
        "tuple([(k, t[:-1], t.is_kept) for k, t in o._tombstones.items()]), ",
    ),
    "_pieces": ("o._pieces.copy() if o._pieces else UNUSED_LIST", "b''.join(o._pieces), "),
    "offer": ("copy(o.outbox, memo).offer", ""),
    "take": ("getattr(copy(o.inbox, memo), o.take.__name__)", ""),
    "_greet": ("o._greet and copy(o._greet.__self__, memo)._greeting", "o._greet is None, "),
}
"""How to copy, and to hash, the registry's sessions, and methods that are bound to an object."""


def _names_of(sample: Any) -> list[str]:
    """Names of an object's attributes."""
    names = [name for kind in type(sample).__mro__ for name in getattr(kind, "__slots__", ())]
    return sorted({*names, *getattr(sample, "__dict__", ())})


class Tools:
    """How to copy, and to hash, each class of the core: written out once, from a sample."""

    def __init__(self) -> None:
        self.copiers: dict[type, Any] = {}
        self.plainers: dict[type, Any] = {}

    def learn(self, sample: Any) -> None:
        names = _names_of(sample)
        copies, plains = [], []
        whole = hasattr(sample, "__dict__")
        if whole:
            copies.append("n.__dict__.update(o.__dict__)")
        for name in names:
            value = getattr(sample, name)
            kind = STOOD_FOR.get(id(value), type(value))
            if name in SPECIAL:
                copied, plain = SPECIAL[name]
                copies.append(f"n.{name} = {copied}")
                plains.append(plain)
                continue
            if name in HANGING:
                copies.append(f"v = o.{name}; n.{name} = None if v is None else copy(v, memo)")
                continue
            if name in LAZY:
                copies.append(f"v = o.{name}; n.{name} = v.copy() if hasattr(v, 'copy') else v")
                plains.append(f"tuple(o.{name} or ()), ")
                continue
            if kind in CORE:
                raise TypeError(f"{type(sample).__name__}.{name} is another object")
            own = kind in CONTAINERS and name != "accepts"
            if own or not whole:
                copies.append(f"n.{name} = o.{name}" + (".copy()" if own else ""))
                if (shared := SHARED.get(kind)) is not None:
                    copies[-1] += f" if o.{name} is not {shared} else {shared}"
            if (
                name in TIMES
                or name in CONSTANT
                or (name in BYTES and getattr(sample, "max_bytes", 0) > 1 << 20)
            ):
                continue
            form = "o.{}"
            if name in ARMED:
                form = "o.{} is not None"
            elif kind in (list, deque):
                form = "tuple(o.{})"
            elif kind is set:
                form = "frozenset(o.{})"
            elif kind is bytearray:
                form = "bytes(o.{})"
            elif kind in CONTAINERS:
                form = "tuple(o.{}.items())"
            plains.append(form.format(name) + ", ")
        body = "\n    ".join(copies)
        space: dict[str, Any] = {"new": type(sample).__new__, "kind": type(sample)}
        space |= {"copy": copy, "NO_QUEUE": NO_QUEUE, "UNUSED_LIST": UNUSED_LIST}
        exec(
            f"def copier(o, memo):\n    n = new(kind)\n    memo[id(o)] = n\n    {body}\n"
            f"    return n\ndef plainer(o):\n    return ({''.join(plains)})\n",
            space,
        )
        self.copiers[type(sample)] = space["copier"]
        self.plainers[type(sample)] = space["plainer"]


def _copy_durable(one: Durable, memo: dict[int, Any]) -> Durable:
    new = memo[id(one)] = Durable.__new__(Durable)
    for name in Durable.__slots__:
        value = getattr(one, name)
        setattr(new, name, value.copy() if type(value) in CONTAINERS else value)
    new._ledgers = Ledgers(*[copy(ledger, memo) for ledger in one._ledgers])
    new.outbox, new.inbox, new.queue, new._incoming, _outgoing = new._ledgers
    if one._held is not None:
        new._held = copy(one._held, memo)
    return new


def _plain_durable(one: Durable) -> tuple[Any, ...]:
    """Of its version only counts whether it is that of a change."""
    change, mark, kept = one._change, one._mark, one._kept_mark
    return (
        change,
        None if change is None else (mark[0] == one._version, mark[1:]),
        kept[:1] == (one._version,),
        kept[1:],
        one.closed,
        one.is_full,
        one.applying,
        one.lazy_by == NEVER,
        one.retry_by == NEVER,
        one._held is None,
        one._entries,
        tuple(one._call_events),
        tuple(one.sends),
        frozenset(one.applied),
    )


TOOLS = Tools()
TOOLS.copiers[Durable] = _copy_durable
TOOLS.plainers[Durable] = _plain_durable


def copy(one: Any, memo: dict[int, Any]) -> Any:
    """Copy an object of the core, and what it owns."""
    new = memo.get(id(one))
    if new is not None:
        return new
    kind = type(one)
    if kind is Session:
        if one.ended and not one.inbox.queue and one.durable is None:
            memo[id(one)] = one  # nothing in it can change any more
            return one
    elif kind is Link and one.phase is Phase.OVER:  # inert: its cursor and acks are not used
        new = memo[id(one)] = Link.__new__(Link)
        for name in Link.__slots__:
            setattr(new, name, getattr(one, name))
        return new
    return TOOLS.copiers[kind](one, memo)
