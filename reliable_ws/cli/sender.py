"""Sends a source over a connection, until the end of either."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from reliable_ws.aio.connection import Connection
from reliable_ws.protocol.errors import ConnectionClosed, DeliveryError, MessageTooLarge
from reliable_ws.protocol.report import End, Report

from .common import complain
from .source import LineTooLong, Source, as_message

__all__ = ["Sender"]

RECEIVER_ENDED = "the receiver has ended the session"


class Sender:
    """Sends a source over a connection, until the end of either."""

    def __init__(self, conn: Connection, source: Source) -> None:
        self.conn = conn
        self.interrupted = False
        self.why = ""
        "Why not all of the input was sent, if so."
        self.unknown_before = 0
        "Messages of an earlier session of which nobody can say whether they were taken."
        self._source = source
        self._unsent: deque[bytes] = deque()  # read, and not accepted yet
        self._stop = asyncio.Event()

    def interrupt(self) -> None:
        """Stop now."""
        self.interrupted = True
        self.why = "interrupted"
        self._stop.set()

    async def run(self, *, whole: bool, patience: float) -> None:
        """Send all, then close; ``conn.report`` says how it went."""
        conn = self.conn
        sending = asyncio.ensure_future(self._send(whole=whole))
        watching = [
            asyncio.ensure_future(work)
            for work in (self._stop.wait(), self._listen(), self._watch(patience))
        ]
        await asyncio.wait((sending, *watching), return_when=asyncio.FIRST_COMPLETED)
        if not sending.done() and not self.why:
            ending = conn.report.ending
            is_lost = ending is not None and ending.kind is not End.FINISHED
            self.why = f"the session is over: {ending}" if is_lost else RECEIVER_ENDED
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
        if not self._stop.is_set():
            closing = asyncio.ensure_future(self._close())
            await asyncio.wait((closing, watching[0]), return_when=asyncio.FIRST_COMPLETED)
        for work in watching:
            work.cancel()
        if self._stop.is_set():
            await self._leave()

    async def _close(self) -> None:
        with suppress(DeliveryError):  # the report says the same
            await self.conn.close()

    async def _leave(self) -> None:
        """Be done with a session that has not come to its end."""
        self.conn.abort(4499, self.why)

    @property
    def line(self) -> int:
        """The number of the line that comes next."""
        return self.conn.stats.sent + 1

    async def _send(self, *, whole: bool) -> None:
        send = self.conn.send
        with self._explained():
            async for lines in self._source.whole() if whole else self._source.batches():
                unsent = self._unsent = deque(lines)
                while unsent:
                    await send(as_message(unsent[0]))
                    unsent.popleft()

    @contextmanager
    def _explained(self) -> Generator[None]:
        """Say why sending ended."""
        try:
            yield
        except ConnectionClosed as error:
            self.why = f"the session is over: {error.ending}"
        except (LineTooLong, MessageTooLarge):
            self.why = (
                f"line {self.line:,} is too large to be a message: nothing sent from there on"
            )
        except OSError as error:
            self.why = f"cannot read on: {error.strerror}"

    def save(self, path: str) -> None:
        """Append what was read and is not confirmed to a file, in order."""
        messages = self._to_save(self.conn.report)
        data = [one.encode() if isinstance(one, str) else one for one in messages]
        if not any(data):
            return
        try:
            with Path(path).open("ab") as file:
                file.writelines(data)
        except OSError as error:
            complain(f"cannot write {path}: {error.strerror}")

    def _to_save(self, report: Report) -> list[str | bytes]:
        messages: list[str | bytes] = [entry.message for entry in report.undelivered]
        return [*messages, *self._unsent, self._source.begun]

    async def _listen(self) -> None:
        """Return when the peer has no more to say; what it says is not for us."""
        with suppress(ConnectionClosed):
            async for _ in self.conn:
                pass

    async def _watch(self, patience: float) -> None:
        """Stop when the peer confirms nothing for too long."""
        loop = asyncio.get_running_loop()
        before, since = -1, loop.time()
        while True:
            stats, now = self.conn.stats, loop.time()
            if stats.confirmed != before or stats.confirmed == stats.sent:
                before, since = stats.confirmed, now
            elif now - since > patience:
                self.why = f"nothing confirmed for {patience:g} s"
                self._stop.set()
                return
            await asyncio.sleep(min(1.0, patience / 4))
