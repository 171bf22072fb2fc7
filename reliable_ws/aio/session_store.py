"""One session and the store that keeps it: what goes there at the end of each turn of the loop."""

from __future__ import annotations

import asyncio
from typing import Any

from reliable_ws.driver.session_driver import SessionDriver
from reliable_ws.driver.session_store import SessionStore as BaseSessionStore
from reliable_ws.protocol.errors import ReliableWSError

from .store_port import StorePort
from .waiters import Condition

__all__ = ["SessionStore"]


class SessionStore(BaseSessionStore):
    """Gives the store what changed in one session, at the end of each turn of the loop."""

    __slots__ = ("_change", "port")

    def __init__(
        self,
        driver: SessionDriver[Any, Any, Any, Any, Any],
        port: StorePort,
        change: Condition,
    ) -> None:
        """``change`` is notified when the session's state may have changed."""
        super().__init__(driver)
        self._change = change
        self.port = port
        driver.pump.give_to_store = self.give

    def give(self) -> None:
        """Give the store what changed, unless it works on the change before."""
        driver = self._driver
        session = driver.session
        durable = session.durable
        if durable is None or not durable.is_ready:  # the store works on the change before
            return
        change = session.take_change(driver.now(), self.port.wall())
        if change is not None:
            self.port.on_slow.add(self.tell_slow)
            self.port.submit(change, self.answered)

    def answered(self, error: ReliableWSError | None) -> None:
        """Go on with what the store has kept, or with what it could not keep."""
        self.port.on_slow.discard(self.tell_slow)
        driver = self._driver
        sender, session, pump = driver.sender, driver.session, driver.pump
        sender.has_woken = False
        pump.awake, was_awake = True, pump.awake  # what follows from this is written below
        try:
            super().answered(error)
        finally:
            pump.awake = was_awake
        if self.port.is_alone and (sender.one_by_one or not sender.has_woken):
            if sender.one_by_one:
                # Who sent the last message waited for the peer: as before, it waits for this one.
                sender.one_by_one = False
                session.want(min(session.outbox.stored, session.outbox.messages))
            pump.flush()
        else:
            self.give()
            # At the end of the turn: who has waited for this says first whether it waits for the
            # peer.
            pump.wake()
        driver.changed()

    async def keep(self, timeout: float) -> bool:
        """Return when the store has everything; ``False``: it has not after so many seconds."""
        driver, session = self._driver, self._driver.session
        driver.pump.flush()
        try:
            async with asyncio.timeout(timeout):
                await self._change.wait_for(lambda: session.is_kept)
        except TimeoutError:
            return False
        return True
