"""What must hold: after every step, whenever nothing was said, and in the end."""

from __future__ import annotations

from reliable_ws.protocol.calls.flow import CREDITS, Streams
from reliable_ws.protocol.events import Requested
from reliable_ws.protocol.frames import Item, Request
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import Phase
from tests.support.calls import session_calls

from .parts import Broken, Party, told
from .sides import Sides


def check(world: Sides) -> None:
    """What holds after every step."""
    _check(world, world.i)
    if world.a is not None:
        _check(world, world.a)
    if world.options.calls:
        for party in (world.i, world.a):
            if party is not None and party.alive:
                _check_calls(party)
                _check_handlers(world, party)
    for wire in world.wires:
        for link, session in (
            (wire.dialer, wire.session),
            (wire.arrival.link, wire.arrival.session),
        ):
            if (
                link is not None
                and (link.phase is Phase.INITIATED or link.phase is Phase.ACCEPTED)
                and session.link is not link
                and _living(world, session)
            ):
                raise Broken("a link lives that its session does not know")


def _check_calls(party: Party) -> None:
    """No side holds more calls than it may, or any that are settled."""
    calls, config = session_calls(party.session), party.session.config
    outbox, streams = calls.queue, calls._streams or Streams()
    entries = {number: kept[0] for number, kept in outbox._kept.items()}
    sizes = {number: kept[1] for number, kept in outbox._kept.items()}
    if len(calls.open) > calls.limit:
        raise Broken(f"the {party.role} has more requests open than it may")
    if len(calls.served) + len(calls.answers) > config.max_requests:
        raise Broken(f"the {party.role} serves more requests than it announced")
    if not (set(streams.owed) <= set(streams._granted) <= set(calls.open)):
        raise Broken("a stream is kept that has ended")
    if len(streams._sent) > CREDITS:
        raise Broken("more credits on their way than the limit")
    if len(entries) not in (0, outbox.last - outbox.acked):
        raise Broken(f"the {party.role}'s calls are out of order")
    if outbox.weight != sum(sizes.values()):
        raise Broken(f"the {party.role}'s calls are weighed wrongly")
    items = [sizes[n] for n, entry in entries.items() if isinstance(entry, Item)]
    if sum(items) - max(items, default=0) >= calls.most_held:
        raise Broken("more items held than the limit")
    for number, entry in entries.items():
        if isinstance(entry, Request) and number not in calls.open:
            raise Broken(f"request {number} is answered, and is kept")
    if party.session.ended and calls.held:
        raise Broken("calls are kept that nobody can send any more")


def _check_handlers(world: Sides, party: Party) -> None:
    """No stream waits for what it has, unless it is about to be told."""
    calls = session_calls(party.session)
    for number in party.owed:
        one = world.partner_record(party).asked[number]
        blocked = one.sent_weight >= one.allowed or calls.crowded or calls.eased
        if one.waits and not blocked:
            raise Broken(f"the stream for request {number} could go on, and was not told")
    durable = party.session.durable
    unheard = set()  # a store does not have them yet
    if durable is not None:
        waiting = [event for _number, event in durable._call_events]
        unheard = {event.id for event in waiting if isinstance(event, Requested)}
        if party.session.ended:
            return  # what it never heard of, nobody answers
    if calls.served.keys() - unheard != set(party.owed):
        raise Broken(f"the {party.role} owes answers that nobody will give")


def _living(world: Sides, session: Session) -> bool:
    """Whether the process of this session lives."""
    return any(
        party is not None and party.alive and party.session is session
        for party in (world.i, world.a)
    )


def _check(world: Sides, party: Party) -> None:
    session, record = party.session, party.record
    outbox, inbox, config = session.outbox, session.inbox, session.config
    messages = outbox.messages
    if not outbox.confirmed <= outbox.acked <= outbox.transmitted <= outbox.last:
        raise Broken(f"the {party.role}'s outbox is out of order")
    if party.alive and min(outbox.confirmed, messages) > record.prefix:
        raise Broken(
            f"G3: the {party.role} takes {outbox.confirmed} for confirmed, {record.prefix} are"
        )
    if inbox.confirmed > inbox.received or inbox.handed > inbox.received:
        raise Broken(f"the {party.role}'s inbox is out of order")
    finish = inbox.finish
    if finish is None:
        in_flight = inbox.received - inbox.confirmed
    else:
        in_flight = finish.number - 1 - inbox.confirmed
        if inbox.confirmed == finish.number and inbox.handed < finish.number - 1:
            raise Broken("Finish was confirmed before the messages before it")
    if in_flight > config.window_messages and not inbox.stopped:
        raise Broken("G5: more messages held than the window")
    if len(outbox) > outbox.max_messages and not party.puts:
        raise Broken("G5: more messages accepted than the limit")
    if outbox.held > outbox.max_bytes and len(outbox) > 1 and not party.puts:
        raise Broken("G5: more bytes accepted than the limit")
    if len(outbox) and not outbox.blocked:
        link = session.link
        if (
            link is not None
            and link.cursor.number > outbox.confirmed + session.outbox.peer.window_messages
        ):
            world.seen["window full"] += 1


def probe(world: Sides) -> None:
    """Nobody wants to send anything that nobody was woken for."""
    for wire in world.wires:
        for side, is_open, stirred in (
            ("i", wire.i_open, wire.i_stirred),
            ("a", wire.a_open, wire.a_stirred),
        ):
            end = wire.end(side)
            if is_open and not stirred and isinstance(end, Link):
                by = end.ack_by
                data = end.transmit(world.now)
                if data is not None:
                    raise Broken(f"{side} had something to say and was not woken: {told(data)}")
                if by != end.ack_by:
                    raise Broken(f"{side} owed an ack and was not woken")
                session, acks = wire.session_at(side), end.acks
                inbox = session.inbox
                news = (inbox.received, inbox.tellable) != (acks.received, acks.confirmed)
                live = end.phase in (Phase.INITIATED, Phase.ACCEPTED) and end.greeted
                if live and news and acks.by is None:
                    raise Broken(f"{side} owes an ack and has set no time for it")
                calls = session_calls(session)
                if live and calls.incoming.tellable != end.calls.told and end.calls.by is None:
                    raise Broken(f"{side} owes an ack of calls and has set no time for it")


def refresh(world: Sides) -> None:
    """Every message has an outcome, and it is true."""
    for party in (world.i, world.a, *world.past):
        if party is None or not party.alive:
            continue
        session = party.session
        if session.ended is None:
            raise Broken(f"the {party.role}'s session has no end")
        report = session.report()
        sent = len(party.record.payloads)
        if report.sent != sent or report.confirmed + len(report.undelivered) != sent:
            raise Broken(f"the {party.role} sent {sent} and reports {report}")
        left = session.durable is not None and session.durable.closed  # or: no longer waited for
        if not report.final and not left:
            raise Broken(f"the {party.role}'s report is not final: {report}")
        outcomes = {entry.number: entry.outcome for entry in report.undelivered}
        for number in range(1, sent + 1):
            outcome = outcomes.get(number, Outcome.CONFIRMED)
            if party.known.get(number) is not outcome:
                raise Broken(f"the {party.role}'s report changed for message {number}")
            world.judge_outcome(party, number, outcome)
        if not report.undelivered and len(party.record.handed) < sent:
            raise Broken("G4: close() returned and not everything was taken")
        if party.waiting or any(not asked.got for asked in party.record.asked.values()):
            raise Broken(f"requests of the {party.role} have no end: {party.waiting}")
        if len(session.inbox):
            raise Broken("messages can be taken from a session that has ended")
    _agree(world)


def _agree(world: Sides) -> None:
    """Without an excuse, both ends end as agreed; read to the end, with nothing lost."""
    i, a = world.i, world.a
    if world.blind or a is None or not (i.alive and a.alive):
        return
    for party in (i, a):
        if party.session.ended.kind not in (End.FINISHED, End.REFUSED):
            raise Broken(f"the {party.role} ended {party.session.ended} for no reason")
        if party.session.ended.kind is End.REFUSED and not party.session.done:
            raise Broken(f"the {party.role} was refused before it was done")
    if i.polite and a.polite:
        world.seen["everything taken, both ways"] += 1
        for party in (i, a):
            if party.session.report().undelivered:
                raise Broken("both read to the end, and not everything is confirmed")
            for number, asked in party.record.asked.items():
                if asked.ran and asked.got in ("unknown", "not taken"):
                    raise Broken(f"request {number} was run, and nobody stopped: {asked.got}")
