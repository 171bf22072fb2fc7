"""``trace``: what a trace of the wire has, as a sequence to be read or as a diagram."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .common import FINE, Failure
from .trace_file import Event, Trace, described, left_out, read
from .trace_html import page

__all__ = ["ENDS", "add_to", "line", "line_of", "shown"]

DESCRIPTION = """\
Print what a trace of the wire has: the file of connect(..., trace=FILE), serve(..., trace=FILE) and
so on. With the files of both ends each WebSocket message is shown once, with the time that it was
on its way, and what did not arrive is seen.
"""

EXAMPLES = """\
examples:
  python -m reliable_ws trace client.jsonl
  python -m reliable_ws trace client.jsonl server.jsonl --session 1a2b
  python -m reliable_ws trace client.jsonl server.jsonl --html trace.html
"""

SHOWN = 2000
"""Lines of each session that are shown, unless --limit says otherwise."""

ENDS = {"initiator": ("client", "server"), "acceptor": ("server", "client")}
"""In words: this end, and the other one."""


def add_to(commands: Any) -> None:
    """Add this command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "trace",
        help="print a trace of the wire, or draw it",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="the trace of one end, or of both")
    parser.add_argument("other", metavar="FILE2", nargs="?", help="the trace of the other end")
    parser.add_argument("--session", metavar="ID", default="", help="only sessions whose id begins")
    parser.add_argument(
        "--limit",
        type=_limit,
        default=SHOWN,
        metavar="LINES",
        help=f"how many lines of each session are shown: the last (default: {SHOWN:,}; 0: all)",
    )
    parser.add_argument("--html", metavar="OUT", help="write a page with a diagram to OUT instead")
    parser.set_defaults(run=run)


def _limit(text: str) -> int:
    """Parse how many lines are shown."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines")
    return int(text)


async def run(args: argparse.Namespace) -> int:
    """Print the sequence, or write the page."""
    traces = read([path for path in (args.file, args.other) if path], args.session)
    if not traces:
        raise Failure("nothing of such a session is in there")
    for trace in traces:
        cut_to(trace, args.limit)
    if args.html:
        write(args.html, page(traces))
        return FINE
    for trace in traces:
        print("\n".join(lines(trace)))
    return FINE


def write(path: str, text: str) -> None:
    """Write a file, in UTF-8."""
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}") from None


def shown(trace: Trace) -> list[Event]:
    """Return the events that are shown: of a message that was sent and arrived, the first one."""
    return [one for one in trace.events if one.event != "gets" or one.partner is None]


def cut_to(trace: Trace, limit: int) -> None:
    """Keep the last events that are shown, and count those before; ``limit`` 0: keep them all."""
    events = shown(trace)
    trace.events = events[-limit:]
    trace.left_out = len(events) - len(trace.events)


def lines(trace: Trace) -> Iterator[str]:
    """Go through the lines about one session."""
    ends = " and ".join(ENDS[side][0] for side in trace.sides)
    yield f"session {trace.session[:8]}, seen by the {ends}"
    if words := left_out(trace):
        yield words
    for event in trace.events:
        yield line(event.time - trace.begin, line_of(event, trace))
    yield ""


def line(seconds: float, words: str) -> str:
    """Return the line of what happened so long after the first event."""
    return f"{seconds:11.4f}  {words}"


def line_of(event: Event, trace: Trace) -> str:
    """Return what happened, in words."""
    return f"link {event.link}  {_happened(event, trace)}"


def _happened(event: Event, trace: Trace) -> str:
    here, there = ENDS[event.role]
    match event.event:
        case "opens":
            return f"{here}: a WebSocket carries the session"
        case "lost":
            how = "without a close frame" if event.code is None else f"with {event.code}"
            return f"{here}: the WebSocket is gone, {how}" + (
                f": {event.reason}" if event.reason else ""
            )
        case "gets":
            return f"{there} -> {here}  {described(event)}"
    words = f"{here} -> {there}  {described(event)}"
    if event.again:
        words += "  [sent again]"
    if event.partner is not None:
        words += f"  [{(event.partner.time - event.time) * 1000:.1f} ms]"
    elif len(trace.sides) > 1:
        words += "  [did not arrive]"
    return words
