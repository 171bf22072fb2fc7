"""``listen``: write down what arrives, and confirm it when it is written."""

from __future__ import annotations

import argparse
import asyncio
import base64
from typing import Any

from reliable_ws.aio.connection import Connection
from reliable_ws.aio.receiver import Delivery
from reliable_ws.aio.serve import serve
from reliable_ws.driver.status import ConnectionEvent
from reliable_ws.protocol.errors import (
    ConfirmTooLate,
    ConnectionClosed,
    ConnectionClosedOK,
    PayloadError,
)
from reliable_ws.protocol.report import End

from .common import FINE, UNDELIVERED, Failure, add_limits, complain, config_of, on_signals, seconds
from .sink import Sink

__all__ = ["add_to"]

DESCRIPTION = """\
Write down what arrives, one message per line, and confirm each message only after it has been
written and flushed: a sender that ends well cannot lie.

Text is written as UTF-8, bytes as they are, other values as JSON. A message that ends with a line
feed is written as it is; a line feed is added between two messages only where it is missing. So
what "send" reads from a file arrives here byte for byte. An existing output file is appended to.

SIGINT and SIGTERM drain: senders are told to stop, what they have sent is still written; a second
signal ends at once. "listening on URI" goes to standard error once senders may come.
"""

EXAMPLES = """\
examples:
  python -m reliable_ws listen --port 8765
  python -m reliable_ws listen --port 0 --output received.txt --once

exit codes:
  0  stopped by a signal; with --once: the sender finished
  1  the output could not be written; with --once: the session was lost
  2  cannot listen, or cannot write, from the beginning
"""


def add_to(commands: Any) -> None:
    """Add this command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "listen",
        help="write down what arrives",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    parser.add_argument("--port", type=int, default=8765, help="default: 8765; 0: a free one")
    parser.add_argument("--output", metavar="FILE", help="append here (default: standard output)")
    parser.add_argument("--once", action="store_true", help="end after the first session")
    parser.add_argument(
        "--drain-timeout",
        type=seconds,
        default=5.0,
        metavar="SECONDS",
        help="how long senders may take to stop after a signal (default: 5)",
    )
    parser.add_argument("--late", type=seconds, default=0.0, help=argparse.SUPPRESS)
    add_limits(parser)
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Listen until a signal, or until the first session is over."""
    config = config_of(args)
    listener = Listener(Sink(args.output), late=args.late, once=args.once)
    server = serve(listener.handle, args.host, args.port, config=config, on_event=listener.note)
    try:
        running = await server
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise Failure(f"cannot listen on {args.host}:{args.port}: {why}") from None
    on_signals(listener.stop)
    host = f"[{args.host}]" if ":" in args.host else args.host
    complain(f"listening on ws://{host}:{running.port}")
    await listener.stopping.wait()
    draining = asyncio.ensure_future(running.drain(args.drain_timeout))
    hurry = asyncio.ensure_future(listener.hurry.wait())
    await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
    draining.cancel()
    hurry.cancel()
    listener.sink.close()
    complain(f"{listener.written:,} messages written to {listener.sink.name}")
    return listener.code


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
        if event.name == "session_lost":
            complain(f"a session was lost: {event.reason} ({event.code})")
        if event.name == "closed" and self._once:
            ending = event.report.ending if event.report else None
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
            why = error.strerror
            complain(f"cannot write to {self.sink.name}: {why}; nothing more is confirmed")
            self.code = UNDELIVERED
            conn.start_closing(1011, "the output failed")
            self.stopping.set()

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
                            stats = conn.stats
                            left = min(stats.received - stats.taken, MAX_BATCH - len(batch))
                            if left <= 0:
                                self._write(batch)
                    return
                except PayloadError as error:
                    raw = base64.b64encode(error.raw).decode()
                    complain(f"{error}; written as JSON")
                    self._write(batch)
                    self.sink.write([{"$undecodable": raw}])
        finally:
            self._write(batch)

    def _write(self, batch: list[Delivery]) -> None:
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
            complain("the session ended before the last messages written could be confirmed")


MAX_BATCH = 8192
"""Messages that are written and flushed together at most."""
