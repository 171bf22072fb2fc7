"""``send``: send lines, and end well only when every one of them is confirmed."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from contextlib import suppress
from typing import Any

from websockets.exceptions import WebSocketException

from reliable_ws.aio.connect import connect
from reliable_ws.aio.connection import Connection
from reliable_ws.backoff import Backoff
from reliable_ws.driver.failures import FailedAttempts, Stage
from reliable_ws.protocol.errors import ReliableWSError
from reliable_ws.protocol.report import End, Outcome, Report

from . import progress
from .common import (
    FINE,
    INTERRUPTED,
    UNDELIVERED,
    Failure,
    add_limits,
    add_store,
    close_store,
    complain,
    config_of,
    on_signals,
    open_store,
    seconds,
)
from .send_kept import KeptSender
from .sender import Sender
from .source import Source

__all__ = ["add_to"]

DESCRIPTION = """\
Send each line of a file or of standard input as a message, in order, each once, across any number
of lost connections. The input is read no further ahead than messages are confirmed.

A line goes with its line feed (the last one may have none), as text if it is valid UTF-8, else as
bytes; "listen" writes it down unchanged, so that its file is the same byte for byte. The number
of a message is the number of its line.

With --store the session is kept in a file. A process that was killed, or stopped, goes on where it
was when the same command is run again:
  a regular file, also as "< file": lines that were accepted are left out, the others are sent. So
      each line is sent once, and if the file has grown, what was added. The beginning is compared.
  a pipe: what was accepted is in the store and is sent. What comes out of the pipe now is sent
      behind it. What was in the pipe when the process died is gone with the pipe: up to 128 KiB
      that were read and not accepted, and what was not read. If the pipe brings the same input
      from its beginning, say so (--input same): then it is as a file, and nothing is missing.
Exit code 0 then means that everything was confirmed, by this process and those before.
"""

EXAMPLES = """\
examples:
  python -m reliable_ws send ws://127.0.0.1:8765 --file access.log
  tail -f access.log | python -m reliable_ws send ws://127.0.0.1:8765 --session-ttl 3600
  python -m reliable_ws send ws://127.0.0.1:8765 --whole < image.png
  producer | python -m reliable_ws send ws://127.0.0.1:8765 --undelivered rest.txt
  python -m reliable_ws send ws://127.0.0.1:8765 --file access.log --store send.db
  until python -m reliable_ws send URI --file big.csv --store send.db; do sleep 1; done

exit codes:
  0    every message was taken by the receiver's application, and confirmed
  1    not every one: standard error names the first one, and how many were not taken (sending
       those again is safe) and of how many nobody can say (unknown); with --store, how many are
       kept: the same command goes on with them, and sends again what was not taken
  2    nothing was sent: wrong usage, cannot read, cannot connect, not a peer of this protocol
  130  interrupted (SIGINT, SIGTERM): standard error says what is known
"""


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
    store = add_store(parser, "the session")
    store.add_argument(
        "--name",
        default="send",
        help="which session of the store: each name has an input of its own (default: send)",
    )
    store.add_argument(
        "--input",
        choices=("same", "more"),
        help="same: the input begins with what was accepted before, which is left out; more: all "
        "of it is new (default: same for a regular file, more for a pipe)",
    )
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
    if args.store is None:
        dialling = connect(args.uri, config=config, reconnect=backoff)
        sender = Sender(await _open(dialling, args.uri, backoff, args.retry), source)
        return await _run(sender, args)
    store = open_store(args)
    name = args.name
    dialling = connect(args.uri, config=config, reconnect=backoff, store=store, name=name)
    again = source.is_file if args.input is None else args.input == "same"
    try:
        conn = await _open(dialling, args.uri, backoff, args.retry)
        return await _run(KeptSender(conn, source, store, name, again=again), args)
    finally:
        close_store(store)


async def _run(sender: Sender, args: argparse.Namespace) -> int:
    began = asyncio.get_running_loop().time()
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
            "kept": report.count(Outcome.KEPT),
            "unknown_before": sender.unknown_before,
            "first_undelivered": first,
            "stopped": sender.why or None,
            "resumes": stats.resumes,
            "seconds": round(took, 3),
        }
        print(json.dumps(facts), flush=True)
    if not sender.why and not report.undelivered and not sender.unknown_before:
        complain(f"{report.sent:,} messages, all confirmed")
        return FINE
    why = sender.why
    if not why and sender.unknown_before:
        why = f"of {sender.unknown_before:,} messages of an earlier session nobody can say more"
    if not why and report.ending is not None and report.ending.kind is not End.FINISHED:
        why = f"the session is over: {report.ending}"
    complain(_undelivered(report, why))
    return INTERRUPTED if sender.interrupted else UNDELIVERED


def _undelivered(report: Report, why: str) -> str:
    says = f"{report.sent:,} messages sent, {report.confirmed:,} confirmed"
    if report.undelivered:
        kinds = [
            f"{count:,} {outcome.value}"
            for outcome in (Outcome.NOT_TAKEN, Outcome.UNKNOWN, Outcome.PENDING, Outcome.KEPT)
            if (count := report.count(outcome))
        ]
        first = report.undelivered[0].number
        says += f"; not confirmed: {', '.join(kinds)}, the first is number {first:,}"
    elif why:
        says += "; the rest of the input was not sent"
    return f"{why}: {says}" if why else says
