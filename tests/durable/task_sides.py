"""The programs of asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import Any

import reliable_ws

from .points import cross
from .sides import BACKOFF, CONFIG, TROUBLE, Life, Side

__all__ = ["Acceptor", "Initiator"]


def show_tasks() -> None:
    """Write down where each task waits."""
    for task in asyncio.all_tasks():
        task.print_stack()


class TaskSide(Side):
    def __init__(self, life: Life) -> None:
        super().__init__(life)
        self.watched: set[asyncio.Task[None]] = set()

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
        message, work = self.begin_send(id_, style)
        if style == "key":
            receipt = await conn.send(message, key=id_)
        elif style == "apply":
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
        self.note_accepted(conn, id_, receipt, earlier=earlier)
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
        for batch in self.plan_sends(count):
            results = await asyncio.gather(
                *(self.send(conn, *one) for one in batch), return_exceptions=True
            )
            if self.note_unsent(batch, results):
                return

    # ------------------------------------------------------------------ messages of the peer

    async def take(self, conn: reliable_ws.Connection, limit: int | None = None) -> None:
        """Take messages and confirm them, some of them late and out of order."""
        late: set[asyncio.Task[None]] = set()
        taken = 0
        with contextlib.suppress(reliable_ws.ConnectionClosed):
            async for delivery in conn.deliveries():
                self.note_got(delivery)
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
        work = self.begin_confirm(delivery)
        try:
            if work is not None:
                await delivery.confirm(apply=work)
            else:
                delivery.confirm()
        except reliable_ws.ConfirmTooLate:
            return
        self.note_did(delivery, work)


class Initiator(TaskSide):
    async def run(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, show_tasks)
        while True:
            try:
                await self.one_session()
                if self.life.board.finishing:
                    break
            except TROUBLE as error:
                self.note("oops", type(error).__name__)
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
            offline=self.chance.random() < 0.3,
        )
        self.note_open(conn)
        taking = asyncio.create_task(self.take(conn))
        asking = asyncio.create_task(self.ask(conn, self.chance.randint(0, 4)))
        await self.send_some(conn, self.chance.randint(1, 15))
        if self.chance.random() < 0.5:  # a polite one
            with contextlib.suppress(reliable_ws.DeliveryError):
                await conn.flush()
            await conn.finish()
            await taking
        cross("closing")
        with contextlib.suppress(reliable_ws.DeliveryError):
            await conn.close()
        cross("closed")
        self.note_report(conn.id.hex(), conn.report)
        await asyncio.gather(taking, asking)
        while self.watched:
            await asyncio.wait(self.watched)


class Acceptor(TaskSide):
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
        while not self.is_over(len(server.sessions)):  # noqa: ASYNC110 - other processes say so
            await asyncio.sleep(0.01)
        await server.drain(1)
        self.store.close()
        self.note("end")

    async def handler(self, conn: reliable_ws.Connection) -> None:
        self.note("handler", conn.id.hex(), conn.restored is not None and conn.restored.uncertain)
        limit = self.chance.randint(1, 12) if self.chance.random() < 0.5 else None
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
