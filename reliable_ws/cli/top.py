"""``top``: the sessions of a process that serves a live page, those that wait longest first."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from .common import FINE, Failure, seconds

__all__ = ["add_to"]

DESCRIPTION = """\
Show what the sessions of a process do, and what they wait for. The process serves its live page:
reliable_ws.live(server, token=...), see docs/live.md.
"""

EXAMPLES = """\
examples:
  python -m reliable_ws top "http://127.0.0.1:9999/#TOKEN"
  RELIABLE_WS_TOKEN=... python -m reliable_ws top http://127.0.0.1:9999/ --once
"""

UNAUTHORIZED = 401

ANSWER_WITHIN = 10
"""Seconds for an answer."""

SILENT_AFTER = 2.0
"""Seconds without an answer after which that is shown, and again after as many more."""

CLEAR = "\x1b[H\x1b[2J"
LEAST_ROWS = 10
WHY = " " * 35
"""What stands before the column "why"."""


class NoAnswer(Failure):
    """The process accepts a connection, and says nothing."""


def add_to(commands: Any) -> None:
    """Add this command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "top",
        help="show what the sessions of a process wait for",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("uri", metavar="URL", help="of the live page; the token behind a #")
    parser.add_argument("--every", type=seconds, default=1.0, metavar="SECONDS", help="default: 1")
    parser.add_argument("--once", action="store_true", help="print it once, and end")
    parser.add_argument("--json", action="store_true", help="print it once as JSON, and end")
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Show it until interrupted."""
    parts = urlsplit(args.uri)
    if parts.scheme not in ("http", "https"):
        raise Failure(f"a live page has an address like http://127.0.0.1:9999/, not {args.uri}")
    token = parts.fragment or os.environ.get("RELIABLE_WS_TOKEN", "")
    path = f"{parts.path.rstrip('/')}/state.json"
    uri = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    if args.json:
        print(json.dumps(await asyncio.to_thread(_state, uri, token), indent=2))
        return FINE
    if args.once:
        state = await asyncio.to_thread(_state, uri, token)
        print("\n".join(lines(state, shutil.get_terminal_size().columns)), flush=True)
        return FINE
    return await _go_on(uri, token, args.every)


async def _go_on(uri: str, token: str, every: float) -> int:
    """Show it again and again; while there is no answer, say so above what was shown last."""
    clock, text = time.monotonic, ""
    asked_at = clock()
    while True:
        asking = asyncio.ensure_future(asyncio.to_thread(_state, uri, token))
        while not (await asyncio.wait({asking}, timeout=SILENT_AFTER))[0]:
            words = f"no answer for {clock() - asked_at:.0f} s: something may block its event loop"
            print(f"{CLEAR}{words}\n{text}", flush=True)
        try:
            state = asking.result()
        except NoAnswer:
            if not text:  # there never was one
                raise
            continue
        size = shutil.get_terminal_size()
        rows = max(LEAST_ROWS, size.lines - 2)
        text = "\n".join(list(lines(state, size.columns))[:rows])
        print(f"{CLEAR}{text}", flush=True)
        await asyncio.sleep(every)
        asked_at = clock()


def _state(uri: str, token: str) -> dict[str, Any]:
    """Ask for the state."""
    request = urllib.request.Request(uri, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 - http
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_WITHIN) as answer:  # noqa: S310 - the same
            state: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            words = error.read().decode(errors="replace").strip()
        if error.code == UNAUTHORIZED:
            what = "another token" if token else "its token: put it behind a # in the URL"
            raise Failure(f"{uri} wants {what}, or set RELIABLE_WS_TOKEN") from None
        raise Failure(f"{uri}: {error.code}, {words:.200}") from None
    except TimeoutError:
        raise NoAnswer(
            f"{uri} did not answer within {ANSWER_WITHIN} s: something may block its event loop"
        ) from None
    except (OSError, ValueError) as error:
        raise Failure(f"{uri}: {getattr(error, 'reason', error)}") from None
    if state.get("format") != "reliable_ws live":
        raise Failure(f"{uri} is no live page of reliable_ws")
    return state


def lines(state: dict[str, Any], width: int) -> Iterator[str]:
    """Go through what is shown, in lines no longer than this. Nothing is cut off."""
    if stall := state.get("loop"):  # an older process says nothing of it
        yield from textwrap.wrap(stall, width)
        yield ""
    for endpoint in state["endpoints"]:
        figures = endpoint["figures"]
        alive = ", ".join(f"{count} {name}" for name, count in figures["sessions"].items())
        name = f"{endpoint['endpoint']}: " if endpoint["endpoint"] else ""
        yield from textwrap.wrap(f"{name}{alive or 'no session lives'}", width)
        oldest = f"oldest message {figures['outbox_seconds']:.1f} s"
        words = (
            f"out: {figures['outbox_messages']:,} wait, {oldest}; "
            f"in: {figures['inbox_messages']:,} wait, {figures['inbox_seconds']:.1f} s; "
            f"{figures['resumes']:,} resumes, {figures['replayed']:,} sent again"
        )
        yield from textwrap.wrap(words, width, subsequent_indent="  ")
        yield f"{'session':8}  {'waits':>8}  {'state':13}  why"
        for one in endpoint["sessions"]:
            waits = f"{one['seconds']:.1f} s" if one["seconds"] else ""
            whose = f" ({one['principal']})" if one["principal"] else ""
            words = f"{one['session']}  {waits:>8}  {one['state']:13}  {one['line']}{whose}"
            yield from textwrap.wrap(words, width, subsequent_indent=WHY) or [words]
        if endpoint["left_out"]:
            yield f"and {endpoint['left_out']:,} more"
        yield ""
