"""One session and the store that keeps it: what goes there at the end of each step."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from reliable_ws.driver.session_driver import SessionDriver
from reliable_ws.driver.session_store import STORE_SLOW
from reliable_ws.driver.session_store import SessionStore as BaseSessionStore
from reliable_ws.protocol.errors import ReliableWSError
from reliable_ws.store import Apply

from .store_port import StorePort
from .timers import call_at
from .waiters import Answer, Condition

__all__ = ["SessionStore"]


class SessionStore(BaseSessionStore):
    """Gives the store what changed in one session. Methods are called with the lock held."""

    __slots__ = ("_change", "_lock", "_since", "_watched", "port")

    def __init__(
        self,
        driver: SessionDriver[Any, Any, Any, Any, Any],
        port: StorePort,
        lock: threading.Lock,
        change: Condition,
    ) -> None:
        """``change`` is notified when the session's state may have changed."""
        super().__init__(driver)
        self._lock = lock
        self._change = change
        self._since: float | None = None  # when the store was given what it works on
        self._watched = False  # whether a timer will look for how long it does
        self.port = port

    def give(self) -> None:
        """Give the store what changed, unless it works on the change before."""
        driver = self._driver
        now = driver.now()
        change = driver.session.take_change(now, time.time())
        if change is not None:
            self._since = now
            if not self._watched:
                self._watch(now)
            self.port.submit(change, self.answered)

    def answered(self, error: ReliableWSError | None) -> None:
        """Go on with what the store has kept, or with what it could not keep."""
        self._since = None
        super().answered(error)
        self._driver.changed()

    def _watch(self, since: float) -> None:
        """Look at it when the store may have worked for long. One timer: most commits are short."""
        self._watched = True
        call_at(since + STORE_SLOW, self._look)

    def _look(self) -> None:
        with self._lock:
            self._watched = False
            if self._since is None:
                return
            if self._driver.now() >= self._since + STORE_SLOW:
                self.tell_slow()
            else:
                self._watch(self._since)

    def keep(self, timeout: float) -> bool:
        """Return when the store has everything; ``False``: it has not after so many seconds."""
        session = self._driver.session
        self._driver.pump.flush()
        return bool(self._change.wait_for(lambda: session.is_kept, timeout))

    def confirm(self, number: int, work: Callable[[Any], Any], answer: Answer) -> None:
        """Confirm a delivery together with work of the application. Without lock."""

        def applied(result: Any, error: BaseException | None) -> None:
            driver = self._driver
            with self._lock:
                if error is None:
                    driver.dispatch(driver.session.confirm_applied(number, driver.now()))
                answer.give(result, error)

        with self._lock:
            self.give()  # what was changed before goes to the store before
        self.port.apply(Apply(self._driver.session.id, work, delivery=number), applied)
