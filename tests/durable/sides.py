"""The two programs: each sends, takes and asks, and writes down what it does before and after."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import random
import signal
import socket
import time
from pathlib import Path
from typing import Any, NamedTuple

from websockets.exceptions import InvalidHandshake

import reliable_ws
from reliable_ws import Backoff, Config, Methods, SQLiteStore

from . import points
from .board import Board
from .ledger import Notes, read
from .points import cross

__all__ = ["Life", "live"]

CONFIG = Config(
    max_frame=8192,  # so that some messages travel in parts
    ack_delay=0.002,
    open_timeout=5,
    close_progress_timeout=10,
    close_timeout=10,
)
BACKOFF = Backoff(initial=0.005, longest=0.05)

LARGE = 20_000
STYLES = ("key", "apply", "plain", "nowait")
TABLES = (
    "create table if not exists mine (id text, number integer)",
    "create table if not exists took (key text, id text)",
)


class Life(NamedTuple):
    """One process of a side."""

    directory: Path
    side: str
    number: int
    seed: int
    board: Board
    listening: socket.socket
    survives: Any
    store: Any = None
    "Instead of a :class:`SQLiteStore` of the side's file."
    notes: Any = None
    "Instead of a file of the side's own."
    patience: float = 1e9
    "Seconds after which the acceptor leaves sessions that do not come to an end."


def live(life: Life) -> None:
    """Be that process."""
    log = os.open(life.directory / f"{life.side}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    logging.basicConfig(level=logging.INFO, force=True)
    points.begin(life.board, life.side)
    faulthandler.register(signal.SIGUSR2)  # a side that stands still is asked where
    asyncio.run((Initiator if life.side == "initiator" else Acceptor)(life).run())


def show_tasks() -> None:
    """Write down where each task waits."""
    for task in asyncio.all_tasks():
        task.print_stack()


class Side:
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
        self.watched: set[asyncio.Task[None]] = set()

    def note(self, *fields: Any) -> None:
        self.notes.write(*fields)

    def new_id(self) -> str:
        self.count += 1
        return f"{self.life.side[0]}{self.life.number}.{self.count}"

    def left_over(self) -> list[tuple[str, str]]:
        """Sends with a key that an earlier process began, and of which it does not know."""
        begun = {line[1]: line[2] for line in self.before if line[0] == "try"}
        for line in self.before:
            if line[0] in ("accepted", "refused"):
                begun.pop(line[1], None)
        return [(id_, style) for id_, style in begun.items() if style in ("key", "apply")]

    def happened(self, event: Any) -> None:
        if event.name in ("closed", "session_lost", "superseded"):
            self.note("event", event.name, event.code, event.reason)

    # ------------------------------------------------------------------ requests

    async def work(self, id_: str) -> str:
        self.note("run", id_)
        cross("run")
        await asyncio.sleep(self.chance.choice((0, 0.001, 0.003)))
        self.note("ran", id_)
        cross("ran")
        return id_

    async def ask(self, conn: reliable_ws.Connection, count: int) -> None:
        for _ in range(count):
            id_ = self.new_id()
            self.note("ask", id_)
            cross("request")
            try:
                answer = await conn.request("work", [id_])
            except Exception as error:
                self.note("fault", id_, type(error).__name__, str(error))
                if not isinstance(error, reliable_ws.RemoteError):
                    return
            else:
                self.note("answer", id_, answer)
            cross("answered")

    # ------------------------------------------------------------------ messages of ours

    async def send(self, conn: reliable_ws.Connection, id_: str, style: str) -> None:
        size = LARGE if self.chance.random() < 0.05 else self.chance.randint(0, 200)
        message = f"{id_} {style} {'x' * size}"
        self.note("try", id_, style)
        cross("send")
        if style == "key":
            receipt = await conn.send(message, key=id_)
        elif style == "apply":

            def work(db: Any) -> None:
                for table in TABLES:
                    db.execute(table)
                db.execute("insert into mine values (?, 1)", (id_,))

            receipt = await conn.send(message, key=id_, apply=work)
        elif style == "plain":
            receipt = await conn.send(message)
        else:
            receipt = conn.send_nowait(message)
            await receipt.stored
        cross("sent")
        earlier = type(receipt) is not reliable_ws.Receipt
        if style == "apply" and not earlier:  # accepted; its number may change with the process
            self.note("accepted", id_, None, 0)
            await receipt.stored
        self.note("accepted", id_, None if earlier else conn.id.hex(), receipt.number)
        watcher = asyncio.ensure_future(self.watch(id_, receipt))
        self.watched.add(watcher)
        watcher.add_done_callback(self.watched.discard)

    async def watch(self, id_: str, receipt: reliable_ws.Receipt) -> None:
        try:
            await receipt
        except reliable_ws.DeliveryError:
            pass
        except Exception as error:
            self.note("oops", repr(error))
        self.note("known", id_, receipt.outcome.value)

    async def send_some(self, conn: reliable_ws.Connection, count: int) -> None:
        """Send a number of messages, some of them together. Stops when nothing more is taken."""
        todo = self.left_over()
        self.before = []
        todo += [(self.new_id(), self.chance.choice(STYLES)) for _ in range(count)]
        while todo:
            together = self.chance.choice((1, 1, 2, 7))
            batch, todo = todo[:together], todo[together:]
            results = await asyncio.gather(
                *(self.send(conn, *one) for one in batch), return_exceptions=True
            )
            if errors := [error for error in results if isinstance(error, BaseException)]:
                for (id_, style), error in zip(batch, results, strict=True):
                    if isinstance(error, BaseException):
                        self.note("untold", id_, style, repr(error))
                if not isinstance(errors[0], reliable_ws.ConnectionClosed):
                    raise errors[0]
                return

    # ------------------------------------------------------------------ messages of the peer

    async def take(self, conn: reliable_ws.Connection, limit: int | None = None) -> None:
        """Take messages and confirm them, some of them late and out of order."""
        late: set[asyncio.Task[None]] = set()
        taken = 0
        with contextlib.suppress(reliable_ws.ConnectionClosed):
            async for delivery in conn.deliveries():
                id_ = delivery.message.split(" ")[0]
                self.note("got", delivery.key, id_, delivery.redelivered)
                cross("got")
                taken += 1
                if taken == limit:
                    return
                if self.chance.random() < 0.3:
                    late.add(asyncio.create_task(self.confirm_late(delivery)))
                else:
                    await self.confirm(delivery)
            await asyncio.gather(*late)

    async def confirm_late(self, delivery: Any) -> None:
        await asyncio.sleep(self.chance.choice((0, 0.001, 0.005)))
        await self.confirm(delivery)

    async def confirm(self, delivery: Any) -> None:
        id_ = delivery.message.split(" ")[0]
        applied = int(id_.split(".")[1]) % 2 == 1

        def work(db: Any) -> None:
            for table in TABLES:
                db.execute(table)
            db.execute("insert into took values (?, ?)", (delivery.key, id_))
            cross("apply")

        cross("confirming")
        try:
            if applied:
                await delivery.confirm(apply=work)
            else:
                delivery.confirm()
        except reliable_ws.ConfirmTooLate:
            return
        cross("confirmed")
        self.note("did", delivery.key, applied)


class Initiator(Side):
    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, show_tasks)
        port = self.life.listening.getsockname()[1]
        self.uri = f"ws://127.0.0.1:{port}"
        opened = [line[1] for line in self.before if line[0] == "open"]
        self.newest = opened[-1] if opened else None
        while True:
            try:
                await self.one_session()
                if self.life.board.finishing:
                    break
            except (OSError, InvalidHandshake, reliable_ws.ReliableWSError) as error:
                self.note("oops", type(error).__name__)  # the acceptor has just died
                await asyncio.sleep(0.01)
        self.store.close()
        self.note("end")

    async def one_session(self) -> None:
        conn = await reliable_ws.connect(
            self.uri,
            store=self.store,
            name="orders",
            config=CONFIG,
            reconnect=BACKOFF,
            methods=self.methods,
            on_event=self.happened,
        )
        restored = conn.restored
        if restored is not None and restored.previous is not None:
            self.report(self.newest, restored.previous)
        self.newest = conn.id.hex()
        self.note("open", self.newest, restored is not None and restored.uncertain)
        taking = asyncio.create_task(self.take(conn))
        asking = asyncio.create_task(self.ask(conn, self.chance.randint(0, 4)))
        await self.send_some(conn, self.chance.randint(1, 15))
        polite = self.chance.random() < 0.7
        if polite:
            with contextlib.suppress(reliable_ws.DeliveryError):
                await conn.flush()
            await conn.finish()
            await taking
        cross("closing")
        with contextlib.suppress(reliable_ws.DeliveryError):
            await conn.close()
        cross("closed")
        self.report(conn.id.hex(), conn.report)
        await asyncio.gather(taking, asking)
        while self.watched:
            await asyncio.wait(self.watched)

    def report(self, session: str | None, report: Any) -> None:
        lacking = {entry.number: entry.outcome.value for entry in report.undelivered}
        kind = None if report.ending is None else str(report.ending)
        self.note("report", session, report.sent, lacking, kind)


class Acceptor(Side):
    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, show_tasks)
        server = await reliable_ws.serve(
            self.handler,
            sock=self.life.listening,
            store=self.store,
            config=CONFIG,
            methods=self.methods,
            on_event=self.happened,
        )
        empty_since = gone_since = None
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            if not self.life.board.finishing or not self.peer_is_gone():
                continue
            gone_since = gone_since or now
            empty_since = None if len(server.sessions) else empty_since or now
            if now > gone_since + self.life.patience or (empty_since and now > empty_since + 0.2):
                break
        await server.drain(1)
        self.store.close()
        self.note("end")

    def peer_is_gone(self) -> bool:
        path = self.life.directory / "initiator.notes"
        return path.exists() and path.read_bytes().endswith(b'["end"]\n')

    async def handler(self, conn: reliable_ws.Connection) -> None:
        self.note("handler", conn.id.hex(), conn.restored is not None and conn.restored.uncertain)
        limit = self.chance.randint(1, 12) if self.chance.random() < 0.35 else None
        taking = asyncio.create_task(self.take(conn, limit))
        asking = asyncio.create_task(self.ask(conn, self.chance.randint(0, 2)))
        try:
            await self.send_some(conn, self.chance.randint(0, 8))
            await taking
            if limit is None:
                await asking
        finally:
            cross("closing")
            taking.cancel()
            asking.cancel()
