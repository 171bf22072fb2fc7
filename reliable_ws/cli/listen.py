"""``listen``: write down what arrives, and confirm it when it is written."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from reliable_ws.aio.serve import serve
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import StoreError
from reliable_ws.stores import SQLiteStore

from .common import (
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
from .listen_kept import KeptListener
from .listener import Listener
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

With --store the sessions are kept in a file. A process that was killed, or stopped, goes on where
it was when it is started again with the same file and the same port; senders come back by
themselves. What it may have written twice depends on the output:
  --output FILE: nothing. The length of the file is kept together with what is confirmed, and a
      tail that a killed process has left is cut off. Nobody else may write to it meanwhile.
  standard output, a pipe: a message that was written and not confirmed when the process died is
      written again. Standard error says which ones may be twice.
A signal then ends no session: senders are cut off, and wait for the next process.
"""

EXAMPLES = """\
examples:
  python -m reliable_ws listen --port 8765
  python -m reliable_ws listen --port 0 --output received.txt --once
  python -m reliable_ws listen --output received.txt --store listen.db

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
    add_store(parser, "the sessions")
    parser.add_argument("--late", type=seconds, default=0.0, help=argparse.SUPPRESS)
    add_limits(parser)
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Listen until a signal, or until the first session is over."""
    config = config_of(args)
    sink = Sink(args.output)
    if args.store is None:
        return await _run(Listener(sink, late=args.late, once=args.once), args, config, None)
    store = open_store(args)
    synced = args.survives == "power"
    try:
        listener = KeptListener(sink, store, synced=synced, late=args.late, once=args.once)
        return await _run(listener, args, config, store)
    except StoreError as error:
        raise Failure(str(error)) from None
    finally:
        close_store(store)


async def _run(
    listener: Listener, args: argparse.Namespace, config: Config, store: SQLiteStore | None
) -> int:
    options: dict[str, Any] = {"config": config, "on_event": listener.note, "store": store}
    server = serve(listener.handle, args.host, args.port, **options)
    try:
        running = await server
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise Failure(f"cannot listen on {args.host}:{args.port}: {why}") from None
    on_signals(listener.stop)
    host = f"[{args.host}]" if ":" in args.host else args.host
    complain(f"listening on ws://{host}:{running.port}")
    await listener.stopping.wait()
    drain = running.drain(args.drain_timeout, sessions="close" if store is None else "keep")
    draining = asyncio.ensure_future(drain)
    hurry = asyncio.ensure_future(listener.hurry.wait())
    await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
    draining.cancel()
    hurry.cancel()
    listener.sink.close()
    complain(f"{listener.written:,} messages written to {listener.sink.name}")
    if store is not None:
        complain(f"senders that have not finished go on with the next process: {store.path}")
    return listener.code
