"""What the two applications do with messages, and how they end."""

from __future__ import annotations

from typing import Any

from reliable_ws.driver.close_plan import ClosePlan, CloseStep
from reliable_ws.protocol.errors import ConfirmTooLate, ConnectionClosed, OutboxFull, StoreFull
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.payload import seal
from reliable_ws.protocol.report import Outcome
from reliable_ws.protocol.state import Receiving, Sending

from .parts import CODEC, Action, Broken, Party
from .storing import Storing

LONG_REASON = "why " * 30


class Applications(Storing):
    """Send, take, confirm; finish, close, abort."""

    def offer_application(self, side: str, party: Party, found: list[Action]) -> None:
        session = party.session
        if not session.ended:
            if len(party.record.payloads) < self.options.messages and not party.finished:
                found += [("send", side, size) for size in range(len(self.options.sizes))]
                found.append(("burst", side))
            if not party.finished:
                found.append(("finish", side))
            if not party.closed:
                found.append(("close", side))
                if party.owed and (self.options.leaves or self.options.deeds):
                    found.append(("leave", side))
            found.append(("abort", side))
            if session.outbox.messages > session.outbox.wanted:
                found.append(("want", side))
        waiting = len(session.inbox)
        if waiting:
            found += (("take", side), ("hand", side))
            if waiting > 8:
                found.append(("scatter", side))
        if party.open:
            found += [("confirm", side, number) for number in party.open[:3]]

    def do_send(self, side: str, size: int = 0) -> None:
        party = self.party(side)
        record, session = party.record, party.session
        number = len(record.payloads) + 1
        name = f"{side}{number}.{party.lives}".encode()
        length = self.options.sizes[size]
        if not self.options.timed:
            message: Any = name[:2].ljust(length, b".")
        elif length:
            message = name.ljust(length + number % 256, b".")
            if number % 5 == 1:
                message = message.decode()
        else:
            message = (name, name.decode(), [side, number, party.lives], name * 3)[number % 4]
            if number % 11 == 0:
                message = b""
        payload, _weight = seal(message, CODEC)
        try:
            got = session.send(message)
        except OutboxFull:
            self.seen["outbox full"] += 1
            return
        except StoreFull:
            self.seen["store full"] += 1
            if not session.durable.is_full:
                raise Broken("send() says that a store is full that is not") from None
            return
        except ConnectionClosed:
            self.seen["send after the end"] += 1
            if session.outbox.state is Sending.OPEN:
                raise Broken("send() refused by an open session") from None
            return
        if got != number:
            raise Broken(f"message {number} got number {got}")
        record.payloads.append(payload)
        if session.outbox.state is Sending.STOPPED:
            self.seen["sent after the peer's Stop"] += 1
            if session.outcome(number) is not Outcome.NOT_TAKEN:
                raise Broken("accepted behind the peer's Stop and not settled")
        self.stir(party)

    def do_burst(self, side: str) -> None:
        for _ in range(12):
            self.do_send(side, 0)

    def do_want(self, side: str) -> None:
        party = self.party(side)
        party.session.want(party.session.outbox.messages)
        self.seen["want"] += 1
        self.stir(party)

    def do_take(self, side: str) -> None:
        party = self.party(side)
        number = party.session.inbox.handed + 1
        payload = party.session.take()
        self._handed_over(party, number, payload)
        self.partner_record(party).confirm(number)
        self._if_due(party)

    def do_hand(self, side: str) -> None:
        party = self.party(side)
        expected = party.session.inbox.handed + 1
        number, payload = party.session.deliver()
        if number != expected:
            raise Broken(f"delivery {number} where {expected} is next")
        self._handed_over(party, number, payload)
        party.open += (number,)

    def do_confirm(self, side: str, number: int) -> None:
        party = self.party(side)
        party.open = tuple(other for other in party.open if other != number)
        try:
            party.session.confirm(number)
        except ConfirmTooLate:
            if not party.session.inbox.stopped:
                raise Broken("confirmed too late, and intake is open") from None
            self.seen["confirmed too late"] += 1
            return
        self.partner_record(party).confirm(number)
        self._if_due(party)

    def do_scatter(self, side: str) -> None:
        """Hand over everything and confirm every second one, last first: ranges."""
        party = self.party(side)
        while len(party.session.inbox):
            self.do_hand(side)
        for number in party.open[::-2]:
            self.do_confirm(side, number)

    def _handed_over(self, party: Party, number: int, payload: Any) -> None:
        record = self.partner_record(party)
        if self.say:
            self.say(f"    {party.role}'s application takes {number}")
        if number > len(record.payloads) or record.payloads[number - 1] != payload:
            raise Broken(f"G1: the {party.role} took as number {number} what is not that message")
        if number in record.handed:
            if number > party.session.inbox.redelivered_upto:
                raise Broken(f"G2: the {party.role} took message {number} twice")
            self.seen["redelivered, flagged"] += 1
        if number in record.applied:
            raise Broken(f"G2: the {party.role} took message {number}, which it has applied")
        record.handed.add(number)
        sender = self.other(party)
        if sender is not None and sender.record is record:
            told = sender.known.get(number) or sender.session.outcome(number)
            if told is Outcome.NOT_TAKEN or number in sender.denied:
                raise Broken(f"G3: message {number} was reported not taken, and was taken then")

    def _if_due(self, party: Party) -> None:
        if party.session.due:
            self.heard(party, party.session.poll(self.now))

    def do_finish(self, side: str) -> None:
        party = self.party(side)
        party.finished = True
        self.seen["finish"] += 1
        reason = LONG_REASON if self.options.timed and len(party.record.payloads) % 2 else ""
        party.refusing = True
        self.heard(party, party.session.finish(self.now, Code.FINISHED, reason))

    def do_leave(self, side: str) -> None:
        """Close once the handlers that run have ended, as the drivers do; or join such a close."""
        party = self.party(side)
        party.refusing = True
        first = party.plan is None
        if first:
            # threads cannot be cancelled, tasks can
            grace = 0.0 if party is self.i else 1.0
            party.plan = ClosePlan(Code.FINISHED, "", grace=grace)
        plan = party.plan
        before = plan.deadline
        plan.limit(self.now, party.session.config, 8.0 if first else None)
        if plan.deadline > before:
            raise Broken("a second close() gives the first one more time")
        self.seen["close waits for handlers" if first else "a close joins another"] += 1
        self.step_plan(party, self.now)

    def do_late_handlers(self, side: str) -> None:
        """The time that a close gives handlers is up."""
        party = self.party(side)
        self.step_plan(party, max(self.now, party.plan.deadline))

    def step_plan(self, party: Party, now: float) -> None:
        """Go on with a close that waits for handlers, as far as can be now."""
        plan = party.plan
        if plan is None or party.session.ended:
            party.plan = None
            return
        due = now >= plan.deadline
        step = plan.step(now, busy=bool(party.owed))
        if step is CloseStep.CANCEL:
            self.seen["close cancels handlers"] += 1
            if not due or (plan.deadline <= now and plan.left(now)):
                raise Broken("handlers are cancelled that had time, or have none to end")
            step = plan.step(now, busy=bool(party.owed))
        if step is CloseStep.CLOSE:
            if party.owed and not due:
                raise Broken("a close cuts off handlers that have time")
            self.seen["close after the handlers" if not party.owed else "handlers given up"] += 1
            party.plan = None
            self.do_close("i" if party is self.i else "a")
        elif due and plan.deadline <= now and plan.left(now):
            raise Broken("a close waits for handlers beyond its time")
        elif not party.owed:
            raise Broken("a close waits for handlers, and none runs")

    def do_close(self, side: str) -> None:
        party = self.party(side)
        session = party.session
        if session.inbox.state is not Receiving.FINISHED:
            self.seen["close before the peer's end"] += 1
            if not (session.inbox.finish and session.inbox.confirmed + 1 == session.inbox.received):
                party.polite = False
        if any(session.inbox._ahead.values()):
            self.seen["close with ranges"] += 1
        party.finished = party.closed = party.refusing = True
        party.plan = None
        self.seen["close"] += 1
        reason = LONG_REASON if self.options.timed and len(party.record.payloads) % 2 else ""
        self.cancel_handlers(party)  # those that run when draining is over
        events = session.close(self.now, Code.FINISHED, reason)
        self.settle_calls(party)
        self.heard(party, events)

    def do_abort(self, side: str) -> None:
        party = self.party(side)
        party.polite = False
        self.excuse("abort")
        self.seen["abort"] += 1
        self.heard(party, party.session.abort(self.now))
