"""Worlds as states: copied, and reduced to what decides the future.

A state is kept as a 64-bit hash of both sessions, the registry, the wires with all that is in
flight, the applications and the truth.
"""

from __future__ import annotations

from typing import Any

from reliable_ws.protocol.acks import Acks
from reliable_ws.protocol.calls.cursor import CallCursor
from reliable_ws.protocol.calls.flow import Streams
from reliable_ws.protocol.calls.fragments import Pieces
from reliable_ws.protocol.calls.incoming import IncomingCalls
from reliable_ws.protocol.calls.outgoing import OutgoingCalls
from reliable_ws.protocol.calls.queue import CallQueue
from reliable_ws.protocol.cursor import Cursor
from reliable_ws.protocol.durable import Durable
from reliable_ws.protocol.idle_cuts import IdleCuts
from reliable_ws.protocol.inbox import Inbox
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.outbox import Outbox
from reliable_ws.protocol.registry import Arrival, SessionRegistry
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.stall import StallTimer
from reliable_ws.protocol.state import Phase
from reliable_ws.protocol.timers import Timers

from .copying import TOOLS, copy
from .parts import ID, KEY, Action, Party
from .world import World

NO_STREAMS = Streams()


def prepare(world: World) -> None:
    """Look at one object of each class."""
    world.keys = {}
    "Each side's share of the state, until the side is touched."
    world.own = frozenset("ia")
    "Sides that no other world shares."
    session = world.i.session
    link = Session("initiator", ID, KEY, world.now, session.config).dial(world.now)
    arrival = world.registry.arrive(world.now)
    for sample in (
        session,
        session.frame_size,
        session.timers,
        IdleCuts(),
        session.inbox,
        session.outbox,
        link,
        link.acks,
        link.cursor,
        link.calls,
        session.call_queue,
        session.outgoing_calls,
        session.incoming_calls,
        Pieces(0),
        StallTimer(0),
        Streams(),
        world.registry,
        arrival,
    ):
        TOOLS.learn(sample)


def touched(action: Action) -> str:
    """Which sides an action can change."""
    name = action[0]
    if name in ("dial", "redial"):
        return "i"
    if name in ("forget", "perish"):
        return "a"
    if name in ("arrive", "pull", "pull1", "learn", "cut"):
        return action[2]
    if name in ("crash", "restart", "drain"):
        return "ia"
    if name == "elapse":
        return ""
    return action[1]


def clone(world: World, sides: str = "ia") -> World:
    """A second world in the same state; what those sides can change is not shared."""
    memo: dict[int, Any] = {}
    new = World.__new__(World)
    new.__dict__.update(world.__dict__)
    new.keys = {side: key for side, key in world.keys.items() if side not in sides}
    new.own = frozenset(sides)
    i, a = world.i, world.a
    both = "a" in sides
    new.i = i.clone(copy(i.session, memo) if "i" in sides else i.session)
    new.a = None if a is None else a.clone(copy(a.session, memo) if both else a.session)
    new.past = [party.clone(party.session) for party in world.past]
    if world.records:
        new.records = {}
        for number, record in world.records.items():
            for old, party in ((a, new.a), *zip(world.past, new.past, strict=True)):
                if old is not None and old.record is record:
                    new.records[number] = party.record
    if both:
        new.registry = copy(world.registry, memo)
    wires = new.wires = []
    for old in world.wires:
        wire = old.clone()
        if "i" in sides:
            wire.session = copy(old.session, memo)
            wire.dialer = copy(old.dialer, memo)
        if both:
            wire.arrival = copy(old.arrival, memo)
        wires.append(wire)
    new.left = world.left.copy()
    new.disks = world.disks.copy()
    return new


# ----------------------------------------------------------------------------- canonical form


def _plain_link(link: Link | None) -> Any:
    if link is None:
        return None
    if link.phase is Phase.OVER:
        return (link.close_action, link._last_frame, link.held)
    plainers = TOOLS.plainers
    return (
        plainers[Link](link),
        plainers[Acks](link.acks),
        plainers[Cursor](link.cursor),
        plainers[CallCursor](link.calls),
    )


def _plain_party(party: Party | None) -> Any:
    if party is None:
        return None
    session = party.session
    durable = None if session.durable is None else TOOLS.plainers[Durable](session.durable)
    if session.ended and not session.inbox.queue:
        return (session.ended.kind, session.outbox.final is None, durable)
    if not party.alive:
        return None
    plainers = TOOLS.plainers
    return (
        plainers[Session](session),
        plainers[Timers](session.timers),
        plainers[Inbox](session.inbox),
        plainers[Outbox](session.outbox),
        plainers[CallQueue](session.call_queue),
        plainers[OutgoingCalls](session.outgoing_calls),
        plainers[IncomingCalls](session.incoming_calls),
        plainers[Streams](session.outgoing_calls._streams or NO_STREAMS),
        durable,
    )


def _side_key(world: World, side: str) -> int:
    """One side's share of the state, kept until the side is touched."""
    serials = tuple([wire.serial for wire in world.wires])
    kept = world.keys.get(side)
    if kept is not None and kept[0] == serials:
        return kept[1]
    at = -1
    links = []
    party = world.i if side == "i" else world.a
    current = None if party is None else party.session.link
    for index, wire in enumerate(world.wires):
        if side == "i":
            link = wire.dialer
            links.append(_plain_link(link))
        else:
            link = wire.arrival.link
            links.append((_plain_link(link), TOOLS.plainers[Arrival](wire.arrival)))
            if link is not None:
                links.append(party is not None and wire.arrival.session is party.session)
        if link is current and link is not None:
            at = index
    registry = TOOLS.plainers[SessionRegistry](world.registry) if side == "a" else None
    key = hash((_plain_party(party), tuple(links), at, registry))
    world.keys[side] = (serials, key)
    return key


def _plain_disk(world: World, side: str) -> Any:
    disk = world.disks[side]
    crashes = any(world.left.get(name) for name in ("crash", "pass_on"))
    return (disk.row if crashes else None, disk.work, disk.done)


def state_of(world: World) -> int:
    """What decides the future, hashed."""
    parties = []
    for party in (world.i, world.a, *world.past):
        if party is None:
            parties.append(None)
            continue
        record = party.record
        parties.append(
            (
                party.alive,
                party.open,
                party.finished,
                party.closed,
                party.plan and (party.plan._is_cancelled, party.plan.deadline),
                party.polite,
                party.waiting,
                party.owed,
                party.refusing,
                tuple(record.asked.items()),
                party.denied,
                party.over,
                record.applied,
                tuple(party.known.items()),
                frozenset(record.handed),
                frozenset(record.confirmed),
                len(record.payloads),
            )
        )
    return hash(
        (
            _side_key(world, "i"),
            _side_key(world, "a"),
            tuple(parties),
            tuple(
                [
                    (
                        wire.i_open,
                        wire.a_open,
                        wire.broken,
                        wire.i_stirred,
                        wire.a_stirred,
                        wire.i_code,
                        wire.a_code,
                        tuple(wire.up),
                        tuple(wire.down),
                    )
                    for wire in world.wires
                ]
            ),
            world.blind,
            world.now,
            tuple(world.left.values()),
            tuple([_plain_disk(world, side) for side in "ia"]),
        )
    )
