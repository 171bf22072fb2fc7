"""Messages of a session with a store: kept before they are sent (protocol.md, section 17).

Theory of operation. A message is accepted as without a store, and gets its number at once. The pump
gives it to the store at the end of the turn. :meth:`DurableSender.accept` waits until the store has
it. When the store was full, messages are taken back, their waiters raise :class:`StoreFull`, and
their receipts have no number any more.

A message with ``apply=`` takes another way: the store does the application's work and keeps the
message in one commit, and only then it gets its number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any

from reliable_ws.driver.session_store import (
    WITHDRAWN,
    MayBeWithdrawn,
    Withdrawals,
    accept_applied,
    check_earlier,
    no_room,
    not_in_time,
)
from reliable_ws.driver.validation import check_key, check_work
from reliable_ws.protocol.durable import pack_payload
from reliable_ws.protocol.errors import StoreSlow
from reliable_ws.protocol.payload import seal
from reliable_ws.protocol.report import Outcome
from reliable_ws.protocol.stored_session import StoredSession
from reliable_ws.store import Apply

from .pump import Pump
from .sender import Receipt, Sender
from .store_port import StorePort
from .waiters import Thresholds, WaitQueue

__all__ = ["DurableSender"]


class KeptReceipt(MayBeWithdrawn, Receipt):
    """The receipt of a message of a session with a store: the store may have no room for it."""

    __slots__ = ("_seen",)

    def __init__(self, sender: DurableSender, number: int) -> None:
        self._sender = sender
        self._number = number
        self._seen = sender.withdrawals.count

    def __await__(self) -> Generator[object, None, None]:
        """Wait for the confirmation."""
        if self.number == WITHDRAWN:
            raise no_room()
        yield from super().__await__()


class DurableSender(Sender):
    """The messages of one connection whose session is kept by a store."""

    __slots__ = ("_keys", "_port", "_room", "_stored", "has_woken", "withdrawals")

    def __init__(self, pump: Pump, port: StorePort) -> None:
        super().__init__(pump)
        self._port = port
        self._stored = Thresholds(pump.loop)
        self._room = WaitQueue(pump.loop)  # who has work of its own to do
        self.has_woken = False
        "Whether somebody waited for what the store has kept last."
        self.withdrawals = Withdrawals()
        self._keys: dict[str, asyncio.Future[None]] = {}  # keys with which something is being sent

    def receipt(self, number: int) -> Receipt:
        """Return the receipt of a message."""
        return KeptReceipt(self, number)

    async def accept(self, message: Any, timeout: float | None) -> int:
        """Accept a message, and return when the store has it."""
        return (await self._accept(message, timeout, None)).number

    async def _accept(self, message: Any, timeout: float | None, key: str | None) -> Receipt:
        by = None if timeout is None else self._pump.loop.time() + timeout
        number = await super().accept(message, timeout)
        durable = self.session.durable
        if key is not None and durable is not None:
            durable.keys[key] = number
        self._pump.wake()
        receipt = KeptReceipt(self, number)
        await self._keep(receipt, by)
        return receipt

    async def _keep(self, receipt: Receipt, by: float | None) -> None:
        if by is None:
            await receipt.stored
            return
        try:
            async with asyncio.timeout_at(by):
                await receipt.stored
        except TimeoutError as error:
            if isinstance(error, StoreSlow):
                raise
            raise StoreSlow(not_in_time(receipt.number), receipt) from None

    def until_stored(self, number: int) -> Generator[object, None, None]:
        """Wait until a message is kept."""
        if number == WITHDRAWN:
            raise no_room()
        outbox, session = self._outbox, self.session
        while outbox.stored < number:
            if session.ended:
                raise session.error()
            yield from self._stored.wait(number)

    # ------------------------------------------------------------------ what happened

    def stored(self, number: int) -> None:
        """Wake the tasks that wait until a message is kept."""
        self.has_woken = self._stored.reach(number)

    def withdrawn(self, number: int) -> None:
        """Tell everybody whose message was taken back."""
        self.withdrawals.add(number)
        self._stored.fail(number, no_room)
        if self._confirmations is not None:  # the number is another message's from now on
            self._confirmations.fail(number, no_room)
        for watcher in self.watchers:
            watcher.withdrawn(number)
        self.try_again()
        self._room.notify_all()

    def confirmed(self, number: int) -> None:
        """Wake the tasks that wait: everything up to ``number`` is confirmed."""
        super().confirmed(number)
        self._room.notify_all()

    def settled(self) -> None:
        """Wake the tasks that wait: every outcome is known."""
        super().settled()
        self._stored.reach(self._outbox.last + 1)
        self._room.notify_all()

    # ------------------------------------------------------------------ keys, and work

    async def send_durably(
        self,
        message: Any,
        timeout: float | None,
        key: str | None,
        apply: Callable[[Any], object] | None,
    ) -> Receipt:
        """Accept a message once for its key; or keep it together with work of the application."""
        check_key(key)
        check_work(apply)
        if key is None:
            return await self._send_once(message, timeout, None, apply)
        while (busy := self._keys.get(key)) is not None:
            await asyncio.wait((busy,))
        done = self._keys[key] = self._pump.loop.create_future()
        try:
            return await self._known(key, timeout) or await self._send_once(
                message, timeout, key, apply
            )
        finally:
            del self._keys[key]
            done.set_result(None)

    async def _send_once(
        self,
        message: Any,
        timeout: float | None,
        key: str | None,
        apply: Callable[[Any], object] | None,
    ) -> Receipt:
        if apply is None:
            return await self._accept(message, timeout, key)
        return await self._apply(message, timeout, key, apply)

    async def _known(self, key: str, timeout: float | None) -> Receipt | None:
        """Return the receipt of the message that has this key already."""
        loop = self._pump.loop
        by = None if timeout is None else loop.time() + timeout
        durable = self.session.durable
        number = None if durable is None else durable.keys.get(key)
        if number is None:
            async with asyncio.timeout_at(by):
                found = await self._port.find(key)
            if found is None:
                return None
            session_id, number, facts = found
            if session_id != self.session.id:
                return EarlierReceipt(self, number, StoredSession.outcome_of(facts, number))
        receipt = KeptReceipt(self, number)
        await self._keep(receipt, by)
        return receipt

    async def _apply(
        self,
        message: Any,
        timeout: float | None,
        key: str | None,
        work: Callable[[Any], object],
    ) -> Receipt:
        session, outbox = self.session, self._outbox
        payload, weight = seal(message, session.codec)
        outbox.check_size(weight)
        async with asyncio.timeout(timeout):
            while not session.ended and outbox.is_open and not outbox.has_room(weight):
                await self._room.wait()
        if session.ended or not outbox.is_open or session.durable is None:
            raise session.error()
        session.durable.applying += 1
        kept: asyncio.Future[Receipt] = self._pump.loop.create_future()
        apply = Apply(session.id, work, send=pack_payload(payload), key=key)
        self._port.apply(apply, partial(self._applied, kept, (payload, weight, key)))
        return await asyncio.shield(kept)

    def _applied(
        self,
        kept: asyncio.Future[Receipt],
        sealed: tuple[Any, int, str | None],
        result: Any,
        error: BaseException | None,
    ) -> None:
        """Give a message that the store has its number."""
        try:
            number, outcome = accept_applied(self.session, sealed, result, error)
        except BaseException as raised:  # noqa: BLE001 - it comes out of the caller's call
            if not kept.done():  # else its caller was cancelled
                kept.set_exception(raised)
        else:
            receipt: Receipt = KeptReceipt(self, number)
            if outcome is not None:
                receipt = EarlierReceipt(self, number, outcome)
            if not kept.done():
                kept.set_result(receipt)
        self._pump.wake()


class EarlierReceipt(Receipt):
    """The receipt of a message that an earlier session of the same store has sent."""

    __slots__ = ("_outcome",)

    def __init__(self, sender: Sender, number: int, outcome: Outcome) -> None:
        self._sender = sender
        self._number = number
        self._outcome = outcome

    def __await__(self) -> Generator[object, None, None]:
        """Return if it is confirmed, else raise what is known."""
        yield from ()
        check_earlier(self.number, self._outcome)

    @property
    def stored(self) -> Awaitable[None]:
        """Await this: it returns at once, since the store has it."""
        return asyncio.sleep(0)

    @property
    def outcome(self) -> Outcome:
        """What the store knows of it."""
        return self._outcome
