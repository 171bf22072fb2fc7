"""Connections whose sessions a store keeps, over real sockets, with a real file."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import reliable_ws
from reliable_ws import Outcome, SQLiteStore
from reliable_ws.aio.durable_sender import DurableSender
from reliable_ws.aio.sessions import Acceptor
from reliable_ws.protocol.codec import decode
from reliable_ws.protocol.frames import Ack, Messages, Want
from reliable_ws.protocol.link import Link
from reliable_ws.protocol.stored_session import StoredSession
from reliable_ws.store import StoreError, StoreFailed, StoreFull
from reliable_ws.testing.memory import pair as memory_pair
from tests.support.inside import driver_of
from tests.support.stores import HeldStore, MemoryStore

clean = pytest.mark.usefixtures("clean")


class Server:
    """A server with a store; its process can be replaced."""

    def __init__(self, path: Path | None, **options: Any) -> None:
        self.path = path
        self.options = options
        self.port = 0
        self.got: list[Any] = []
        self.restored: list[Any] = []
        self.connections: list[reliable_ws.Connection] = []
        self.inner: reliable_ws.Server | None = None
        self.store: Any = None
        self.handler = self.take_all

    async def take_all(self, conn: reliable_ws.Connection) -> None:
        self.restored.append(conn.restored)
        self.connections.append(conn)
        async for message in conn:
            self.got.append(message)

    async def handle(self, conn: reliable_ws.Connection) -> None:
        await self.handler(conn)

    async def start(self) -> None:
        if self.path is not None:
            self.store = SQLiteStore(self.path)
        self.inner = await reliable_ws.serve(
            self.handle, "127.0.0.1", self.port, store=self.store, drain_timeout=2, **self.options
        )
        self.port = self.inner.port

    async def stop(self) -> None:
        await self.inner.drain(2, sessions="keep" if self.store is not None else "close")
        if self.store is not None:
            self.store.close()

    @property
    def uri(self) -> str:
        return f"ws://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(path: Path | None = None, **options: Any) -> AsyncIterator[Server]:
    server = Server(path, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.inner.drain(1)
        if server.store is not None:
            server.store.close()


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with SQLiteStore(tmp_path / "client.db") as store:
        yield store


def orders(server: Server, store: Any, **options: Any) -> reliable_ws.connect:
    return reliable_ws.connect(server.uri, store=store, name="orders", **options)


@clean
async def test_a_message_is_kept_when_send_returns(store):
    async with serving() as server, orders(server, store) as conn:
        receipt = await conn.send("one", key="k")
        assert store.outcome("k") is Outcome.KEPT
        await receipt
        assert receipt.outcome is Outcome.CONFIRMED
    assert store.outcome("k") is Outcome.CONFIRMED
    assert store.outcome("another") is None


@clean
async def test_the_session_of_a_name_goes_on(store):
    async with serving() as server:
        async with orders(server, store) as conn:
            assert conn.restored is None
            await (await conn.send("taken"))
            first = conn.id
            conn.send_nowait("kept")
            await conn.keep()
            assert conn.report.count(Outcome.KEPT) <= 1
        async with orders(server, store) as conn:
            assert conn.id == first
            assert conn.restored.uncertain is False
            await (await conn.send("more"))
        assert server.got == ["taken", "kept", "more"]


@clean
async def test_what_is_owed_is_said(store, tmp_path):
    async with serving(tmp_path / "server.db") as server:
        async with orders(server, store) as conn:
            await (await conn.send("taken", key="a"))
            await server.stop()
            await conn.send({"order": 17}, key="b")
            await conn.keep()
            assert conn.report.count(Outcome.KEPT) == 1
        await server.start()
        async with orders(server, store) as conn:
            (entry,) = conn.restored.unconfirmed
            assert entry == (2, "b", {"order": 17})
            await conn.flush()
        assert server.got == ["taken", {"order": 17}]
        assert [one is None for one in server.restored] == [True, False]


@clean
async def test_a_block_that_ends_well_ends_the_session(store):
    async with serving() as server:
        async with orders(server, store) as conn:
            first = conn.id
        async with orders(server, store) as conn:
            assert conn.id != first


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, SystemExit])
@clean
async def test_a_block_that_raises_keeps_the_session(store, error):
    async with serving() as server:
        with pytest.raises(error):  # noqa: PT012 - it is about the block
            async with orders(server, store) as conn:
                first = conn.id
                raise error("x")
        async with orders(server, store) as conn:
            assert conn.id == first


@clean
async def test_a_key_is_accepted_once(store):
    async with serving() as server:
        async with orders(server, store) as conn:
            one, two = await asyncio.gather(conn.send("x", key="k"), conn.send("x", key="k"))
            assert one.number == two.number == 1
            await two
        async with orders(server, store) as conn:  # another session
            again = await conn.send("x", key="k")
            assert again.outcome is Outcome.CONFIRMED
            await again
            await again.stored
        assert server.got == ["x"]


@clean
async def test_many_sends_share_commits(store):
    async with serving() as server, orders(server, store) as conn:
        await asyncio.gather(*(conn.send(str(number)) for number in range(300)))
        await conn.flush()
        assert server.got == [str(number) for number in range(300)]


@clean
async def test_receipts_say_when_they_are_stored(store):
    async with serving() as server, orders(server, store) as conn:
        receipt = conn.send_nowait("x")
        await receipt.stored
        await receipt
    async with serving() as server, reliable_ws.connect(server.uri) as conn:
        receipt = await conn.send("x")
        with pytest.raises(TypeError, match="store="):
            await receipt.stored


@clean
async def test_work_of_the_sender_is_kept_with_the_message(store):
    async with serving() as server, orders(server, store) as conn:
        await conn.send("order", apply=lambda db: db.execute("create table mine (number integer)"))
        receipt = await conn.send(
            "second", key="k", apply=lambda db: db.execute("insert into mine values (2)")
        )
        await receipt
        again = await conn.send("second", key="k", apply=lambda db: 1 / 0)  # not done again
        assert again.number == receipt.number

        with pytest.raises(ZeroDivisionError):
            await conn.send("never", apply=lambda db: 1 / 0)
        rows = []
        await conn.send("x", apply=lambda db: rows.extend(db.execute("select * from mine")))
        assert rows == [(2,)]
        await conn.flush()
        assert server.got == ["order", "second", "x"]


@clean
async def test_work_of_the_receiver_is_kept_with_the_confirmation(tmp_path):
    async with serving(tmp_path / "server.db") as server:
        results = []

        async def handler(conn):
            await asyncio.sleep(0)
            async for delivery in conn.deliveries():
                number = delivery.number

                def work(db, number=number, key=delivery.key):
                    db.execute("create table if not exists took (key text primary key)")
                    db.execute("insert into took values (?)", (key,))
                    if number == 2 and not results.count("raised"):
                        raise ValueError("bad row")
                    return number

                try:
                    results.append(await delivery.confirm(apply=work))
                except ValueError:
                    results.append("raised")
                    results.append(await delivery.confirm(apply=work))
                assert await delivery.confirm(apply=work) is None  # it is confirmed

        server.handler = handler
        async with reliable_ws.connect(server.uri) as conn:
            for number in range(3):
                await conn.send(str(number))
            await conn.flush()
        assert results == [1, "raised", 2, 3]


@clean
async def test_apply_needs_a_store():
    async with serving() as server:
        server.connections.clear()
        caught = []

        async def handler(conn):
            async for delivery in conn.deliveries():
                with pytest.raises(TypeError, match="store="):
                    await delivery.confirm(apply=lambda db: None)
                caught.append(delivery)
                delivery.confirm()

        server.handler = handler
        async with reliable_ws.connect(server.uri) as conn:
            with pytest.raises(TypeError, match="store="):
                await conn.send("x", key="k")
            with pytest.raises(TypeError, match="store="):
                await conn.send("x", apply=lambda db: None)
            with pytest.raises(RuntimeError, match="store="):
                await conn.keep()
            await (await conn.send("y"))
        assert len(caught) == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"key": 1}, TypeError),
        ({"key": ""}, ValueError),
        ({"key": "k" * 513}, ValueError),
        ({"apply": 1}, TypeError),
        ({"apply": test_apply_needs_a_store}, TypeError),
    ],
)
@clean
async def test_mistakes_raise_at_the_call(store, options, error):
    async with serving() as server, orders(server, store) as conn:
        with pytest.raises(error):
            await conn.send("x", **options)
        assert conn.report.sent == 0


def test_a_store_and_a_name_go_together():
    for options in ({"store": MemoryStore()}, {"name": "n"}, {"store": 1, "name": "n"}):
        with pytest.raises(TypeError):
            reliable_ws.connect("ws://localhost", **options)
    with pytest.raises(TypeError):
        reliable_ws.Sessions(store=1)


@clean
async def test_a_store_is_used_by_one_server_at_a_time(tmp_path):
    async with serving(tmp_path / "server.db") as server:
        with pytest.raises(ValueError, match="in use"):
            await reliable_ws.serve(server.handle, "127.0.0.1", 0, store=server.store)
        await server.inner.drain(1)
        async with reliable_ws.serve(server.handle, "127.0.0.1", 0, store=server.store):
            await server.inner.drain(1)  # again, which frees nothing of the other's
            with pytest.raises(ValueError, match="in use"):
                await reliable_ws.serve(server.handle, "127.0.0.1", 0, store=server.store)


@clean
async def test_a_session_is_not_lost_because_it_could_not_be_opened(store, tmp_path):
    async with serving(tmp_path / "server.db") as server:
        async with orders(server, store) as conn:
            first = conn.id
            await server.stop()
            await conn.send("kept")
            await conn.keep()
        with pytest.raises(OSError):
            await orders(server, store)
        near, far = memory_pair()
        wrapped = reliable_ws.wrap(near, role="initiator", store=store, name="orders")
        opening = asyncio.ensure_future(wrapped.__aenter__())
        await far.recv()
        far.abort()
        with pytest.raises(reliable_ws.ReliableWSError):
            await opening
        await server.start()
        async with orders(server, store) as conn:
            assert conn.id == first
            await conn.flush()
        assert server.got == ["kept"]


@clean
async def test_a_store_that_is_closed_under_a_connection_ends_it(tmp_path):
    async with serving() as server:
        for options in ({}, {"key": "k"}, {"apply": lambda db: None}):
            store = SQLiteStore(tmp_path / "closed.db")
            conn = await orders(server, store)
            await conn.flush()
            store.close()
            with pytest.raises((StoreError, reliable_ws.ConnectionClosed)):
                await conn.send("x", **options)
            await conn.keep()
            assert conn.ended


@clean
async def test_a_name_is_used_once_at_a_time(store):
    async with serving() as server, orders(server, store):
        with pytest.raises(ValueError, match="in use"):
            await orders(server, store)


@clean
async def test_a_session_that_was_being_closed_is_brought_to_its_end_first(store, tmp_path):
    config = reliable_ws.Config(open_timeout=1, close_progress_timeout=1)
    async with serving(tmp_path / "server.db") as server:
        with pytest.raises(reliable_ws.Kept):  # noqa: PT012 - it is about the block
            async with orders(server, store, config=config) as conn:
                first = conn.id
                await (await conn.send("taken"))
                await server.stop()
                await conn.send("kept")
        await server.start()
        async with orders(server, store) as conn:
            assert conn.id != first
            assert conn.restored.previous.confirmed == 2
            assert conn.restored.unconfirmed == ()
        assert server.got == ["taken", "kept"]


@clean
async def test_a_server_goes_on_where_it_was(tmp_path):
    async with serving(tmp_path / "server.db") as server:

        async def handler(conn):
            server.restored.append(conn.restored)
            await conn.send("welcome" if conn.restored is None else "again")
            async for message in conn:
                server.got.append(message)

        server.handler = handler
        async with reliable_ws.connect(server.uri) as conn:
            assert await conn.recv() == "welcome"
            await (await conn.send("one"))
            await server.stop()
            assert server.inner.sessions.connections == []
            await conn.send("two")
            await server.start()
            assert await conn.recv() == "again"
            await conn.flush()
        assert server.got == ["one", "two"]
        assert len(server.restored) == 2


@clean
async def test_an_old_copy_of_a_servers_file_ends_the_session(tmp_path):
    """RESUME-13"""
    async with serving(tmp_path / "server.db") as server:
        conn = await reliable_ws.connect(server.uri)
        await (await conn.send("one"))
        await server.stop()
        shutil.copy(tmp_path / "server.db", tmp_path / "old.db")
        await server.start()
        await (await conn.send("two"))
        await server.stop()
        server.path = tmp_path / "old.db"
        await server.start()
        await conn.send("three")
        with pytest.raises(reliable_ws.DeliveryError):
            await conn.flush()
        assert conn.close_code == 4422
        with pytest.raises(reliable_ws.DeliveryError):
            await conn.close()


async def test_what_was_not_confirmed_comes_again_and_says_so(tmp_path):
    async with serving(tmp_path / "server.db") as server:
        seen = []
        ready = asyncio.Event()

        async def handler(conn):
            async for delivery in conn.deliveries():
                seen.append((delivery.message, delivery.redelivered))
                if delivery.message == "a" or conn.restored is not None:
                    delivery.confirm()
                ready.set() if len(seen) >= 2 else None

        server.handler = handler
        async with reliable_ws.connect(server.uri) as conn:
            await conn.send("a")
            await conn.send("b")
            await ready.wait()
            await server.stop()
            await server.start()
            await conn.flush()
        assert seen == [("a", False), ("b", False), ("b", True)]


@clean
async def test_a_principal_that_cannot_be_kept_is_refused(tmp_path):
    store = SQLiteStore(tmp_path / "server.db")
    sessions = reliable_ws.Sessions(store=store)
    _client, transport = memory_pair()
    with pytest.raises(TypeError, match="principal"):
        await sessions.handle(transport, Server(None).handle, principal=object())
    store.close()


# ----------------------------------------------------------- before the server was reached

SOON = reliable_ws.Backoff(initial=0.01, longest=0.05)


@clean
async def test_a_session_may_begin_while_its_server_is_away(store, tmp_path):
    async with serving(tmp_path / "server.db") as server:
        await server.stop()
        failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def happened(event: Any) -> None:
            if event.name == "attempt_failed" and not failed.done():
                failed.set_result(event)

        options = {"offline": True, "reconnect": SOON, "on_event": happened}
        async with orders(server, store, **options) as conn:
            assert conn.state is reliable_ws.State.CONNECTING
            await conn.send("early", key="k", apply=lambda db: db.execute("create table t (x)"))
            assert store.outcome("k") is Outcome.KEPT
            with pytest.raises(reliable_ws.RequestTimeout) as caught:
                await conn.request("work", timeout=0.05)
            assert not caught.value.taken
            await failed
            assert "was not reached yet; the last attempt failed" in str(conn.explain())
            first = conn.id
            await conn.keep()
        async with orders(server, store, **options) as conn:  # in the next process
            assert conn.id == first
            assert [entry.message for entry in conn.restored.unconfirmed] == ["early"]
            await conn.send("more")
            with pytest.raises(reliable_ws.Kept):
                await conn.close(timeout=0.05)
        await server.start()
        async with orders(server, store, **options) as conn:  # it was being closed
            assert conn.restored.previous.confirmed == 2
            await conn.send("another")
        assert server.got == ["early", "more", "another"]


@clean
async def test_a_server_that_is_busy_is_asked_again(store):
    """REFUSE-3, REFUSE-5."""
    busy = reliable_ws.Config(max_sessions=1)
    got: list[Any] = []

    async def take(conn: reliable_ws.Connection) -> None:
        got.extend([message async for message in conn])

    async with reliable_ws.serve(take, "127.0.0.1", 0, config=busy) as server:
        uri = f"ws://127.0.0.1:{server.port}"
        other = await reliable_ws.connect(uri)
        refused: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def happened(event: Any) -> None:
            if event.name == "attempt_failed" and not refused.done():
                refused.set_result(event)

        options = {"offline": True, "reconnect": SOON, "on_event": happened}
        async with reliable_ws.connect(uri, store=store, name="n", **options) as conn:
            await conn.send("x")
            await refused
            await other.close()
            await conn.flush()
    assert got == ["x"]


@clean
async def test_an_attempt_that_is_final_ends_a_session_that_was_never_open(store):
    async with serving() as server:
        await server.stop()
        events: list[str] = []
        conn = await orders(
            server,
            store,
            offline=True,
            on_event=lambda event: events.append(event.name),
            retry=lambda _attempt: False,
        )
        receipt = conn.send_nowait("x")
        with pytest.raises(reliable_ws.NotTaken):
            await receipt
        assert conn.ended
        await asyncio.sleep(0)
        assert events == ["attempt_failed", "session_lost", "closed"]
        with pytest.raises(reliable_ws.DeliveryError):
            await conn.close()


async def test_what_offline_needs(store):
    for wrong in (
        {"offline": True},
        {"offline": 1, "store": store, "name": "n"},
        {"offline": True, "store": store, "name": "n", "reconnect": False},
    ):
        with pytest.raises(TypeError, match="offline"):
            reliable_ws.connect("ws://127.0.0.1:1", **wrong)


# ----------------------------------------------------------- stores that are full, slow, broken


@clean
async def test_a_full_store_refuses_and_goes_on():
    store = HeldStore()
    async with serving() as server, orders(server, store) as conn:
        await (await conn.send("one"))
        store.error = StoreFull("no room")
        with pytest.raises(StoreFull):
            await conn.send("two")
        with pytest.raises(StoreFull):
            conn.send_nowait("three")
        store.error = None
        while True:
            try:
                await conn.send("four")
            except StoreFull:
                await asyncio.sleep(0.1)
            else:
                break
        await conn.flush()
        assert server.got == ["one", "four"]


@clean
async def test_receipts_of_what_had_no_room_say_so():
    store = HeldStore()
    async with serving() as server, orders(server, store) as conn:
        await (await conn.send("one"))
        store.error = StoreFull("no room")
        receipt = conn.send_nowait("two")
        with pytest.raises(StoreFull):
            await receipt.stored
        assert receipt.outcome is Outcome.NOT_TAKEN
        with pytest.raises(StoreFull):
            await receipt
        store.error = None


@clean
async def test_who_waits_for_the_confirmation_of_what_had_no_room_is_told():
    """Its number goes to the next message, whose confirmation is not for it."""
    store = HeldStore()
    async with serving() as server, orders(server, store) as conn:
        await (await conn.send("one"))
        store.error = StoreFull("no room")
        receipt = conn.send_nowait("two")

        async def confirmed() -> None:
            await receipt

        waits = asyncio.create_task(confirmed())
        flushes = asyncio.create_task(conn.flush())
        for waiting in (waits, flushes):
            with pytest.raises(StoreFull):
                await waiting
        store.error = None
        while True:
            try:
                later = await conn.send("three")
            except StoreFull:
                await asyncio.sleep(0.1)
            else:
                break
        await later
        assert later.number == 2
        assert receipt.number == -1
        assert receipt.outcome is Outcome.NOT_TAKEN
        assert server.got == ["one", "three"]


@clean
async def test_a_store_that_failed_ends_its_sessions_here(caplog):
    store = HeldStore()
    async with serving() as server:
        conn = await orders(server, store)
        await (await conn.send("one"))
        store.error = StoreFailed("disk broken")
        with pytest.raises(reliable_ws.ConnectionClosed) as caught:
            await conn.send("two")
        assert isinstance(caught.value.__cause__, StoreFailed)
        assert conn.report.count(Outcome.UNKNOWN) == 1
        assert conn.close_code == 1012
        with pytest.raises(reliable_ws.OutcomeUnknown):
            await conn.close()
        store.error = None
        store.pending.clear()
        async with orders(server, store) as conn:
            assert conn.restored is not None
            await (await conn.send("three"))
        assert server.got == ["one", "three"]


@clean
async def test_a_slow_store_delays_only_what_it_keeps(caplog, monkeypatch):
    monkeypatch.setattr("reliable_ws.aio.store_port.STORE_SLOW", 0.05)
    store = HeldStore()
    events = []
    async with serving() as server:
        async with orders(server, store, on_event=events.append) as conn:
            await (await conn.send("one"))
            store.automatic = False
            with (
                caplog.at_level(logging.WARNING),
                pytest.raises(reliable_ws.StoreSlow) as caught,
            ):
                await conn.send("two", timeout=0.2)
            assert conn.state is reliable_ws.State.OPEN
            assert [event.name for event in events].count("store_slow") == 1
            store.automatic = True
            store.commit()
            await caught.value.receipt.stored
            await caught.value.receipt
        assert server.got == ["one", "two"]


@clean
async def test_a_peer_that_comes_back_too_early_is_told_to_come_again(tmp_path):
    """STORE-9: the process that leaves its sessions does not answer for them any more."""
    async with serving(tmp_path / "server.db") as server:
        async with reliable_ws.connect(server.uri) as conn:
            await (await conn.send("one"))
            await server.inner.sessions.drain(2, sessions="keep")
            conn.reconnect_now()
            await conn.send("two")
            with pytest.raises(TimeoutError):
                await conn.flush(timeout=0.3)
            assert conn.state is reliable_ws.State.DETACHED
            server.inner.inner.close()
            await server.inner.inner.wait_closed()
            server.store.close()
            await server.start()
            conn.reconnect_now()
            await conn.flush()
        assert server.got == ["one", "two"]


@clean
async def test_a_flush_does_not_wait_for_what_had_no_room():
    store = HeldStore()
    async with serving() as server, orders(server, store) as conn:
        await (await conn.send("one"))
        store.automatic = False
        conn.send_nowait("two")
        flushing = asyncio.ensure_future(conn.flush())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        store.fail(StoreFull("no room"))
        with pytest.raises(StoreFull):
            await flushing
        store.automatic = True


@clean
async def test_the_end_of_a_session_is_kept_when_draining_returns(tmp_path):
    server = Server(tmp_path / "server.db")
    await server.start()
    conn = await reliable_ws.connect(server.uri)
    await (await conn.send("one"))
    await server.inner.drain(2)
    await conn.wait_closed()
    (stored,) = server.store.open()
    server.store.close()
    assert StoredSession(stored).ending is not None


@clean
async def test_a_handler_that_the_application_cancels_ends_its_session(tmp_path):
    async with serving(tmp_path / "server.db") as server:
        began = asyncio.Event()
        tasks = []

        async def handler(conn):
            tasks.append(asyncio.current_task())
            began.set()
            await asyncio.sleep(60)

        server.handler = handler
        async with reliable_ws.connect(server.uri) as conn:
            await began.wait()
            tasks[0].cancel()
            with pytest.raises(reliable_ws.ConnectionClosed):
                await conn.recv()


def test_a_server_that_is_interrupted_keeps_its_sessions(tmp_path):
    """As Ctrl-C does: the main task is cancelled."""
    path = tmp_path / "server.db"

    async def process() -> None:
        with SQLiteStore(path) as store:
            await serve(store)

    async def serve(store: Any) -> None:
        async with reliable_ws.serve(hold, "127.0.0.1", 0, store=store) as server:
            conn = await reliable_ws.connect(f"ws://127.0.0.1:{server.port}")
            await (await conn.send("x"))
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

    async def hold(conn: reliable_ws.Connection) -> None:
        async for _message in conn:
            pass

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(process())
    with SQLiteStore(path) as store:
        (stored,) = store.open()
        assert StoredSession(stored).ending is None
        assert StoredSession(stored).facts["confirmed"] == 1


@clean
async def test_sigterm_may_keep_only_with_a_store():
    with pytest.raises(ValueError, match="store"):
        reliable_ws.drain_on_sigterm(reliable_ws.Sessions(), keep=True)


async def test_a_session_whose_welcome_was_lost_is_gone_on_with(store, tmp_path, monkeypatch):
    """The server may have begun it: without this, it and its handler would wait for a week."""
    async with serving(tmp_path / "server.db") as server:
        sessions = server.inner.sessions
        with monkeypatch.context() as patch:
            attach = Acceptor.attach

            def cut(acceptor, transport, link, hello):
                transport.abort()
                return attach(acceptor, transport, link, hello)

            patch.setattr(Acceptor, "attach", cut)
            with pytest.raises(reliable_ws.SessionLost):
                await orders(server, store)
        assert len(sessions) == 1
        async with orders(server, store) as conn:
            assert len(sessions) == 1
            await (await conn.send("x"))
        assert server.got == ["x"]


@clean
async def test_a_receipt_tells_the_end_when_the_store_has_it():
    store = HeldStore()
    events = []
    async with serving() as server:
        conn = await orders(server, store, on_event=events.append)
        await conn.send("one")
        await conn.flush()
        server.inner.close()
        driver_of(conn).drop_transport()  # so nothing more arrives
        receipt = await conn.send("two")
        waiting = asyncio.ensure_future(_awaited(receipt))
        await asyncio.sleep(0)
        store.automatic = False
        conn.abort()
        await asyncio.sleep(0.05)
        assert receipt.outcome is Outcome.KEPT
        assert not waiting.done()
        store.automatic = True
        store.commit()
        with pytest.raises(reliable_ws.NotTaken):
            await waiting
        assert [event.name for event in events][-1] == "closed"
        assert events[-1].report.count(Outcome.NOT_TAKEN) == 1


async def test_a_confirmed_send_takes_one_websocket_message_each_way(store, tmp_path, monkeypatch):
    said = []
    transmit = Link.transmit

    def noted(link, now):
        data = transmit(link, now)
        if data is not None:
            said.append([type(frame) for frame in decode(data, len(data))])
        return data

    monkeypatch.setattr(Link, "transmit", noted)
    patient = reliable_ws.Config(ack_delay=5)  # a disk that is slow has acks tell what has arrived
    async with (
        serving(tmp_path / "server.db", config=patient) as server,
        orders(server, store) as conn,
    ):
        await (await conn.send("the first one"))
        said.clear()
        for _ in range(5):
            await (await conn.send("x"))
        assert said == [[Want, Messages], [Ack]] * 5


async def _awaited(receipt: reliable_ws.Receipt) -> None:
    await receipt


async def test_a_message_may_be_confirmed_before_its_send_returns(store, monkeypatch):
    """The task of the caller runs late: then nothing is left that weighs anything."""
    accept = DurableSender.accept

    async def accept_late(sender, message, timeout):
        number = await accept(sender, message, timeout)
        await sender.receipt(number)
        return number

    monkeypatch.setattr(DurableSender, "accept", accept_late)
    async with serving() as server, orders(server, store) as conn:
        for number in range(3):
            await conn.send(str(number))
            driver_of(conn).pump.wake()
            await conn.send(str(number))
        assert server.got == list("001122")


@clean
async def test_a_handler_that_keeps_its_session_leaves_the_others_alone(tmp_path):
    async with serving(tmp_path / "server.db") as server:

        async def handler(conn):
            async for message in conn:
                if message == "keep":
                    await conn.keep()
                server.got.append(message)

        server.handler = handler
        kept = await reliable_ws.connect(server.uri)
        await kept.send("keep")
        async with reliable_ws.connect(server.uri) as conn:
            await (await conn.send("one"))
        assert "one" in server.got
        kept.abort()
