"""One line on a terminal that says how far a sender is."""

from __future__ import annotations

import asyncio
import sys

from reliable_ws.aio.connection import Connection

__all__ = ["show"]

EVERY = 0.5


async def show(conn: Connection) -> None:
    """Rewrite the line until cancelled."""
    loop = asyncio.get_running_loop()
    before, at = 0, loop.time()
    try:
        while True:
            await asyncio.sleep(EVERY)
            stats, now = conn.stats, loop.time()
            rate = (stats.confirmed - before) / (now - at)
            before, at = stats.confirmed, now
            line = (
                f"{stats.sent:,} sent, {stats.confirmed:,} confirmed, {rate:,.0f}/s, "
                f"{stats.resumes:,} resumes, {conn.state.value}"
            )
            print(f"\r{line:<78}", end="", file=sys.stderr, flush=True)
    finally:
        print(f"\r{'':<78}\r", end="", file=sys.stderr, flush=True)
