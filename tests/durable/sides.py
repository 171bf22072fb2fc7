"""The two programs: each sends, takes and asks, and writes down what it does before and after.

What both kinds of a program have in common is here: :mod:`.task_sides` has those of asyncio,
:mod:`.thread_sides` those with threads.
"""

from __future__ import annotations

import random
import socket
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

from websockets.exceptions import WebSocketException

import reliable_ws
from reliable_ws import Backoff, Config, Methods, SQLiteStore

from .board import Board
from .ledger import Notes, read
from .points import cross

__all__ = ["BACKOFF", "CONFIG", "TROUBLE", "Kind", "Life", "Side", "id_of"]

CONFIG = Config(
    max_frame=8192,  # so that some messages travel in parts
    ack_delay=0.002,
    open_timeout=5,
    close_progress_timeout=10,
    close_timeout=10,
)
BACKOFF = Backoff(initial=0.005, longest=0.05)

TROUBLE = (OSError, WebSocketException, reliable_ws.ReliableWSError)
"What an initiator gets whose acceptor has just died."

LARGE = 20_000
STYLES = ("key", "apply", "plain", "nowait")
TABLES = (
    "create table if not exists mine (id text, number integer)",
    "create table if not exists took (key text, id text)",
)

Kind = Literal["tasks", "threads"]


class Life(NamedTuple):
    """One process of a side."""

    directory: Path
    side: str
    number: int
    seed: int
    board: Board
    listening: socket.socket
    survives: Any
    kind: Kind = "tasks"
    store: Any = None
    "Instead of a :class:`SQLiteStore` of the side's file."
    notes: Any = None
    "Instead of a file of the side's own."
    patience: float = 1e9
    "Seconds after which the acceptor leaves sessions that do not come to an end."


class Side:
    """What a program does that waits for nothing."""

    work: Any
    "The method that the peer may request."

    def __init__(self, life: Life) -> None:
        self.life = life
        self.chance = random.Random(life.seed)
        path = life.directory / f"{life.side}.notes"
        self.before = read(path)
        self.notes = life.notes or Notes(path)
        self.count = 0
        file = life.directory / f"{life.side}.db"
        self.store = life.store or SQLiteStore(file, survives=life.survives)
        self.methods = Methods()
        self.methods.add(self.work, name="work")
        opened = [line[1] for line in self.before if line[0] == "open"]
        self.newest: str | None = opened[-1] if opened else None
        self.gone_since: float | None = None  # the peer
        self.empty_since: float | None = None

    @property
    def uri(self) -> str:
        return f"ws://127.0.0.1:{self.life.listening.getsockname()[1]}"

    def note(self, *fields: Any) -> None:
        self.notes.write(*fields)

    def new_id(self) -> str:
        self.count += 1
        return f"{self.life.side[0]}{self.life.number}.{self.count}"

    def happened(self, event: Any) -> None:
        if event.name in ("closed", "session_lost", "superseded"):
            self.note("event", event.name, event.code, event.reason)

    # ------------------------------------------------------------------ messages of ours

    def left_over(self) -> list[tuple[str, str]]:
        """Sends with a key that an earlier process began, and of which it does not know."""
        begun = {line[1]: line[2] for line in self.before if line[0] == "try"}
        for line in self.before:
            if line[0] in ("accepted", "refused"):
                begun.pop(line[1], None)
        return [(id_, style) for id_, style in begun.items() if style in ("key", "apply")]

    def plan_sends(self, count: int) -> list[list[tuple[str, str]]]:
        """Which messages to send, and which of them together."""
        todo = self.left_over()
        self.before = []
        todo += [(self.new_id(), self.chance.choice(STYLES)) for _ in range(count)]
        batches = []
        while todo:
            together = self.chance.choice((1, 1, 2, 7))
            batches.append(todo[:together])
            todo = todo[together:]
        return batches

    def begin_send(self, id_: str, style: str) -> tuple[str, Any]:
        """Return a message, and the work that is kept with it."""
        size = LARGE if self.chance.random() < 0.05 else self.chance.randint(0, 200)
        self.note("try", id_, style)
        cross("send")

        def work(db: Any) -> None:
            for table in TABLES:
                db.execute(table)
            db.execute("insert into mine values (?, 1)", (id_,))

        return f"{id_} {style} {'x' * size}", work

    def note_accepted(self, conn: Any, id_: str, receipt: Any, *, earlier: bool) -> None:
        self.note("accepted", id_, None if earlier else conn.id.hex(), receipt.number)

    def note_unsent(self, batch: list[tuple[str, str]], results: list[Any]) -> bool:
        """Write down which sends of a batch have raised; whether nothing more is taken."""
        errors = [error for error in results if isinstance(error, BaseException)]
        for (id_, style), error in zip(batch, results, strict=True):
            if isinstance(error, BaseException):
                self.note("untold", id_, style, repr(error))
        if errors and not isinstance(errors[0], reliable_ws.ConnectionClosed):
            raise errors[0]
        return bool(errors)

    # ------------------------------------------------------------------ messages of the peer

    def note_got(self, delivery: Any) -> None:
        self.note("got", delivery.key, id_of(delivery), delivery.redelivered)
        cross("got")

    def begin_confirm(self, delivery: Any) -> Any:
        """Return the work to confirm a delivery with, or ``None``: to be confirmed without."""
        id_ = id_of(delivery)
        cross("confirming")
        if int(id_.split(".")[1]) % 2 == 0:
            return None

        def work(db: Any) -> None:
            for table in TABLES:
                db.execute(table)
            db.execute("insert into took values (?, ?)", (delivery.key, id_))
            cross("apply")

        return work

    def note_did(self, delivery: Any, work: Any) -> None:
        cross("confirmed")
        self.note("did", delivery.key, work is not None)

    # ------------------------------------------------------------------ sessions

    def note_open(self, conn: Any) -> None:
        """Write down that a client is connected, and what became of the session before."""
        restored = conn.restored
        if restored is not None and restored.previous is not None:
            self.note_report(self.newest, restored.previous)
        self.newest = conn.id.hex()
        self.note("open", self.newest, restored is not None and restored.uncertain)

    def note_report(self, session: str | None, report: Any) -> None:
        lacking = {entry.number: entry.outcome.value for entry in report.undelivered}
        kind = None if report.ending is None else str(report.ending)
        self.note("report", session, report.sent, lacking, kind)

    def is_over(self, sessions: int) -> bool:
        """Whether an acceptor is to end: its peer has, and so have its sessions."""
        path = self.life.directory / "initiator.notes"
        if not (self.life.board.finishing and path.exists()):
            return False
        if not path.read_bytes().endswith(b'["end"]\n'):
            return False
        now = time.monotonic()
        self.gone_since = self.gone_since or now
        self.empty_since = None if sessions else self.empty_since or now
        is_left = now > self.gone_since + self.life.patience
        return is_left or (self.empty_since is not None and now > self.empty_since + 0.2)


def id_of(delivery: Any) -> str:
    """Return which message of its sender this is."""
    return str(delivery.message).split(" ", 1)[0]
