"""Writes down what sessions receive, and confirms it."""

from __future__ import annotations

import asyncio
import base64

from reliable_ws.aio.connection import Connection
from reliable_ws.aio.receiver import Delivery
from reliable_ws.driver.status import ConnectionEvent
from reliable_ws.protocol.errors import (
    ConfirmTooLate,
    ConnectionClosed,
    ConnectionClosedOK,
    PayloadError,
)
from reliable_ws.protocol.report import End

from .common import FINE, UNDELIVERED, complain
from .sink import Sink

__all__ = ["Listener", "left_of"]

MAX_BATCH = 8192
"""Messages that are written and flushed together at most."""


class Listener:
    """Writes what all sessions receive."""

    def __init__(self, sink: Sink, *, late: float, once: bool) -> None:
        self.sink = sink
        self.written = 0
        self.code = FINE
        self.stopping = asyncio.Event()
        self.hurry = asyncio.Event()
        "Set when waiting for senders is over: a second signal, or an output that fails."
        self._late = late
        self._once = once

    def stop(self) -> None:
        """Begin to stop; called again: at once."""
        if self.stopping.is_set():
            self.hurry.set()
        self.stopping.set()

    def note(self, event: ConnectionEvent) -> None:
        """Look at how sessions end."""
        ending = event.report.ending if event.report else None
        if ending is not None and ending.kind is End.KEPT:
            return  # it goes on with the next process
        if event.name == "session_lost":
            complain(f"a session was lost: {event.reason} ({event.code})")
        if event.name == "closed" and self._once:
            if ending is None or ending.kind is not End.FINISHED:
                self.code = UNDELIVERED
            self.stopping.set()

    async def handle(self, conn: Connection) -> None:
        """Write down what one session receives."""
        if self._late:
            await asyncio.sleep(self._late)
        try:
            await self._copy(conn)
        except ConnectionClosedOK:
            pass
        except ConnectionClosed as error:
            complain(str(error))
        except OSError as error:
            why = f"cannot write to {self.sink.name}: {error.strerror}"
            self.fail(conn, f"{why}; nothing more is confirmed")

    def fail(self, conn: Connection, why: str) -> None:
        """Stop: what arrives cannot be written any more."""
        complain(why)
        self.code = UNDELIVERED
        conn.start_closing(1011, "the output failed")
        self.stopping.set()

    def too_late(self) -> None:
        """Say that the session was quicker."""
        complain("the session ended before the last messages written could be confirmed")

    async def _copy(self, conn: Connection) -> None:
        batch: list[Delivery] = []
        try:
            while True:
                left = 0  # messages known to be queued
                try:
                    async for delivery in conn.deliveries():
                        batch.append(delivery)
                        left -= 1
                        if left <= 0:
                            left = left_of(conn, batch)
                            if left <= 0:
                                self.write(batch)
                    return
                except PayloadError as error:
                    raw = base64.b64encode(error.raw).decode()
                    complain(f"{error}; written as JSON")
                    self.write(batch)
                    self.sink.write([{"$undecodable": raw}])
        finally:
            self.write(batch)

    def write(self, batch: list[Delivery]) -> None:
        """Write what has been taken, and only then confirm it."""
        if not batch:
            return
        done = batch.copy()
        batch.clear()
        if self.code != FINE:
            return
        self.sink.write([delivery.message for delivery in done])
        self.written += len(done)
        try:
            for delivery in done:
                delivery.confirm()
        except ConfirmTooLate:
            self.too_late()


def left_of(conn: Connection, batch: list[Delivery]) -> int:
    """Return how many messages that have arrived are still to be written with these."""
    stats = conn.stats
    return min(stats.received - stats.taken, MAX_BATCH - len(batch))
