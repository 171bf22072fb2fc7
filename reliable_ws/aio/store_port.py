"""The way from the sessions of an event loop to a store, and back.

Theory of operation. A store blocks, and has a thread of its own. What changed in one turn of the
loop is handed to it together, and is kept together. It answers from its thread, and the answer is
taken in a turn of the loop. While it works, the loop goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from reliable_ws.driver.session_store import STORE_SLOW
from reliable_ws.protocol.errors import ReliableWSError, StoreError
from reliable_ws.protocol.stored import Change, Stored
from reliable_ws.store import Apply, Store

__all__ = ["StorePort"]

Done = Callable[[ReliableWSError | None], None]


class StorePort:
    """Hands changes to one store, once in a turn of the event loop."""

    __slots__ = (
        "_loop",
        "_queued",
        "_since",
        "_timer",
        "is_alone",
        "on_slow",
        "store",
        "waiting",
    )

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self.store = store
        self._loop = loop
        self._queued: list[tuple[Change, Done]] = []
        self._since = 0.0  # when the store was last given something, or has said something
        self._timer: asyncio.TimerHandle | None = None
        self.waiting = 0
        "How many batches the store has not answered."
        self.is_alone = False
        """Whether the last batch was one change, and the store had nothing else to do: as a rule
        the next one is alone as well, and waits for no others."""
        self.on_slow: set[Callable[[], None]] = set()
        "Called when the store has worked on one for :data:`STORE_SLOW` seconds."

    def wall(self) -> float:
        """Return the time that is kept with a session, in seconds since 1970."""
        return time.time()

    async def open(self) -> Sequence[Stored]:
        """Open the store, and return what it has.

        Raises:
            StoreError: It cannot be opened.
        """
        return await self._loop.run_in_executor(None, self.store.open)

    async def find(self, key: str) -> tuple[bytes, int, bytes] | None:
        """Return the session, the number and the session's facts of a key."""
        return await self._loop.run_in_executor(None, self.store.find, key)

    def submit(self, change: Change, done: Done) -> None:
        """Have a change kept with the others of this turn; ``done`` is called in the loop."""
        self._queued.append((change, done))
        if self.is_alone:
            self._hand_over()
        elif len(self._queued) == 1:
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        if not self._queued:  # they went before the application's work
            return
        queued, self._queued = self._queued, []
        self.is_alone = len(queued) == 1 and not self.waiting
        if not self.waiting:
            self._since = self._loop.time()
        self.waiting += 1
        self._watch()
        changes = [change for change, _done in queued]
        answers = [done for _change, done in queued]
        try:
            self.store.submit(changes, partial(self._answered, self._said, answers))
        except StoreError as error:  # it was closed
            self._answered(self._said, answers, error)

    def apply(self, apply: Apply, done: Callable[[Any, BaseException | None], None]) -> None:
        """Have the application's work done by the store; ``done`` is called in the loop."""
        self._hand_over()  # what was changed before goes to the store before
        try:
            self.store.apply(apply, partial(self._answered, done))
        except StoreError as error:  # it was closed
            self._answered(done, None, error)

    def _answered(self, then: Callable[..., None], *values: Any) -> None:
        """Take an answer from the store's thread to the loop's."""
        try:
            self._loop.call_soon_threadsafe(then, *values)
        except RuntimeError:  # the loop is closed: nobody waits any more
            pass

    def _said(self, answers: list[Done], error: StoreError | None) -> None:
        self.waiting -= 1
        self._since = self._loop.time()
        for done in answers:
            done(error)
        self._hand_over()  # at once: the disk is busy while what is kept now is written to sockets

    def _watch(self) -> None:
        """Look at it when the store may have worked for long. One timer: most commits are short."""
        if self._timer is None:
            self._timer = self._loop.call_at(self._since + STORE_SLOW, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self.waiting:
            return
        if self._loop.time() < self._since + STORE_SLOW:
            self._watch()
            return
        for call in list(self.on_slow):
            call()
