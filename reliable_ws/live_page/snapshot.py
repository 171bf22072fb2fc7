"""What the live page and the command ``top`` show, as plain values. No payload and no key."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Iterable
from typing import Any, Protocol

from reliable_ws.driver.explanation import Explanation
from reliable_ws.driver.figures import Figures
from reliable_ws.driver.status import State, Stats

__all__ = ["LiveSource", "snapshot"]

VERSION = 1

SHOWN = 200
"""Sessions that are listed: those in which something has waited longest."""

SLICE = 100
"""Sessions that are looked at in one turn of the event loop: about 2 ms."""


class Shown(Protocol):
    """A connection, of this package or of ``reliable_ws.sync``."""

    @property
    def id(self) -> bytes:
        """The session's id."""
        raise NotImplementedError

    @property
    def principal(self) -> Any:
        """Who the peer is."""
        raise NotImplementedError

    @property
    def state(self) -> State:
        """Where it stands."""
        raise NotImplementedError

    @property
    def stats(self) -> Stats:
        """Counts."""
        raise NotImplementedError

    def explain(self) -> Explanation:
        """Say what waits."""
        raise NotImplementedError


class LiveSource(Protocol):
    """What can be shown: a server or ``Sessions``, also of ``reliable_ws.sync``."""

    @property
    def connections(self) -> Iterable[Shown]:
        """The connections of all living sessions."""
        raise NotImplementedError

    def figures(self) -> Figures:
        """What they have done together."""
        raise NotImplementedError


STALL_SHOWN_FOR = 600.0
"""Seconds for which a block of the event loop is shown."""


async def snapshot(sources: dict[str, LiveSource]) -> dict[str, Any]:
    """Return what the sessions of all endpoints do now, in slices that let others run."""
    endpoints: list[dict[str, Any]] = []
    for name, source in sources.items():
        rows: list[dict[str, Any]] = []
        for number, connection in enumerate(source.connections, 1):
            rows.append(_row(connection))
            if number % SLICE == 0:
                await asyncio.sleep(0)
        rows.sort(key=lambda row: row["seconds"], reverse=True)
        endpoints.append(
            {
                "endpoint": name,
                "figures": source.figures().as_dict(),
                "sessions": rows[:SHOWN],
                "left_out": max(0, len(rows) - SHOWN),
            }
        )
    return {
        "format": "reliable_ws live",
        "version": VERSION,
        "loop": _stall([endpoint["figures"] for endpoint in endpoints], time.time()),
        "endpoints": endpoints,
    }


def _stall(figures: list[dict[str, Any]], now: float) -> str:
    """Return when something has blocked the event loop of this process, if it did lately."""
    last = max(figures, key=lambda one: one["loop_last_stall_at"])
    ago = max(0.0, now - last["loop_last_stall_at"])
    if ago > STALL_SHOWN_FOR:
        return ""
    return (
        f"the event loop last stood still for {last['loop_last_stall']:.1f} s at least, "
        f"{ago:.0f} s ago: something in this process blocks it"
    )


def _row(connection: Shown) -> dict[str, Any]:
    """Return what is shown of one session."""
    explanation = connection.explain()
    principal = connection.principal
    return {
        "session": connection.id.hex()[:8],
        "principal": "" if principal is None else f"{principal!r:.60}",
        "state": connection.state.value,
        "seconds": explanation.seconds,
        **explanation.as_dict(),
        "stats": dataclasses.asdict(connection.stats),
    }
