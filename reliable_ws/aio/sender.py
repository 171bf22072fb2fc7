"""Messages to the peer: accepted in call order, and waited for until their outcome is known.

Theory of operation. Nearly every message is accepted by ``Session.offer``, without this module.
:meth:`Sender.accept` is the long way, for a value that must be packed, and for a message that must
wait: for room in the outbox, or because so many were accepted in this turn of the loop that other
tasks must run first.

Messages are accepted in the order of the calls. So while a task waits here, ``offer`` accepts
nothing (``hold_offers``), and every other call goes the long way too. There ``_lock``
serves first come, first served. Only the task that holds it waits for room (in ``_waiters``).

A receipt waits in ``_confirmations``, by number: one ack wakes every task up to there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol

from reliable_ws.driver.session_store import NEEDS_STORE, WITHDRAWN
from reliable_ws.driver.status import raise_undelivered
from reliable_ws.protocol.errors import OutboxFull, behind
from reliable_ws.protocol.frames import MAX_NUMBER, Payload
from reliable_ws.protocol.payload import seal
from reliable_ws.protocol.report import Outcome

from .pump import MAX_SENDS, MAX_UNTIMED, SEND_AT_ONCE, Pump
from .waiters import Thresholds, WaitQueue

__all__ = ["Receipt", "Sender"]


class Watcher(Protocol):
    """A member of a group: it is told what becomes of messages."""

    def confirmed(self, number: int, /) -> None:
        """Everything up to ``number`` is confirmed."""

    def withdrawn(self, number: int, /) -> None:
        """Messages above ``number`` were taken back: the store was full."""

    def settled(self) -> None:
        """Every outcome is known."""


class Receipt:
    """What ``send()`` returns. Await it to wait for the confirmation.

    Awaiting returns ``None`` when the peer's application has taken the message. It waits as long as
    the session lives. To bound the wait, use :func:`asyncio.timeout`. Cancelling changes nothing
    for the message and for other tasks that wait. You need not await a receipt: ``flush()``,
    ``close()`` and ``report`` cover every message. A receipt is awaitable, but it is not a
    coroutine: ``asyncio.gather`` takes it and ``create_task`` does not.

    Raises:
        NotTaken: The peer's application will never take the message. You can safely send it again.
        OutcomeUnknown: The session has ended, and it is not known whether the message was taken.
        Kept: This process is done with the session, and the store has the message for the next one.
        StoreFull: The store had no room for the message. It was not accepted.
    """

    __slots__ = ("_number", "_sender")

    # Set by who makes one: no `__init__`, since Python 3.11 takes 700 instructions to call one.
    _sender: Sender
    _number: int

    @property
    def number(self) -> int:
        """The message's sequence number; -1 for one that the store had no room for.

        That of ``send(apply=)`` is final once ``stored`` is done: if the process dies before, the
        next one gives the message a number.
        """
        return self._number

    def __await__(self) -> Generator[object, None, None]:
        """Wait for the confirmation."""
        sender, number = self._sender, self._number
        outbox = sender.session.outbox
        if outbox.confirmed < number:
            yield from sender.known(number)
            if outbox.confirmed < number:
                raise_undelivered(sender.session, sender.session.report_of(number))
            sender.one_by_one = outbox.confirmed == outbox.last

    @property
    def stored(self) -> Awaitable[None]:
        """Await this to wait until the store has the message (``connect(…, store=…)``).

        ``await send()`` has waited for that already; :meth:`Connection.send_nowait` has not. After
        ``send(apply=)`` it waits until the store has the message's number, too.

        Raises:
            StoreFull: The store had no room for it. It was not accepted.
            ConnectionClosed: The session ended before that.
            TypeError: The session has no store.
        """
        return _Awaitable(self._sender.until_stored(self.number))

    @property
    def outcome(self) -> Outcome:
        """What is known now. Never waits."""
        if self.number == WITHDRAWN:
            return Outcome.NOT_TAKEN
        return self._sender.session.outcome(self.number)

    def __repr__(self) -> str:
        """Number and outcome."""
        return f"<Receipt {self.number} {self.outcome.value}>"


class Sender:
    """The messages of one connection, from this side."""

    __slots__ = (
        "_confirmations",
        "_lock",
        "_outbox",
        "_pump",
        "_waiters",
        "one_by_one",
        "session",
        "waiting",
        "watchers",
    )

    def __init__(self, pump: Pump) -> None:
        self._pump = pump
        self.session = pump.session
        self._outbox = pump.session.outbox
        self._lock: asyncio.Lock | None = None  # made when a task has to wait
        self._waiters: WaitQueue | None = None  # at most one task: the one that holds the lock
        self.waiting = 0
        "How many tasks wait for their turn, or for room. Offers are held while there are any."
        self._confirmations: Thresholds | None = None  # made when a task waits for one
        self.watchers: tuple[Watcher, ...] = ()
        self.one_by_one = False
        "Whether the last receipt was awaited, and nothing was sent meanwhile."

    # ------------------------------------------------------------------ accepting

    async def accept(self, message: Any, timeout: float | None) -> int:
        """Accept a message that :meth:`Outbox.offer` did not: after those that wait, with room."""
        session, outbox = self.session, self._outbox
        payload, weight = seal(message, session.codec)
        # Nothing stands against it: it only had to be packed.
        if not self.waiting and not self._must_yield and outbox.has_room(weight):
            if outbox.is_held:
                session.resume_offers()
            return session.send_sealed(payload, weight)
        # Wait behind those that came before. No offer overtakes them meanwhile.
        self.waiting += 1
        session.hold_offers()
        lock = self._lock = self._lock or asyncio.Lock()
        try:
            async with asyncio.timeout(timeout) as limit, lock:
                # Its turn has come. Let others run first, if this turn of the loop was full.
                if self._must_yield:
                    by = limit.when()
                    limit.reschedule(None)  # letting others run is not waiting for room
                    await asyncio.sleep(0)
                    limit.reschedule(by)
                    self._pump.yield_at = outbox.last + MAX_SENDS
                # Wait for room.
                while True:
                    try:
                        return session.send_sealed(payload, weight)
                    except OutboxFull:
                        waiters = self._waiters = self._waiters or WaitQueue(self._pump.loop)
                        await waiters.wait()
        finally:
            self.waiting -= 1
            if not self.waiting:
                session.resume_offers()

    def send_sealed_now(self, payload: Payload, weight: int) -> int:
        """Accept now what is packed already, without waiting."""
        if self.waiting:
            raise behind(self.waiting)
        number = self.session.send_sealed(payload, weight)
        self._pump.wake()
        self._pump.write_first()
        return number

    def receipt(self, number: int) -> Receipt:
        """Return the receipt of a message. ``Connection.send`` makes it by itself."""
        receipt = Receipt()
        receipt._sender = self  # noqa: SLF001
        receipt._number = number  # noqa: SLF001
        return receipt

    @property
    def _must_yield(self) -> bool:
        """Whether so much was accepted in this turn of the loop that others run first."""
        return self._outbox.last >= self._pump.yield_at

    def check_turn(self, *, yields: bool = True) -> None:
        """Have the messages of this turn sent at its end; if it is full, send, and yield next.

        ``yields``: the caller may wait, so others can run before the next message.

        This is called for the first and the second message of a turn, and then once for a number of
        messages: as many as will weigh what is left, if they weigh what the last ones did. They are
        fewer at first, and where the turn lasts, because the clock is looked at here as well.
        """
        pump, outbox = self._pump, self._outbox
        last, clock = outbox.last, pump.clock
        # The short way in a run of messages: nothing is due yet.
        if (
            last < pump.limits_at
            and pump.awake
            and pump.check_at
            and outbox.total < pump.flush_at
            and clock() < pump.flush_by
        ):
            after = 4 * pump.clock_after
            pump.clock_after = after if after < MAX_UNTIMED else MAX_UNTIMED  # noqa: FURB136 - no call
            check_at = last + pump.clock_after
            pump.check_at = check_at if check_at < pump.limits_at else pump.limits_at  # noqa: FURB136
            return
        if outbox.transmitted >= last:
            return  # it went when a store had kept it
        if not pump.awake:
            if self.one_by_one:
                self.one_by_one = False
                # Nothing else is on its way: its sender is about to wait for it, as before.
                if outbox.confirmed == last - 1 and pump.give_to_store is None:
                    self.session.want(last)
                    pump.flush()
                    return
            pump.wake()
            pump.write_first()
            pump.clock_after = 1
            if pump.check_after > 1:
                pump.check_at = last + 1
                return
        elif not pump.check_at:  # the first message, behind other news
            pump.write_first()
            pump.clock_after = 1
        elif pump.write_if_long():
            pump.clock_after = 1
        else:
            pump.clock_after = min(4 * pump.clock_after, MAX_UNTIMED)
        total = outbox.total
        if last >= pump.yield_at and yields:
            self.session.hold_offers()  # so the next send takes the long way
        if total >= pump.flush_at:
            pump.flush_at = total + SEND_AT_ONCE
            if pump.link_io is not None:
                pump.link_io.flush()
        weight = total - outbox.end_of(last - 1) if outbox.finish is None else SEND_AT_ONCE
        if weight == 0:  # it took a store so long to keep the last one that it is confirmed
            weight = SEND_AT_ONCE
        pump.check_after = max(1, min(MAX_SENDS, (pump.flush_at - total) // weight))
        pump.limits_at = last + pump.check_after
        if yields:
            pump.limits_at = min(pump.limits_at, max(pump.yield_at, last + 1))
        pump.check_at = min(pump.limits_at, last + pump.clock_after)

    def try_again(self) -> None:
        """Let who waits for room see whether there is some, or that it is too late."""
        if self._waiters is not None:
            self._waiters.notify()

    # ------------------------------------------------------------------ outcomes

    async def flush(self, timeout: float | None) -> None:
        """Wait until the outcome of everything sent so far is known; raise if one is bad."""
        number = self._outbox.messages
        async with asyncio.timeout(timeout):
            await _Awaitable(self.known(number))
        raise_undelivered(self.session, self.session.report(upto=number))

    def known(self, number: int) -> Generator[object, None, None]:
        """Wait until the outcome of everything up to ``number`` is known."""
        session, outbox = self.session, self._outbox
        confirmations = self._confirmations = self._confirmations or Thresholds(self._pump.loop)
        while outbox.confirmed < number and not outbox.blocked:
            if outbox.wanted < number or self._pump.awake:  # else it was asked for when it was sent
                session.want(number)
                self._pump.flush()
            yield from confirmations.wait(number)

    async def send_durably(
        self,
        message: Any,
        timeout: float | None,
        key: str | None,
        apply: Callable[[Any], object] | None,
    ) -> Receipt:
        """Accept a message with a key, or together with work of the application.

        Raises:
            TypeError: The session has no store.
        """
        del message, timeout, key, apply  # as a session with a store takes them
        raise TypeError(NEEDS_STORE)

    def stored(self, number: int) -> None:
        """Take note that messages up to ``number`` are kept. Only with a store."""

    def withdrawn(self, number: int) -> None:
        """Take note that messages above ``number`` were taken back. Only with a store."""

    def until_stored(self, number: int) -> Generator[object, None, None]:
        """Wait until a message is kept.

        Raises:
            TypeError: The session has no store.
        """
        del number
        raise TypeError(NEEDS_STORE)

    def confirmed(self, number: int) -> None:
        """Wake the tasks that wait: everything up to ``number`` is confirmed."""
        if self._confirmations is not None:
            self._confirmations.reach(number)
        if self._waiters is not None:
            self._waiters.notify()
        for watcher in self.watchers:
            watcher.confirmed(number)

    def settled(self) -> None:
        """Wake the tasks that wait: every outcome is known."""
        if self._confirmations is not None:
            self._confirmations.reach(MAX_NUMBER)
        self.try_again()
        watchers, self.watchers = self.watchers, ()
        for watcher in watchers:
            watcher.settled()


class _Awaitable:
    """A generator that yields futures, to be awaited."""

    __slots__ = ("_steps",)

    def __init__(self, steps: Generator[object, None, None]) -> None:
        self._steps = steps

    def __await__(self) -> Generator[object, None, None]:
        return self._steps
