"""A publication at its publisher, and at a node that has members."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import msgpack

from reliable_ws.aio.groups import AWAITING_ROOM, Member, Publication, Recipient
from reliable_ws.driver.validation import check_seconds
from reliable_ws.protocol.errors import ReliableWSError
from reliable_ws.protocol.frames import Payload
from reliable_ws.protocol.report import Outcome

from .receipts import CODES, Name, Receipts

__all__ = ["Heard", "SharedPublication"]

FIRST_PAUSE = 0.05
"""Seconds after which outcomes of a publication are reported, if not all of them are known.

The pause doubles with each report. So what a member says is told when the publication is twice as
old, at the latest, and a publication with a thousand members is not reported a thousand times.
"""

LONGEST_PAUSE = 1.0

PENDING, CONFIRMED = CODES[Outcome.PENDING], CODES[Outcome.CONFIRMED]


class SharedPublication(Publication):
    """A publication to members in several processes, at its publisher.

    Attributes:
        number: Of this publication, among all of its process.
        by: Until when the engine is asked to append it, in seconds of the loop.
        receipts: What is known of it.
    """

    def __init__(
        self,
        message: Any,
        payload: Payload,
        weight: int,
        *,
        number: int,
        by: float,
        ask: Callable[[SharedPublication], None],
    ) -> None:
        """``ask``: called once it is appended and somebody waits for its outcomes."""
        super().__init__(message, payload, weight)
        self.number = number
        self.by = by
        self.receipts = Receipts()
        self.sent_at = 0.0
        "When it was appended."
        self.entry_asks = False
        "Whether its entry in the boxes says that somebody waits for its outcomes."
        self._left = 1
        self._asker = ask
        self._failure: ReliableWSError | None = None
        self._certain = asyncio.Event()

    def __repr__(self) -> str:
        """Counts."""
        return f"<Publication {len(self.receipts.told())} recipients, {self._left} pending>"

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for its outcomes."""
        return self._awaited

    @property
    def outcomes(self) -> list[Recipient]:
        """What is known now, for every member of whom is known that it gets this."""
        return self.receipts.told()

    async def published(self, timeout: float | None = None) -> None:
        """Wait until it is certain that the members get it."""
        check_seconds(timeout)
        async with asyncio.timeout(timeout):
            await self._certain.wait()
        self._check()

    async def wait(self, timeout: float | None = None) -> list[Recipient]:
        """Wait for the outcomes of all members, and return them."""
        outcomes = await super().wait(timeout)
        self._check()
        return outcomes

    async def __aiter__(self) -> AsyncIterator[Recipient]:
        """Iterate over outcomes as they become final."""
        async for recipient in super().__aiter__():
            yield recipient
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure.with_traceback(None)

    def _ask(self) -> None:
        if not self._awaited:
            self._awaited = True
            if self.receipts.is_appended and self._left:
                self._asker(self)

    def appended(self, nodes: Iterable[tuple[bytes, int, str]], now: float) -> None:
        """Note which nodes get it."""
        self.sent_at = now
        self.receipts.appended(nodes)
        self._certain.set()
        self.known([])

    def known(self, told: Iterable[Recipient]) -> None:
        """Take note of outcomes that have become final."""
        for one in told if self._listeners else ():
            for ready, _more in self._listeners:
                ready.append(one)
        self._left = self.receipts.pending
        for _ready, more in self._listeners:
            more.set()
        if not self._left and self._done is not None and not self._done.done():
            self._done.set_result(None)

    def fail(self, error: ReliableWSError | None) -> None:
        """Wait for nothing more; who waits gets this error."""
        self._failure = error
        self._certain.set()
        self.known(self.receipts.close())


class Heard(Publication):
    """A publication at a node that has members.

    Attributes:
        publisher: The node that published it.
        number: What the publisher calls it.
    """

    def __init__(
        self,
        publisher: bytes,
        number: int,
        payload: Payload,
        weight: int,
        changed: Callable[[Heard], None],
    ) -> None:
        """``changed``: called after each outcome that has become final."""
        super().__init__(None, payload, weight)
        self.publisher = publisher
        self.number = number
        self.is_due = False
        "Whether a report of it is to come soon."
        self.due_at = 0.0
        "When, in seconds of the loop."
        self._pause = FIRST_PAUSE
        self._changed = changed
        self._names: list[Name] | None = None
        self._packed: bytes | None = None

    def _count(self, member: Member) -> None:  # noqa: ARG002 - a report has all members
        self._left -= 1
        self._changed(self)

    def later(self, now: float) -> None:
        """Note that a report of it is to come, after a pause in which more may become known."""
        self.is_due = True
        self.due_at = now + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def ask(self) -> None:
        """Let the members say at once when they have taken it."""
        self._ask()

    def names(self) -> list[Name]:
        """Return who got it: the same list each time, once all messages have numbers that last."""
        if self._names is not None:
            return self._names
        places = self._places
        names = [
            Name(member.session.id, member.identity, _kept(member, place))
            for member, place in places.items()
        ]
        pairs = zip(names, places.values(), strict=True)
        if all(name.number or isinstance(place, Outcome) for name, place in pairs):
            self._names = names
        return names

    def packed_names(self) -> bytes:
        """Return the same, packed."""
        if self._packed is not None:
            return self._packed
        packed: bytes = msgpack.packb(self.names())
        if self._names is not None:
            self._packed = packed
        return packed

    @property
    def is_sure(self) -> bool:
        """Whether another node would know each message by its number."""
        return self._names is not None or all(
            isinstance(place, Outcome) or place == AWAITING_ROOM or _kept(member, place) > 0
            for member, place in self._places.items()
        )

    def fates(self) -> bytes:
        """Return what became of it at each of them, by the codes of fates."""
        codes = bytearray()
        for member, place in self._places.items():
            if isinstance(place, Outcome):
                codes.append(CODES[place])
            elif place == AWAITING_ROOM:
                codes.append(PENDING)
            elif place <= member.session.outbox.confirmed:  # most of them, without a call
                codes.append(CONFIRMED)
            else:
                codes.append(CODES[member.session.outcome(place)])
        return bytes(codes)


def _kept(member: Member, place: int | Outcome) -> int:
    """Return the number of a message, if another node will know it by this number."""
    if isinstance(place, Outcome) or place == AWAITING_ROOM:
        return 0
    return place if place <= member.session.outbox.stored else 0
