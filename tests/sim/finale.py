"""How a schedule ends: the network heals and everybody reads, or they never meet again."""

from __future__ import annotations

from reliable_ws.protocol.state import Receiving, Sending
from tests.support.calls import session_calls

from .guarantees import check, probe, refresh
from .parts import Broken, Party, Wire
from .world import World

SOON = 5.0
"""Seconds in which two living, reading sides on a good network must come to the end."""


def over(world: World) -> bool:
    """Whether every session that lives has ended, or the world has come where it shall."""
    if world.options.goal == "answered" and _all_answered(world):
        return True
    return all(party is None or not party.alive or party.over for party in (world.i, world.a))


def _all_answered(world: World) -> bool:
    """Whether everything is asked and answered, and nothing of it is held."""
    if world.a is None or not (world.i.alive and world.a.alive):
        return False
    if any(
        len(world.party(side).record.asked) < world.options.calls for side in world.options.askers
    ):
        return False
    return not any(
        party.waiting
        or party.owed
        or session_calls(party.session).held
        or session_calls(party.session).open
        for party in (world.i, world.a)
    )


def finish(world: World) -> None:
    """Let it end, in one of several ways, and refresh."""
    finale = world.options.finale
    world.registry.draining = False
    if finale == "gone":
        vanish(world)
    elif finale == "calm":
        calm(world)
        heal(world, "read")
    else:
        heal(world, finale)
    refresh(world)


def heal(world: World, finale: str) -> None:
    """A good network and applications that read: the end must come soon."""
    began = world.now
    for _ in range(10_000):
        if over(world):
            return
        if _round(world, finale):
            continue
        probe(world)
        due = _deadline(world)
        if due - began > SOON and not world.is_gone():
            parties = [party.session for party in (world.i, world.a) if party is not None]
            raise Broken(f"no end comes on a good network: {parties}")
        world.now = max(world.now, due)
        _tick_all(world)
    raise Broken("they talk for ever")


def calm(world: World) -> None:
    """A good network, and nobody who ends: all that was asked is answered, and forgotten."""
    until = world.now + 1.0
    while world.now < until and not over(world):
        if _round(world, "calm"):
            continue
        world.now = max(world.now, min(until, _deadline(world)))
        _tick_all(world)
    parties = [party for party in (world.i, world.a) if party is not None]
    if any(party.refusing or not party.alive or party.session.ended for party in parties):
        return
    world.seen["calm"] += 1
    for party in parties:
        calls = session_calls(party.session)
        if party.waiting or party.owed or calls.open or calls.held:
            raise Broken(f"the {party.role} keeps calls that are settled: {party.waiting}")


def _deadline(world: World) -> float:
    living = [party for party in (world.i, world.a) if party is not None and party.alive]
    plans = [party.plan.deadline for party in living if party.plan and not party.session.ended]
    return min([*(party.session.deadline for party in living), *plans])


def _tick_all(world: World) -> None:
    for side in "ia":
        party = world.party(side)
        if party is not None and party.alive and party.session.deadline <= world.now:
            world.do_tick(side)
            check(world)
        if party is not None and party.alive and party.plan and party.plan.deadline <= world.now:
            world.do_late_handlers(side)
            check(world)


def _round(world: World, finale: str) -> bool:
    """Do everything once that a good network and good applications do."""
    busy = world.work_stores()
    for side in "ia":
        party = world.party(side)
        if party is None or not party.alive:
            continue
        while len(party.session.inbox):
            world.do(("take", side))
            busy = True
        for number in party.open:
            world.do(("confirm", side, number))
            busy = True
        if party.session.ended:
            continue
        busy |= _call(world, side, party)
        if not party.finished and finale in ("read", "close " + side):
            world.do(("finish" if finale == "read" else "close", side))
            busy = True
        other = world.other(party)
        ready = other is not None and (other.finished or not other.alive)
        if not party.closed and _at_end(party) and (ready or party is world.i):
            world.do(("close", side))
            busy = True
    if world.i.alive and not world.i.session.ended and world.i.session.link is None:
        world.do(("dial",))
        busy = True
    for wire in list(world.wires):
        busy |= _carry(world, wire)
    return busy


def _call(world: World, side: str, party: Party) -> bool:
    """Handlers send what they have, callers take it, and are not patient for ever."""
    busy = False
    for number in party.owed:
        asked = world.partner_record(party).asked[number]
        if not asked.waits:
            more = asked.credit and asked.sent < world.options.items and not asked.cancelled
            world.do(("item" if more else "answer", side, number))
            busy = True
    for number in party.waiting:
        asked = party.record.asked[number]
        if asked.by is not None and asked.by <= world.now:
            world.do(("lapse", side, number))
            busy = True
        elif asked.credit and asked.got_weight + asked.credit > asked.granted:
            world.do(("grant", side, number))
            busy = True
    return busy


def _at_end(party: Party) -> bool:
    """Whether the application's recv() raises: it has seen the end in message order."""
    session = party.session
    return not len(session.inbox) and (
        session.inbox.state in (Receiving.FINISHED, Receiving.STOPPED)
        or (session.outbox.state is Sending.STOPPED and party.finished)
    )


def _carry(world: World, wire: Wire) -> bool:
    busy = False
    for side in "ia":
        stirred = wire.i_stirred if side == "i" else wire.a_stirred
        if wire in world.wires and stirred and (wire.i_open if side == "i" else wire.a_open):
            world.do_pull(wire.serial, side)
            busy = True
    for side in "ia":
        line = wire.down if side == "i" else wire.up
        while wire in world.wires and line and (wire.i_open if side == "i" else wire.a_open):
            world.do(("arrive", wire.serial, side))
            busy = True
    if wire in world.wires and wire.i_open is not wire.a_open:
        world.do(("learn", wire.serial, "a" if wire.a_open else "i"))
        busy = True
    return busy


def vanish(world: World) -> None:
    """They never meet again: every wait ends all the same (G6)."""
    for wire in list(world.wires):
        for side in "ia":
            if wire in world.wires and (wire.i_open if side == "i" else wire.a_open):
                world.dies(wire, side, None)
    longest = max(world.options.initiator.session_ttl, world.options.acceptor.session_ttl)
    limit = world.now + longest + 30.0
    while not over(world):
        world.work_stores()
        if over(world):
            break
        world.now = max(world.now, _deadline(world))
        if world.now > limit:
            raise Broken("a wait outlives its session's time to live")
        _tick_all(world)
        for side in "ia":
            party = world.party(side)
            while party is not None and party.alive and len(party.session.inbox):
                world.do(("take", side))
    world.seen["never met again"] += 1
