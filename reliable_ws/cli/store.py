"""``store``: what the file of a store has, and whether it is whole."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from reliable_ws.protocol.report import Outcome
from reliable_ws.protocol.stored_session import StoredSession
from reliable_ws.store import Stored, StoreError

from .common import FINE, UNDELIVERED, Failure, complain
from .sink import as_bytes

__all__ = ["add_to"]

DESCRIPTION = """\
List the sessions that a store has kept: SQLiteStore(FILE) of a program, or --store FILE of "send"
and "listen". Nothing is written, and a process that has the file open is not disturbed: a copy is
looked at.

"unconfirmed" are the messages of this side that are owed to the peer. They are sent by the process
that opens the file next, or has it open.
"""

EXAMPLES = """\
examples:
  python -m reliable_ws store orders.db
  python -m reliable_ws store orders.db --check && cp orders.db orders.db-wal /backup/
  python -m reliable_ws store orders.db --export > unconfirmed.jsonl

exit codes:
  0  the file is whole
  1  it is damaged: standard error says where
  2  it cannot be looked at: it is absent, of something else, or of a newer release
"""


def add_to(commands: Any) -> None:
    """Add this command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "store",
        help="list and check what the file of a store has",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="the file")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--check", action="store_true", help="only check the file")
    how.add_argument("--json", action="store_true", help="list as JSON, one session per line")
    how.add_argument(
        "--export",
        action="store_true",
        help="print the unconfirmed messages as JSON, one per line: session, name, number, key, "
        "message (bytes as base64)",
    )
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Look at the file."""
    try:
        from reliable_ws.stores.examine import examine

        found = examine(args.file)
    except (StoreError, ImportError) as error:
        raise Failure(str(error)) from None
    damage = list(found.damage)
    sessions: list[_Session] = []
    for stored, until in found.sessions:
        try:
            sessions.append(_Session(stored, until))
        except ValueError as error:
            damage.append(f"session {stored.session.hex()}: {error}")
    if args.export:
        for session in sessions:
            for line in session.exported():
                print(line)
    elif args.json:
        for session in sessions:
            print(json.dumps(session.facts))
    else:
        print("\n".join(_about(found, time.time())))
        if not args.check:
            print("\n".join(_listed(sessions, found.alive_at, time.time())))
    for sentence in damage:
        complain(f"{args.file}: damaged: {sentence}")
    if args.check and not damage:
        print("whole")
    return UNDELIVERED if damage else FINE


class _Session:
    """One session of the file."""

    def __init__(self, stored: Stored, until: float | None) -> None:
        """Raise ``ValueError`` if it is none."""
        kept = StoredSession(stored)
        self.kept = kept
        report = kept.report()
        self._owed = [one for one in report.undelivered if one.outcome is not Outcome.CONFIRMED]
        about = kept.about
        self.side = "initiator" if kept.role == "initiator" else "acceptor"
        name = about.get("name") if self.side == "initiator" else about.get("principal")
        if kept.ending is not None:
            state = f"ended: {kept.ending}"
        elif kept.closing:
            state = "being closed"
        else:
            state = "goes on"
        self.facts: dict[str, Any] = {
            "session": kept.id.hex(),
            "side": self.side,
            "name": name if isinstance(name, str | None) else repr(name),
            "state": state,
            "sent": report.sent,
            "confirmed": report.confirmed,
            "unconfirmed": len(self._owed),
            "bytes": sum(len(run.data) for run in stored.messages)
            + sum(len(send.data) for send in stored.sends),
            "contact": kept.contact,
            "attached": kept.attached,
            "uncertain": stored.uncertain,
            "forgotten_at": until,
        }

    def exported(self) -> list[str]:
        """Return the messages that are owed, as JSON."""
        keys = {number: key for key, number in self.kept.keys.items()}
        return [
            as_bytes(
                {
                    "session": self.kept.id.hex(),
                    "name": self.facts["name"],
                    "number": one.number,
                    "key": keys.get(one.number),
                    "message": one.message,
                }
            ).decode()
            for one in self._owed
        ]


def _about(found: Any, now: float) -> list[str]:
    if found.size == 0:
        return [f"{found.path}: empty, as a new store is"]
    if found.holder is not None:
        state = f"process {found.holder} has it open"
    elif found.clean:
        state = "closed in order"
    else:
        state = "not closed in order: its process was killed, or has it open"
    seen = "" if found.alive_at is None else f", seen alive {_ago(found.alive_at, now)}"
    survives = "unknown" if found.survives is None else found.survives
    return [
        f"{found.path}: {found.size:,} bytes, survives={survives}, schema {found.version}",
        f"{state}{seen}",
    ]


def _listed(sessions: list[_Session], alive_at: float | None, now: float) -> list[str]:
    if not sessions:
        return ["no sessions"]
    rows = [("session", "side", "name or principal", "unconfirmed", "bytes", "contact", "state")]
    sessions = sorted(sessions, key=lambda session: session.facts["contact"])  # oldest first
    for session in sessions:
        facts = session.facts
        contact = facts["contact"]
        if facts["attached"] and alive_at is not None:  # as long as its process lived
            contact = max(contact, alive_at)
        rows.append(
            (
                facts["session"][:8],
                facts["side"],
                "-" if facts["name"] is None else facts["name"],
                f"{facts['unconfirmed']:,}",
                f"{facts['bytes']:,}",
                _ago(contact, now),
                facts["state"] + (", uncertain" if facts["uncertain"] else ""),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = [
        "  ".join(
            (
                *(
                    f"{cell:>{width}}" if column in (3, 4) else f"{cell:<{width}}"
                    for column, (cell, width) in enumerate(zip(row, widths, strict=False))
                ),
                row[6],
            )
        )
        for row in rows
    ]
    total = sum(session.facts["unconfirmed"] for session in sessions)
    size = sum(session.facts["bytes"] for session in sessions)
    return [
        "",
        *lines,
        "",
        f"{len(sessions):,} sessions, {total:,} messages unconfirmed, {size:,} bytes",
    ]


def _ago(then: float, now: float) -> str:
    seconds = now - then
    if seconds < 0:
        return "in the future"
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
