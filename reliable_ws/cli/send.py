"""``send``: send lines, and end well only when every one of them is confirmed."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from websockets.exceptions import WebSocketException

from reliable_ws.aio.connect import connect
from reliable_ws.aio.connection import Connection
from reliable_ws.backoff import Backoff
from reliable_ws.driver.failures import FailedAttempts, Stage
from reliable_ws.protocol.errors import (
    ConnectionClosed,
    DeliveryError,
    MessageTooLarge,
    ReliableWSError,
)
from reliable_ws.protocol.report import End, Outcome, Report

from . import progress
from .common import (
    FINE,
    INTERRUPTED,
    UNDELIVERED,
    Failure,
    add_limits,
    complain,
    config_of,
    on_signals,
    seconds,
)
from .source import LineTooLong, Source, as_message

__all__ = ["add_to"]

DESCRIPTION = """\
Send each line of a file or of standard input as a message, in order, each once, across any number
of lost connections. The input is read no further ahead than messages are confirmed.

A line goes with its line feed (the last one may have none), as text if it is valid UTF-8, else as
bytes; "listen" writes it down unchanged, so that its file is the same byte for byte. The number
of a message is the number of its line.
"""

EXAMPLES = """\
examples:
  python -m reliable_ws send ws://127.0.0.1:8765 --file access.log
  tail -f access.log | python -m reliable_ws send ws://127.0.0.1:8765 --session-ttl 3600
  python -m reliable_ws send ws://127.0.0.1:8765 --whole < image.png
  producer | python -m reliable_ws send ws://127.0.0.1:8765 --undelivered rest.txt

exit codes:
  0    every message was taken by the receiver's application, and confirmed
  1    not every one: standard error names the first one, and how many were not taken (sending
       those again is safe) and of how many nobody can say (unknown)
  2    nothing was sent: wrong usage, cannot read, cannot connect, not a peer of this protocol
  130  interrupted (SIGINT, SIGTERM): standard error says what is known
"""

RECEIVER_ENDED = "the receiver has ended the session"


def add_to(commands: Any) -> None:
    """Add this command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "send",
        help="send lines; exit code 0 only when all are confirmed",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("uri", metavar="URI", help="for example ws://127.0.0.1:8765")
    parser.add_argument("--file", metavar="FILE", help="default: standard input")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--lines", action="store_true", help="each line is a message (the default)")
    how.add_argument("--whole", action="store_true", help="all of it is one message")
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="give up when nothing more has been confirmed for so long (default: 60)",
    )
    parser.add_argument(
        "--retry",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="try so long to connect for the first time (default: once); after that "
        "--session-ttl says for how long",
    )
    parser.add_argument(
        "--retry-delay",
        type=seconds,
        default=Backoff().longest,
        metavar="SECONDS",
        help="longest delay between two attempts to connect (default: 30)",
    )
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        default=sys.stderr.isatty(),
        help="show how far it is (default: on a terminal)",
    )
    parser.add_argument(
        "--undelivered",
        metavar="FILE",
        help="append to FILE what was read and not confirmed, so that a pipe can be sent again; of "
        "lines that are unknown nobody can say whether the receiver has them already",
    )
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON, too")
    add_limits(parser)
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Send everything; return the exit code."""
    config = config_of(
        args,
        close_progress_timeout=2 * args.timeout,  # the sender gives up before, and says why
        close_timeout=max(300.0, 10 * args.timeout),
    )
    source = Source(args.file, config.max_message)
    backoff = Backoff(initial=min(Backoff().initial, args.retry_delay), longest=args.retry_delay)
    dialling = connect(args.uri, config=config, reconnect=backoff)
    began = asyncio.get_running_loop().time()
    sender = Sender(await _open(dialling, args.uri, backoff, args.retry), source)
    on_signals(sender.interrupt)
    showing = asyncio.ensure_future(progress.show(sender.conn)) if args.progress else None
    await sender.run(whole=args.whole, patience=args.timeout)
    if showing is not None:
        showing.cancel()
        with suppress(asyncio.CancelledError):
            await showing
    took = asyncio.get_running_loop().time() - began
    if args.undelivered is not None:
        sender.save(args.undelivered)
    return _tell(sender, took, as_json=args.json)


async def _open(dialling: connect, uri: str, backoff: Backoff, patience: float) -> Connection:
    """Connect, trying again for ``patience`` seconds."""
    loop = asyncio.get_running_loop()
    until, attempt = loop.time() + patience, 0
    failures = FailedAttempts(Stage.FIRST, None, "send")
    while True:
        try:
            return await dialling
        except (OSError, TimeoutError, WebSocketException, ReliableWSError, ValueError) as error:
            failed = failures.failed(error, loop.time())
            chance = random.random()  # noqa: S311
            delay = backoff.delay(attempt, chance, failed.retry_after)
            if failed.final or loop.time() + delay >= until:
                raise Failure(f"cannot connect to {uri}: {failed.reason}") from None
        attempt += 1
        await asyncio.sleep(delay)


class Sender:
    """Sends a source over a connection, until the end of either."""

    def __init__(self, conn: Connection, source: Source) -> None:
        self.conn = conn
        self.interrupted = False
        self.why = ""
        "Why not all of the input was sent, if so."
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
            closing = asyncio.ensure_future(_close(conn))
            await asyncio.wait((closing, watching[0]), return_when=asyncio.FIRST_COMPLETED)
        for work in watching:
            work.cancel()
        if self._stop.is_set():
            conn.abort(4499, self.why)

    async def _send(self, *, whole: bool) -> None:
        send = self.conn.send
        try:
            if whole:
                self._unsent.append(await self._source.whole())
                await send(as_message(self._unsent[0]))
                self._unsent.clear()
                return
            async for lines in self._source.batches():
                unsent = self._unsent = deque(lines)
                while unsent:
                    await send(as_message(unsent[0]))
                    unsent.popleft()
        except ConnectionClosed as error:
            self.why = f"the session is over: {error.ending}"
        except (LineTooLong, MessageTooLarge):
            number = self.conn.stats.sent + 1
            self.why = f"line {number:,} is too large to be a message: nothing sent from there on"
        except OSError as error:
            self.why = f"cannot read on: {error.strerror}"

    def save(self, path: str) -> None:
        """Append what was read and is not confirmed to a file, in order."""
        messages = [entry.message for entry in self.conn.report.undelivered]
        data = [one.encode() if isinstance(one, str) else one for one in messages]
        data += [*self._unsent, self._source.begun]
        if not any(data):
            return
        try:
            with Path(path).open("ab") as file:
                file.writelines(data)
        except OSError as error:
            complain(f"cannot write {path}: {error.strerror}")

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


async def _close(conn: Connection) -> None:
    with suppress(DeliveryError):  # the report says the same
        await conn.close()


def _tell(sender: Sender, took: float, *, as_json: bool) -> int:
    """Say how it went; return the exit code."""
    report, stats = sender.conn.report, sender.conn.stats
    first = report.undelivered[0].number if report.undelivered else None
    if as_json:
        facts = {
            "sent": report.sent,
            "confirmed": report.confirmed,
            "not_taken": report.count(Outcome.NOT_TAKEN),
            "unknown": report.count(Outcome.UNKNOWN) + report.count(Outcome.PENDING),
            "first_undelivered": first,
            "stopped": sender.why or None,
            "resumes": stats.resumes,
            "seconds": round(took, 3),
        }
        print(json.dumps(facts), flush=True)
    if not sender.why and not report.undelivered:
        complain(f"{report.sent:,} messages, all confirmed")
        return FINE
    why = sender.why
    if not why and report.ending is not None and report.ending.kind is not End.FINISHED:
        why = f"the session is over: {report.ending}"
    complain(_undelivered(report, why))
    return INTERRUPTED if sender.interrupted else UNDELIVERED


def _undelivered(report: Report, why: str) -> str:
    says = f"{report.sent:,} messages sent, {report.confirmed:,} confirmed"
    if report.undelivered:
        kinds = [
            f"{count:,} {outcome.value}"
            for outcome in (Outcome.NOT_TAKEN, Outcome.UNKNOWN, Outcome.PENDING)
            if (count := report.count(outcome))
        ]
        first = report.undelivered[0].number
        says += f"; not confirmed: {', '.join(kinds)}, the first is number {first:,}"
    elif why:
        says += "; the rest of the input was not sent"
    return f"{why}: {says}" if why else says
