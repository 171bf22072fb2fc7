"""Messages from the peer: handed over in order, to the task that asked first.

Theory of operation. Messages wait in the session's inbox, not here. :meth:`Receiver.arrival` waits
for one, :meth:`Receiver.take` takes it. There must be no ``await`` between the two: so a task that
is cancelled has either taken a message and returned it, or taken nothing.

Tasks that wait stand in ``line``. ``line.called`` counts the tasks that were woken and have not run
yet. That many messages are theirs, so a task that comes later must wait behind them.

A long run of messages is taken without a look at the event loop, at most ``MAX_RECEIVES`` in a row.
A task that has to wait flushes first: what it has sent and confirmed goes now.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgpack

from reliable_ws.driver.delivery import Unconfirmed
from reliable_ws.protocol.errors import ConnectionClosed, ConnectionClosedOK, PayloadError
from reliable_ws.protocol.payload import open_payload

from .pump import Pump
from .waiters import Line

__all__ = ["Delivery", "Receiver"]

MAX_RECEIVES = 1024
"""Messages taken in a row, without waiting, before one yields to the event loop."""


class Receiver:
    """The messages of one connection, from the other side."""

    __slots__ = ("_inbox", "_pump", "_session", "_turns", "line")

    def __init__(self, pump: Pump) -> None:
        self._pump = pump
        self._session = pump.session
        self._inbox = pump.session.inbox
        self._turns = MAX_RECEIVES  # messages until the next yield to the event loop
        self.line = Line()
        "The tasks that wait for a message."

    async def arrival(self, timeout: float | None) -> None:
        """Return when a message can be taken; no await may stand between this and taking it."""
        self._turns -= 1
        if self._turns < 0:
            self._turns = MAX_RECEIVES
            await asyncio.sleep(0)
        line, inbox = self.line, self._inbox
        while len(inbox.queue) <= line.called or line.waiting:
            if not inbox.queue and self._session.exhausted:
                raise self._session.error()
            if self._pump.awake:
                self._pump.flush()  # nobody in this task adds anything before the next message
            turn = line.join()
            try:
                if timeout is None:
                    await turn
                else:
                    async with asyncio.timeout(timeout):
                        await turn
            except BaseException:
                line.leave(turn)
                raise
            line.called -= 1
            if inbox.queue:
                return

    def take(self) -> Any:
        """Take the next message, and confirm it in the same step."""
        session = self._session
        payload = session.take()
        if session.due:
            self._pump.taken()
        if self.line.waiting and self._inbox.finish is not None:
            self.wake_if_over()
        if type(payload) is msgpack.ExtType:
            return open_payload(payload, self._inbox.handed, session.codec)
        return payload

    async def messages(self) -> AsyncIterator[Any]:
        """Iterate over messages until the peer has finished."""
        line, inbox, session, pump = self.line, self._inbox, self._session, self._pump
        while True:
            try:
                await self.arrival(None)
            except ConnectionClosed as error:
                if self._ends_quietly(error):
                    return
                raise
            yield self.take()
            # Hand over what has arrived together, unless other tasks wait for messages.
            queue, turns = inbox.queue, self._turns
            while turns > 0 and len(queue) > line.called and not line.waiting:
                turns -= 1
                payload = session.take()
                if session.due:
                    pump.taken()
                if type(payload) is msgpack.ExtType:
                    payload = open_payload(payload, inbox.handed, session.codec)
                yield payload
            self._turns = turns

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Iterate over messages that are confirmed when their work is done."""
        while True:
            try:
                await self.arrival(None)
            except ConnectionClosed as error:
                if self._ends_quietly(error):
                    return
                raise
            number, payload = self._session.deliver()
            if self.line.waiting:
                self.wake_if_over()
            try:
                message = open_payload(payload, number, self._session.codec)
            except PayloadError:
                self.confirm(number)
                raise
            yield Delivery(self, number, message, number <= self._inbox.redelivered_upto)

    def _ends_quietly(self, error: ConnectionClosed) -> bool:
        """Whether this is how an iteration ends without raising."""
        return isinstance(error, ConnectionClosedOK) or self._session.closing

    def confirm(self, number: int) -> None:
        """Confirm what was delivered."""
        self._session.confirm(number)
        if self._session.due:
            self._pump.taken()

    # ------------------------------------------------------------------ what happened

    def wake_if_over(self) -> None:
        """Wake readers that nothing more can come for."""
        if not self._inbox.queue and self._session.exhausted:
            self.line.call_all()


class Delivery(Unconfirmed):
    """A message that you confirm when your work is done.

    ``async with delivery as message: …`` confirms the message when the block ends without an
    exception. After an exception the message stays unconfirmed. You can call ``confirm()`` later. A
    message that is never confirmed ends as *unknown* for the sender. Until then it occupies the
    sender's window.

    Attributes:
        message: The message.
        number: Its sequence number.
        redelivered: Whether the message may have been delivered before, to an earlier process of
            yours.
    """

    __slots__ = ()

    async def __aenter__(self) -> Any:
        """Return the message."""
        return self.message

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, tb: object
    ) -> None:
        """Confirm unless the block raised."""
        if kind is None:
            self.confirm()
