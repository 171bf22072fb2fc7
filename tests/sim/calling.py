"""What the two applications ask of each other: requests, answers, streams; and what is true."""

from __future__ import annotations

from collections import Counter
from typing import Any

from reliable_ws.protocol.codec import decode
from reliable_ws.protocol.events import (
    Cancelled,
    Eased,
    Ended,
    Event,
    Faulted,
    Granted,
    Itemized,
    PeerFinished,
    Replied,
    Requested,
    Settled,
)
from reliable_ws.protocol.frames import Calls, Item, Request
from reliable_ws.protocol.payload import seal_weight
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import Receiving, Sending
from tests.support.calls import session_calls

from .parts import Action, Asked, Broken, Party
from .sides import Sides


def waits_no_more(session: Session) -> bool:
    """Whether no answer can come any more, or nobody could take it."""
    return bool(session.ended or session.closing or session.inbox.state is not Receiving.OPEN)


class Calling(Sides):
    """Ask, answer, give up; as the driver does, which adds nothing but tasks and timers."""

    def offer_calls(self, side: str, party: Party, found: list[Action]) -> None:
        """What callers and handlers may do now."""
        options, session = self.options, party.session
        more = side in options.askers and len(party.record.asked) < options.calls
        if more and self._may_ask(session):
            found += [("ask", side, kind) for kind in range(len(options.requests))]
        for number in party.waiting[:3]:
            asked = party.record.asked[number]
            found.append(("drop", side, number))
            if asked.by is not None and asked.by <= self.now:
                found.append(("lapse", side, number))
            if asked.credit and asked.got_weight + asked.credit > asked.granted:
                found.append(("grant", side, number))
        for number in party.owed[:3]:
            asked = self.partner_record(party).asked[number]
            found.append(("fail", side, number))
            if asked.waits:
                continue
            found += [("answer", side, number, size) for size in range(len(options.answers))]
            if asked.credit and asked.sent < options.items and not asked.cancelled:
                found.append(("item", side, number))
        if not (party.refusing or session.ended):
            found.append(("refuse", side))
        plan = None if session.ended or party.closed else party.plan
        if plan is not None and (not options.timed or plan.deadline <= self.now):
            found.append(("late_handlers", side))

    @staticmethod
    def _may_ask(session: Session) -> bool:
        return (
            session_calls(session).has_room
            and session.outbox.state is Sending.OPEN
            and not waits_no_more(session)
        )

    # ------------------------------------------------------------------ callers

    def do_ask(self, side: str, kind: int) -> None:
        party = self.party(side)
        calls, asked = session_calls(party.session), party.record.asked
        size, patience, credit = self.options.requests[kind]
        by = None if patience is None else self.now + patience
        payload = f"{side}{len(asked)}".ljust(size, "?")
        number = calls.request("do", payload, by, credit)
        if number in asked:
            raise Broken(f"two requests of number {number}")
        asked[number] = Asked(payload, by, credit, granted=credit, allowed=credit)
        party.waiting += (number,)
        if len(calls.open) == calls.limit:
            self.seen["all the requests that may be open"] += 1
        self.stir(party)

    def do_drop(self, side: str, number: int) -> None:
        """Its caller waits no more."""
        party = self.party(side)
        back = party.session.cancel(number)
        self.seen["taken back" if back else "cancelled"] += 1
        self._got(party, number, "cancelled", never=back)

    def do_lapse(self, side: str, number: int) -> None:
        """Time is up, says the caller's own clock."""
        party = self.party(side)
        calls = session_calls(party.session)
        taken = calls.was_taken(number)
        never = calls.cancel(number) or taken is False
        if taken and not party.record.asked[number].arrived:
            raise Broken(f"request {number} is said to be taken, and never arrived")
        self._got(party, number, "timed out", never=never)

    def do_grant(self, side: str, number: int) -> None:
        """The caller has taken every item that came."""
        party = self.party(side)
        asked = party.record.asked[number]
        total = asked.got_weight + asked.credit
        party.session.grant(number, total)
        self.seen["more credit"] += 1
        party.record.asked[number] = asked._replace(granted=total)
        self.stir(party)

    def _got(self, party: Party, number: int, outcome: str, *, never: bool = False) -> None:
        """The caller is told how its request ended: once, and truly."""
        asked = party.record.asked[number]
        if asked.got:
            raise Broken(f"request {number} has ended twice: {asked.got}, {outcome}")
        if never and asked.ran:
            raise Broken(f"request {number} is said to be not taken, and it was run")
        self.seen[f"a request: {outcome}"] += 1
        party.record.asked[number] = asked._replace(got=outcome, never=never)
        party.waiting = tuple(other for other in party.waiting if other != number)
        self.stir(party)

    def settle_calls(self, party: Party) -> None:
        """Let every request fail to which no answer can come any more; at once (G6)."""
        calls, over = session_calls(party.session), waits_no_more(party.session)
        for number in party.waiting:
            taken = calls.was_taken(number)
            if taken is not False and number not in calls.open:
                continue  # its answer came in the same step
            if over or taken is False:
                never = calls.cancel(number) or taken is False
                if calls.peer_stopped and not never and not party.record.asked[number].arrived:
                    raise Broken(f"request {number} never arrived at a side that has stopped")
                self._got(party, number, "not taken" if never else "unknown", never=never)

    # ------------------------------------------------------------------ handlers

    def step_plan(self, party: Party, now: float) -> None:
        """Go on with a close that waits for handlers."""
        raise NotImplementedError

    def do_refuse(self, side: str) -> None:
        """From now on new requests are turned away: close() begins with that."""
        self.party(side).refusing = True

    def do_answer(self, side: str, number: int, size: int = 0) -> None:
        party = self.party(side)
        payload = f"r{number}".ljust(self.options.answers[size], "!")
        session_calls(party.session).reply(number, payload)
        self._gave(party, number, (Replied, payload))
        self._step_plan_if_idle(party)

    def do_fail(self, side: str, number: int) -> None:
        party = self.party(side)
        self._fault(party, number, "failed", f"e{number}")
        self._step_plan_if_idle(party)

    def _step_plan_if_idle(self, party: Party) -> None:
        """Close, if that has waited for the handler that has just ended."""
        if party.plan is not None and not party.owed:
            self.step_plan(party, self.now)

    def _fault(self, party: Party, number: int, code: str, payload: Any = b"") -> None:
        party.session.fault(number, code, "why", payload)
        self._gave(party, number, (Faulted, code, payload))

    def _gave(self, party: Party, number: int, answer: Any) -> None:
        asked = self.partner_record(party).asked
        asked[number] = asked[number]._replace(given=answer, waits=False)
        party.owed = tuple(other for other in party.owed if other != number)
        self.stir(party)

    def do_item(self, side: str, number: int) -> None:
        """The handler sends an item, or waits for credit or room."""
        party = self.party(side)
        calls, record = session_calls(party.session), self.partner_record(party)
        asked = record.asked[number]
        if calls.crowded:
            self.seen["a stream waits for room"] += 1
        if asked.sent_weight >= asked.allowed or calls.crowded:
            self.seen["a stream waits"] += 1
            record.asked[number] = asked._replace(waits=True)
            return
        payload = self._item(number, asked.sent)
        calls.item(number, payload)
        weight = asked.sent_weight + seal_weight(payload)
        record.asked[number] = asked._replace(sent=asked.sent + 1, sent_weight=weight)
        self.stir(party)

    def _item(self, number: int, index: int) -> str:
        sizes = self.options.answers
        return f"{number}.{index}".ljust(sizes[index % len(sizes)], "i")

    # ------------------------------------------------------------------ what comes

    def heard(self, party: Party, events: list[Event]) -> None:
        super().heard(party, events)
        if not self.options.calls:
            return
        for event in events:
            match event:
                case Requested():
                    self._requested(party, event)
                case Replied(number, payload):
                    self._answered(party, number, (Replied, payload))
                case Faulted(number, code, _words, payload):
                    self._answered(party, number, (Faulted, code, payload))
                case Itemized(number, payload):
                    self._itemized(party, number, payload)
                case Granted(number, total):
                    self._granted(party, number, total)
                case Cancelled(number):
                    self._cancelled(party, number)
                case Eased():
                    for number in party.owed:
                        self._wakes(party, number)
                case PeerFinished() | Settled() | Ended():
                    self.settle_calls(party)
                    if not isinstance(event, PeerFinished):
                        self.cancel_handlers(party)
        self._step_plan_if_idle(party)
        if party.waiting and waits_no_more(party.session):
            raise Broken(f"the {party.role} waits for answers that cannot come: {party.waiting}")

    def cancel_handlers(self, party: Party) -> None:
        """Answer whatever runs with that it was cancelled."""
        for number in party.owed:
            self._fault(party, number, "cancelled")

    def _cancelled(self, party: Party, number: int) -> None:
        self.seen["a handler is cancelled"] += 1
        self._must_run(party, number)
        asked = self.partner_record(party).asked
        asked[number] = asked[number]._replace(cancelled=True, waits=False)

    @staticmethod
    def _must_run(party: Party, number: int) -> None:
        """Whether a handler can be meant (or the last one went in the same step).

        What a store makes wait may come too late.
        """
        if party.durable:
            return
        if number not in party.owed and not session_calls(party.session).peer_stopped:
            raise Broken(f"nobody works on request {number}, and its handler is meant")

    def _requested(self, party: Party, event: Requested) -> None:
        record, number = self.partner_record(party), event.id
        if party.durable:
            self.must_have_asked(party, number)
        asked = record.asked.get(number)
        if asked is None or asked.arrived:
            raise Broken(f"request {number} arrives: {'again' if asked else 'nobody asked'}")
        if (event.payload, event.credit) != (asked.payload, asked.credit):
            raise Broken(f"request {number} is not what was asked")
        late = event.by is not None and event.by <= self.now
        runs = not (party.refusing or late)
        record.asked[number] = asked._replace(arrived=True, ran=runs)
        if runs and asked.never:
            raise Broken(f"request {number} runs, and was said to be not taken")
        if runs:
            party.owed += (number,)
        else:
            self.seen["turned away" if party.refusing else "late on arrival"] += 1
            self._fault(party, number, "closing" if party.refusing else "timeout")

    def must_have_asked(self, party: Party, number: int) -> None:
        """The store of who runs a request has it."""
        raise NotImplementedError

    def _answered(self, party: Party, number: int, answer: Any) -> None:
        asked = party.record.asked[number]
        if asked.given != answer:
            raise Broken(f"request {number} got {answer}, and {asked.given} was the answer")
        if asked.items != asked.sent:
            raise Broken(f"request {number} got {asked.items} of {asked.sent} items")
        if asked.sent:
            self.seen["a stream, whole"] += 1
        closing = answer == (Faulted, "closing", b"")
        self._got(party, number, "not taken" if closing else "answered", never=closing)

    def _itemized(self, party: Party, number: int, payload: Any) -> None:
        asked = party.record.asked[number]
        if asked.got or asked.items >= asked.sent or payload != self._item(number, asked.items):
            raise Broken(f"request {number} got an item that is not its next one")
        if asked.got_weight >= asked.granted:
            raise Broken(f"request {number} got more items than it granted")
        weight = asked.got_weight + seal_weight(payload)
        party.record.asked[number] = asked._replace(items=asked.items + 1, got_weight=weight)

    def _granted(self, party: Party, number: int, total: int) -> None:
        record = self.partner_record(party)
        self._must_run(party, number)
        if total <= record.asked[number].allowed:
            raise Broken("credit that is none")
        record.asked[number] = record.asked[number]._replace(allowed=total)
        self._wakes(party, number)

    def _wakes(self, party: Party, number: int) -> None:
        asked = self.partner_record(party).asked
        asked[number] = asked[number]._replace(waits=False)

    # ------------------------------------------------------------------ a crash

    def revive_calls(self, party: Party, kept: dict[str, Any]) -> None:
        """Callers and handlers are gone, and so is what was asked and never written down."""
        asked = party.record.asked
        for number in party.waiting:
            asked[number] = asked[number]._replace(got="died")
        for number, _waited in kept["open"]:
            if asked[number].never:  # who was told that died before it was written down
                self.seen["taken back, and forgotten"] += 1
                asked[number] = asked[number]._replace(never=False)
        for number in [number for number in asked if number > kept["last"]]:
            if asked.pop(number).arrived:
                raise Broken(f"request {number} arrived, and its sender's disk never saw it")
        party.waiting = party.owed = ()
        other = self.other(party)
        if other is not None:
            self._lose_handlers(party, other, kept)

    @staticmethod
    def _lose_handlers(party: Party, other: Party, kept: dict[str, Any]) -> None:
        """Whoever was owed an answer gets another one, behind the items that were written down."""
        asked = other.record.asked
        received = session_calls(other.session).received
        kept_there = party.session.call_queue._kept.items()
        coming = Counter(
            entry.request
            for number, (entry, _size, _by) in kept_there
            if number > received and isinstance(entry, Item)
        )
        for number in kept["served"]:
            one = asked[number]
            given = (Faulted, "cancelled", b"")
            sent = one.items + coming[number]
            asked[number] = one._replace(given=given, sent=sent, waits=False, arrived=True)

    # ------------------------------------------------------------------ on the wire

    def check_sent(self, party: Party, data: bytes) -> None:
        """What is left of a request's time goes with it, and what is said never to run goes not."""
        for frame in decode(data, 1 << 30):
            if not isinstance(frame, Calls):
                continue
            for number, entry in enumerate(frame.entries, frame.first):
                if not isinstance(entry, Request):
                    continue
                asked = party.record.asked[number]
                if asked.never:
                    raise Broken(f"request {number} is sent, and was said to be not taken")
                if asked.by is None:
                    continue
                left = asked.by - self.now
                told = entry.timeout_ms
                if left <= 0 or told is None or abs(told / 1000 - left) > 0.002:
                    raise Broken(f"request {number} is sent with {told} ms, not {left}")
