"""Guards of what the drivers decide: when to close, when to open another WebSocket."""

from __future__ import annotations

import math

from reliable_ws.driver.close_plan import ClosePlan, CloseStep
from reliable_ws.driver.reconnect import Reconnect

from .registry import Replace, mutant


@mutant("a close does not wait for handlers", "a call, leave")
def _no_wait(put: Replace) -> None:
    put(ClosePlan, "step", lambda _self, _now, *, busy: CloseStep.CLOSE)


@mutant("a close waits for handlers without end", "a call, leave")
def _no_limit(put: Replace) -> None:
    def step(_self, _now, *, busy):
        return CloseStep.WAIT if busy else CloseStep.CLOSE

    put(ClosePlan, "step", step)


@mutant("a close does not notice that the last handler has ended", "a call, leave")
def _not_idle(put: Replace) -> None:
    right = ClosePlan.step
    put(ClosePlan, "step", lambda self, now, *, busy: right(self, now, busy=True))


@mutant("handlers that are cancelled have no time to end", "a call, leave")
def _no_grace(put: Replace) -> None:
    right = ClosePlan.step

    def step(self, now, *, busy):
        if busy and now >= self.deadline and self._grace and not self._is_cancelled:
            self._is_cancelled = True
            return CloseStep.CANCEL
        return right(self, now, busy=busy)

    put(ClosePlan, "step", step)


@mutant("a second close gives the first one more time", "a call, leave")
def _longer(put: Replace) -> None:
    right = ClosePlan.limit

    def limit(self, now, config, timeout):
        if not self._is_cancelled:
            self.deadline = self._by = math.inf
        right(self, now, config, timeout)

    put(ClosePlan, "limit", limit)


@mutant("a session that has ended opens another WebSocket", "timeouts")
def _undead(put: Replace) -> None:
    right = Reconnect.pause

    def pause(self, now):
        return self._due - now if self._session.ended else right(self, now)

    put(Reconnect, "pause", pause)


@mutant("a pause between attempts ignores how long the session has left")
def _sound_sleep(put: Replace) -> None:
    put(Reconnect, "_left", lambda _self, _now: math.inf)
