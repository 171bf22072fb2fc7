"""The programs with threads."""

from __future__ import annotations

import contextlib
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import reliable_ws
from reliable_ws import sync
from reliable_ws.sync.durable_sender import EarlierReceipt

from .points import cross
from .sides import BACKOFF, CONFIG, TROUBLE, Life, Side

__all__ = ["Acceptor", "Initiator"]


class ThreadSide(Side):
    def __init__(self, life: Life) -> None:
        super().__init__(life)
        self.threads = ThreadPoolExecutor(200)  # more than one side ever has
        self.watched: list[Future[None]] = []

    # ------------------------------------------------------------------ requests

    def work(self, id_: str) -> str:
        self.note("run", id_)
        cross("run")
        time.sleep(self.chance.choice((0, 0.001, 0.003)))
        self.note("ran", id_)
        cross("ran")
        return id_

    def ask(self, conn: sync.Connection, count: int) -> None:
        for _ in range(count):
            id_ = self.new_id()
            self.note("ask", id_)
            cross("request")
            try:
                answer = conn.request("work", [id_])
            except Exception as error:
                self.note("fault", id_, type(error).__name__, str(error))
                if not isinstance(error, reliable_ws.RemoteError):
                    return
            else:
                self.note("answer", id_, answer)
            cross("answered")

    # ------------------------------------------------------------------ messages of ours

    def send(self, conn: sync.Connection, id_: str, style: str) -> None:
        message, work = self.begin_send(id_, style)
        if style == "key":
            receipt = conn.send(message, key=id_)
        elif style == "apply":
            receipt = conn.send(message, key=id_, apply=work)
        elif style == "plain":
            receipt = conn.send(message)
        else:
            receipt = conn.send_nowait(message)
            receipt.wait_stored()
        cross("sent")
        earlier = isinstance(receipt, EarlierReceipt)
        if style == "apply" and not earlier:  # accepted; its number may change with the process
            self.note("accepted", id_, None, 0)
            receipt.wait_stored()
        self.note_accepted(conn, id_, receipt, earlier=earlier)
        self.watched.append(self.threads.submit(self.watch, id_, receipt))

    def watch(self, id_: str, receipt: sync.Receipt) -> None:
        try:
            receipt.wait()
        except reliable_ws.DeliveryError:
            pass
        except Exception as error:
            self.note("oops", repr(error))
        self.note("known", id_, receipt.outcome.value)

    def send_some(self, conn: sync.Connection, count: int) -> None:
        """Send a number of messages, some of them together. Stops when nothing more is taken."""
        for batch in self.plan_sends(count):
            sending = [self.threads.submit(self.send, conn, *one) for one in batch]
            if self.note_unsent(batch, [one.exception() for one in sending]):
                return

    # ------------------------------------------------------------------ messages of the peer

    def take(self, conn: sync.Connection, limit: int | None = None) -> None:
        """Take messages and confirm them, some of them late and out of order."""
        late: list[Future[None]] = []
        taken = 0
        with contextlib.suppress(reliable_ws.ConnectionClosed):
            for delivery in conn.deliveries():
                self.note_got(delivery)
                taken += 1
                if taken == limit:
                    return
                if self.chance.random() < 0.3:
                    late.append(self.threads.submit(self.confirm_late, delivery))
                else:
                    self.confirm(delivery)
            for one in late:
                one.result()

    def confirm_late(self, delivery: Any) -> None:
        time.sleep(self.chance.choice((0, 0.001, 0.005)))
        self.confirm(delivery)

    def confirm(self, delivery: Any) -> None:
        work = self.begin_confirm(delivery)
        try:
            if work is not None:
                delivery.confirm(apply=work)
            else:
                delivery.confirm()
        except reliable_ws.ConfirmTooLate:
            return
        self.note_did(delivery, work)


class Initiator(ThreadSide):
    def run(self) -> None:
        while True:
            try:
                self.one_session()
                if self.life.board.finishing:
                    break
            except TROUBLE as error:
                self.note("oops", type(error).__name__)
                time.sleep(0.01)
        self.store.close()
        self.note("end")

    def one_session(self) -> None:
        conn = sync.connect(
            self.uri,
            store=self.store,
            name="orders",
            config=CONFIG,
            reconnect=BACKOFF,
            methods=self.methods,
            on_event=self.happened,
            offline=self.chance.random() < 0.3,
        )
        self.note_open(conn)
        taking = self.threads.submit(self.take, conn)
        asking = self.threads.submit(self.ask, conn, self.chance.randint(0, 4))
        self.send_some(conn, self.chance.randint(1, 15))
        if self.chance.random() < 0.5:  # a polite one
            with contextlib.suppress(reliable_ws.DeliveryError):
                conn.flush()
            conn.finish()
            taking.result()
        cross("closing")
        with contextlib.suppress(reliable_ws.DeliveryError):
            conn.close()
        cross("closed")
        self.note_report(conn.id.hex(), conn.report)
        taking.result()
        asking.result()
        wait(self.watched)
        self.watched.clear()


class Acceptor(ThreadSide):
    def run(self) -> None:
        self.life.listening.setblocking(True)
        server = sync.serve(
            self.handler,
            sock=self.life.listening,
            store=self.store,
            config=CONFIG,
            methods=self.methods,
            on_event=self.happened,
        )
        while not self.is_over(len(server.sessions)):
            time.sleep(0.01)
        server.drain(1)
        self.store.close()
        self.note("end")

    def handler(self, conn: sync.Connection) -> None:
        self.note("handler", conn.id.hex(), conn.restored is not None and conn.restored.uncertain)
        limit = self.chance.randint(1, 12) if self.chance.random() < 0.5 else None
        taking = self.threads.submit(self.take, conn, limit)
        asking = self.threads.submit(self.ask, conn, self.chance.randint(0, 2))
        self.send_some(conn, self.chance.randint(0, 8))
        taking.result()
        if limit is None:
            asking.result()
        cross("closing")
