"""What the commands share: exit codes, complaints, signals, and the limits of a session."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import StoreError
from reliable_ws.stores import SQLiteStore

__all__ = [
    "FINE",
    "INTERRUPTED",
    "UNDELIVERED",
    "USAGE",
    "Failure",
    "add_limits",
    "add_store",
    "close_store",
    "complain",
    "config_of",
    "on_signals",
    "open_store",
    "seconds",
]

FINE, UNDELIVERED, USAGE, INTERRUPTED = 0, 1, 2, 130


class Failure(Exception):
    """Ends a command: one sentence for people, and the exit code."""

    def __init__(self, sentence: str, code: int = USAGE) -> None:
        super().__init__(sentence)
        self.code = code


def complain(sentence: str) -> None:
    """Tell people, not pipes."""
    print(f"reliable_ws: {sentence}", file=sys.stderr, flush=True)


def on_signals(call: Callable[[], object]) -> None:
    """Call this, in the event loop, at SIGINT and SIGTERM."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, call)
        except NotImplementedError:  # Windows

            def handle(_number: int, _frame: object) -> None:
                loop.call_soon_threadsafe(call)

            signal.signal(number, handle)


def seconds(text: str) -> float:
    """Parse a positive number of seconds."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of seconds")
    return value


def _limit(text: str) -> tuple[str, Any]:
    """Parse NAME=VALUE; whether the value is in range says Config."""
    name, _, value = text.partition("=")
    known = {field.name: field for field in dataclasses.fields(Config)}
    if name not in known:
        raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(known)}")
    kind = float if isinstance(known[name].default, float) else int
    try:
        return name, kind(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{name} is not {value!r} but a number") from None


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add the options that :func:`config_of` reads."""
    limits = parser.add_argument_group("limits")
    limits.add_argument(
        "--session-ttl",
        type=seconds,
        metavar="SECONDS",
        help="how long the session outlives contact with the peer (default: 120)",
    )
    limits.add_argument(
        "--limit",
        type=_limit,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any field of reliable_ws.Config, for example idle_timeout=5; may be repeated",
    )


def config_of(args: argparse.Namespace, **defaults: float) -> Config:
    """Return the limits that were asked for."""
    values: dict[str, Any] = {**defaults, **dict(args.limit)}
    if args.session_ttl is not None:
        values["session_ttl"] = args.session_ttl
    try:
        return Config(**values)
    except ValueError as error:
        raise Failure(str(error)) from None


def add_store(parser: argparse.ArgumentParser, what: str) -> Any:
    """Add the options that :func:`open_store` reads; return their group."""
    group = parser.add_argument_group("going on after the death of the process")
    group.add_argument(
        "--store",
        metavar="FILE",
        help=f"keep {what} in FILE; it is made if it is absent, and has its own lock",
    )
    group.add_argument(
        "--survives",
        choices=("power", "process"),
        default="power",
        help="what the store survives: a power cut as well, or only the death of the process, "
        "which is faster on most disks (default: power)",
    )
    return group


def open_store(args: argparse.Namespace) -> SQLiteStore:
    """Open the store that was asked for."""
    try:
        store = SQLiteStore(args.store, survives=args.survives)
        with _no_warning():
            store.open()
    except (StoreError, ValueError) as error:
        raise Failure(str(error)) from None
    return store


def close_store(store: SQLiteStore) -> None:
    """Close a store; say if that fails. What it has kept is kept."""
    try:
        store.close()
    except StoreError as error:
        complain(str(error))


@contextmanager
def _no_warning() -> Generator[None]:
    """Leave out which releases of SQLite have a fault: these commands lock the file."""
    logger = logging.getLogger("reliable_ws")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
