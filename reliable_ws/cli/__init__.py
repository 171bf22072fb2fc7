"""The command line: ``python -m reliable_ws COMMAND``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Sequence

import reliable_ws

from . import asyncapi, demo, doctor, listen, send, store, top, trace
from .common import INTERRUPTED, USAGE, Failure, complain

__all__ = ["main"]

DESCRIPTION = """\
Send lines over a WebSocket, or write down what arrives: in order, each once, confirmed when it
has been written, across any number of lost connections. With --store FILE also when processes are
killed and started again.
"""

EXAMPLES = """\
examples:
  python -m reliable_ws listen --port 8765 --output received.txt
  python -m reliable_ws send ws://127.0.0.1:8765 --file access.log
  tail -f access.log | python -m reliable_ws send ws://127.0.0.1:8765
  python -m reliable_ws send ws://127.0.0.1:8765 --file access.log --store send.db
  python -m reliable_ws store send.db
  python -m reliable_ws trace client.jsonl server.jsonl --html trace.html
  python -m reliable_ws doctor wss://example.org/live
  python -m reliable_ws demo

exit codes, of every command:
  0    all is well: for send, every message was confirmed
  1    not so: messages undelivered, the output not writable, the session lost
  2    nothing was begun: wrong usage, cannot connect, cannot listen
  130  interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m reliable_ws",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=reliable_ws.__version__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (listen, send, store, trace, doctor, top, asyncapi, demo):
        command.add_to(commands)
    args = parser.parse_args(argv)
    try:
        code: int = asyncio.run(args.run(args))
    except Failure as failure:
        complain(str(failure))
        code = failure.code
    except (KeyboardInterrupt, asyncio.CancelledError):
        complain("interrupted")
        code = INTERRUPTED
    except BrokenPipeError:
        complain("nobody reads the output any more")
        code = USAGE
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    return code
