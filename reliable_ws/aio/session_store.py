"""One session and the store that keeps it: what goes there, and what follows when it is kept."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from reliable_ws.driver.session_driver import SessionDriver
from reliable_ws.driver.status import logger
from reliable_ws.protocol.errors import StoreError, StoreFull

from .store_port import StorePort
from .waiters import Condition

__all__ = ["SessionStore"]


class SessionStore:
    """Gives the store what changed in one session, at the end of each turn of the loop."""

    __slots__ = ("_change", "_driver", "_is_slow", "port")

    def __init__(
        self,
        driver: SessionDriver[Any, Any, Any, Any, Any],
        port: StorePort,
        change: Condition,
    ) -> None:
        """``change`` is notified when the session's state may have changed."""
        self._driver = driver
        self._change = change
        self.port = port
        self._is_slow = False  # it was told that the store is
        driver.pump.give_to_store = self.give

    def give(self) -> None:
        """Give the store what changed, unless it works on the change before."""
        driver = self._driver
        change = driver.session.take_change(driver.now(), time.time())
        if change is not None:
            self.port.on_slow.add(self._slow)
            self.port.submit(change, self._answered)

    def _answered(self, error: StoreError | None) -> None:
        """Go on with what the store has kept, or with what it could not keep."""
        driver = self._driver
        session, now = driver.session, driver.now()
        self.port.on_slow.discard(self._slow)
        self._is_slow = False
        if error is None:
            driver.dispatch(session.kept(now))
        elif isinstance(error, StoreFull):
            logger.warning("%s: %s", driver.name, error)
            driver.dispatch(session.unkept(now))
        else:
            self.leave(str(error), error)
        self.give()
        # At the end of the turn: who has waited for this says first whether it waits for the peer.
        driver.pump.wake()
        driver.changed()

    def _slow(self) -> None:
        if not self._is_slow:
            self._is_slow = True
            words = "the store has worked on one commit for 5 s"
            logger.warning("%s: %s", self._driver.name, words)
            if self._driver.notify is not None:
                self._driver.notify("store_slow", None, words, 0)

    def leave(self, reason: str, cause: Exception | None = None) -> None:
        """Be done with the session: it goes on in another process, from what the store has."""
        driver = self._driver
        if driver.session.ended is None:
            driver.dispatch(driver.session.leave(driver.now(), reason, cause))
        else:
            driver.session.leave(driver.now(), reason, cause)

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
