"""``send --store``: what was accepted is sent once, also when this process is killed."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from functools import partial

from reliable_ws.aio.connection import Connection
from reliable_ws.aio.sender import Receipt
from reliable_ws.driver.restored import read_stored
from reliable_ws.protocol.errors import DeliveryError, OutboxFull, StoreError
from reliable_ws.protocol.report import Outcome, Report
from reliable_ws.stores import SQLiteStore

from . import input_position
from .common import complain
from .input_position import Position
from .sender import Sender
from .source import InputDiffers, Source, as_message

__all__ = ["KeptSender"]


class KeptSender(Sender):
    """Sends a source in a session that a store keeps, from where an earlier process was."""

    def __init__(
        self, conn: Connection, source: Source, store: SQLiteStore, name: str, *, again: bool
    ) -> None:
        """``again``: the source begins with what was accepted already; that is left out."""
        super().__init__(conn, source)
        self._store = store
        self._name = name
        self._again = again
        self._position = Position(conn.id, conn.stats.sent)
        self._restored = {
            number: message
            for number, _key, message in (conn.restored.unconfirmed if conn.restored else ())
        }

    @property
    def line(self) -> int:
        """The number of the line that comes next."""
        return self._position.lines + 1

    async def _send(self, *, whole: bool) -> None:
        try:
            left_out = await self._begin()
            pieces = self._source.whole() if whole else self._source.batches()
            with self._explained():
                async for lines in pieces:
                    self._unsent = deque(lines)
                    while left_out and self._unsent:
                        self._leave_out(self._unsent.popleft())
                        left_out -= 1
                        if not left_out:
                            await self._move(self._position)
                    if whole and self._position.lines:
                        break  # it was sent
                    if self._unsent:
                        await self._send_batch(self._unsent)
                if left_out:
                    raise InputDiffers(f"it has {left_out:,} lines less than were sent of it")
        except InputDiffers as error:
            self.why = (
                f"this is not the input that was sent before: {error}. Nothing of it is sent. Give "
                f"the same input, or send all of this one with --input more"
            )
            self._stop.set()
        except StoreError as error:
            self.why = str(error)
            self._stop.set()

    # -- where the earlier process was

    async def _begin(self) -> int:
        """Find the place in the input; return how many lines behind it were accepted, too."""
        before = await asyncio.to_thread(
            self._store.run, partial(input_position.read, name=self._name)
        )
        accepted = self.conn.stats.sent
        if before is not None and before.session != self.conn.id:
            accepted = await self._after(before)
        if before is None or not self._again:
            if self._restored:
                complain(f"{len(self._restored):,} messages from before are on their way")
            await self._move(Position(self.conn.id, self.conn.stats.sent))
            return 0
        left_out = accepted - before.number
        crc = await self._source.leave_out(before.size)
        if crc != before.crc:
            raise InputDiffers(f"its first {before.size:,} bytes are others")
        if before.lines + left_out:
            complain(f"{before.lines + left_out:,} lines were accepted before: left out")
        position = before
        if before.session != self.conn.id:
            position = before._replace(session=self.conn.id, number=self.conn.stats.sent - left_out)
        self._position = position
        if not left_out:
            await self._move(position)
        return left_out

    async def _after(self, before: Position) -> int:
        """Send again what an ended session did not deliver; return how many it had accepted.

        Each has a key. So it is accepted once, however often this begins anew.
        """
        rows = await asyncio.to_thread(self._store.open)
        ended = {kept.id: kept for kept in read_stored(rows, "initiator")}.get(before.session)
        if ended is None:  # forgotten, long after its end
            return before.number
        report = ended.report()
        not_taken = [one for one in report.undelivered if one.outcome is Outcome.NOT_TAKEN]
        self.unknown_before = len(report.undelivered) - len(not_taken)
        if report.undelivered:
            complain(f"the session before is over: {report}")
        if not_taken:
            complain(f"{len(not_taken):,} messages were not taken: they are sent again")
        for one in not_taken:
            key = f"{ended.id.hex()}:{one.number}"
            await self.conn.send(one.message, key=key)
        return report.sent

    async def _move(self, position: Position) -> None:
        self._position = position
        await asyncio.to_thread(
            self._store.run,
            partial(input_position.write, name=self._name, position=position),
        )

    def _leave_out(self, line: bytes) -> None:
        """Go over a line that was accepted; where the store still has it, compare."""
        self._position = self._position.behind(line)
        message = self._restored.get(self._position.number, line)
        if message not in (line, as_message(line)):
            raise InputDiffers(f"line {self._position.lines:,} is another one")

    # -- sending

    async def _send_batch(self, unsent: deque[bytes]) -> None:
        """Send what was read together. The last one is kept together with the place behind it."""
        send_nowait = self.conn.send_nowait
        receipt: Receipt | None = None
        while len(unsent) > 1:
            message = as_message(unsent[0])
            try:
                receipt = send_nowait(message)
            except OutboxFull:
                receipt = await self.conn.send(message)
            self._position = self._position.behind(unsent.popleft())
        if receipt is not None:
            await receipt.stored  # what comes next is kept behind them, not before
        behind = self._position.behind(unsent[0])
        write = partial(input_position.write, name=self._name, position=behind)
        await self.conn.send(as_message(unsent[0]), apply=write)
        self._position = behind
        unsent.popleft()

    async def _close(self) -> None:
        with suppress(DeliveryError, StoreError):  # the report says the same
            await self.conn.close()

    async def _leave(self) -> None:
        """Leave the session to the next run."""
        await self.conn.keep()

    def _to_save(self, report: Report) -> list[str | bytes]:
        """Return what no later run sends: nobody can say whether it was taken, or a pipe had it."""
        messages: list[str | bytes] = [
            one.message for one in report.undelivered if one.outcome is Outcome.UNKNOWN
        ]
        if not self._source.is_file:
            messages += [*self._unsent, self._source.begun]
        return messages
