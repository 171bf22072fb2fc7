"""Connections among threads whose sessions a store keeps, over real sockets, with a real file."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import reliable_ws
from reliable_ws import Outcome, SQLiteStore, sync
from reliable_ws.protocol.report import End
from reliable_ws.protocol.session import Session
from reliable_ws.store import StoreError, StoreFailed, StoreFull
from reliable_ws.sync.pump import Pump
from reliable_ws.sync.waiters import Thresholds
from tests.support.inside import driver_of, session_of
from tests.support.stores import HeldStore, MemoryStore

from .conftest import run, until, waits
from .network import SECONDS
from .pipe import EagerPipe, Pipe, pipe


class Server:
    """A server with a store; its process can be replaced."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.port = 0
        self.got: list[Any] = []
        self.restored: list[Any] = []
        self.inner: Any = None
        self.store: Any = None
        self.handler = self.take_all

    def take_all(self, conn: sync.Connection) -> None:
        self.restored.append(conn.restored)
        for message in conn:
            self.got.append(message)

    def handle(self, conn: sync.Connection) -> None:
        self.handler(conn)

    def start(self) -> None:
        if self.path is not None:
            self.store = SQLiteStore(self.path)
        self.inner = sync.serve(
            self.handle, "127.0.0.1", self.port, store=self.store, drain_timeout=2
        )
        self.port = self.inner.port

    def stop(self) -> None:
        self.inner.drain(2, sessions="keep" if self.store is not None else "close")
        if self.store is not None:
            self.store.close()

    @property
    def uri(self) -> str:
        return f"ws://127.0.0.1:{self.port}"


@contextlib.contextmanager
def serving(path: Path | None = None) -> Iterator[Server]:
    server = Server(path)
    server.start()
    try:
        yield server
    finally:
        server.inner.drain(1)
        if server.store is not None:
            server.store.close()


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with SQLiteStore(tmp_path / "client.db") as store:
        yield store


def orders(server: Server, store: Any, **options: Any) -> sync.Connection:
    return sync.connect(server.uri, store=store, name="orders", proxy=None, **options)


def plain(server: Server) -> sync.Connection:
    return sync.connect(server.uri, proxy=None)


def test_a_message_is_kept_when_send_returns(store):
    with serving() as server:
        with orders(server, store) as conn:
            receipt = conn.send("one", key="k")
            assert store.outcome("k") in (Outcome.KEPT, Outcome.CONFIRMED)
            receipt.wait(SECONDS)
            assert receipt.outcome is Outcome.CONFIRMED
        assert store.outcome("k") is Outcome.CONFIRMED
        assert store.outcome("another") is None


def test_the_session_of_a_name_goes_on(store):
    with serving() as server:
        with orders(server, store) as conn:
            assert conn.restored is None
            conn.send("taken").wait(SECONDS)
            first = conn.id
            conn.send_nowait("kept")
            conn.keep()
            assert conn.report.count(Outcome.KEPT) <= 1
        with orders(server, store) as conn:
            assert conn.id == first
            assert conn.restored.uncertain is False
            conn.send("more").wait(SECONDS)
        until(lambda: server.got == ["taken", "kept", "more"])


def test_what_is_owed_is_said(store, tmp_path):
    with serving(tmp_path / "server.db") as server:
        with orders(server, store) as conn:
            conn.send("taken", key="a").wait(SECONDS)
            server.stop()
            conn.send({"order": 17}, key="b")
            conn.keep()
            assert conn.report.count(Outcome.KEPT) == 1
        server.start()
        with orders(server, store) as conn:
            (entry,) = conn.restored.unconfirmed
            assert entry == (2, "b", {"order": 17})
            conn.flush(timeout=SECONDS)
        until(lambda: server.got == ["taken", {"order": 17}])
        assert [one is None for one in server.restored] == [True, False]


def test_a_block_that_ends_well_ends_the_session(store):
    with serving() as server:
        with orders(server, store) as conn:
            first = conn.id
        with orders(server, store) as conn:
            assert conn.id != first
            assert conn.restored is None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_raises_keeps_the_session(store, error):
    with serving() as server:
        with (  # noqa: PT012 - it is about the block
            pytest.raises(error),
            orders(server, store) as conn,
        ):
            first = conn.id
            raise error("x")
        with orders(server, store) as conn:
            assert conn.id == first


def test_a_key_is_accepted_once(store):
    with serving() as server:
        with orders(server, store) as conn:
            sends = [run(lambda: conn.send("x", key="k", timeout=SECONDS)) for _ in range(4)]
            receipts = [one.result(SECONDS) for one in sends]
            assert {receipt.number for receipt in receipts} == {1}
            receipts[-1].wait(SECONDS)
        with orders(server, store) as conn:  # another session
            again = conn.send("x", key="k")
            assert again.outcome is Outcome.CONFIRMED
            again.wait()
            again.wait_stored()
        until(lambda: server.got == ["x"])


def test_many_sends_share_commits(store):
    with serving() as server, orders(server, store) as conn:
        for receipt in [conn.send_nowait(str(number)) for number in range(300)]:
            receipt.wait_stored(SECONDS)
        threads = [run(conn.send, f"of thread {number}") for number in range(20)]
        for thread in threads:
            thread.result(SECONDS)
        conn.flush(timeout=SECONDS)
        until(lambda: len(server.got) == 320)
        assert server.got[:300] == [str(number) for number in range(300)]


def test_receipts_say_when_they_are_stored(store):
    with serving() as server, orders(server, store) as conn:
        receipt = conn.send_nowait("x")
        receipt.wait_stored()
        receipt.wait(SECONDS)
    with serving() as server, plain(server) as conn:
        receipt = conn.send("x")
        with pytest.raises(TypeError, match="store="):
            receipt.wait_stored()


def test_work_of_the_sender_is_kept_with_the_message(store):
    with serving() as server, orders(server, store) as conn:
        conn.send("order", apply=lambda db: db.execute("create table mine (number integer)"))
        receipt = conn.send(
            "second", key="k", apply=lambda db: db.execute("insert into mine values (2)")
        )
        receipt.wait(SECONDS)
        again = conn.send("second", key="k", apply=lambda _db: 1 / 0)  # not done again
        assert again.number == receipt.number

        with pytest.raises(ZeroDivisionError):
            conn.send("never", apply=lambda _db: 1 / 0)
        rows: list[Any] = []
        conn.send("x", apply=lambda db: rows.extend(db.execute("select * from mine")))
        assert rows == [(2,)]
        conn.flush(timeout=SECONDS)
        until(lambda: server.got == ["order", "second", "x"])


def test_work_cannot_wait_for_its_own_store(store):
    with serving() as server, orders(server, store) as conn:
        for use in (
            lambda: conn.send("y"),
            lambda: conn.send("y", key="k"),
            lambda: conn.send("y", apply=lambda _db: None),
        ):
            with pytest.raises(RuntimeError, match="apply="):
                conn.send("x", apply=lambda _db, use=use: use())
        receipt: list[Any] = []
        conn.send("x", apply=lambda _db: receipt.append(conn.send_nowait("y")))
        receipt[0].wait(SECONDS)
        conn.flush(timeout=SECONDS)
        until(lambda: sorted(server.got) == ["x", "y"])


def test_work_of_the_receiver_is_kept_with_the_confirmation(tmp_path):
    with serving(tmp_path / "server.db") as server:
        results: list[Any] = []

        def handler(conn):
            for delivery in conn.deliveries():
                number = delivery.number

                def work(db, number=number, key=delivery.key):
                    db.execute("create table if not exists took (key text primary key)")
                    db.execute("insert into took values (?)", (key,))
                    if number == 2 and not results.count("raised"):
                        raise ValueError("bad row")
                    return number

                try:
                    results.append(delivery.confirm(apply=work))
                except ValueError:
                    results.append("raised")
                    results.append(delivery.confirm(apply=work))
                assert delivery.confirm(apply=work) is None  # it is confirmed

        server.handler = handler
        with plain(server) as conn:
            for number in range(3):
                conn.send(str(number))
            conn.flush(timeout=SECONDS)
        assert results == [1, "raised", 2, 3]


def test_two_threads_that_confirm_the_same_do_its_work_once(tmp_path):
    with serving(tmp_path / "server.db") as server:
        done: list[Any] = []
        gate = threading.Event()

        def work(_db):
            done.append(gate.wait(SECONDS))
            return "worked"

        def handler(conn):
            for delivery in conn.deliveries():
                both = [run(lambda d=delivery: d.confirm(apply=work)) for _ in range(2)]
                until(lambda: driver_of(conn).receiver._applying)
                gate.set()
                said = [one.result(SECONDS) for one in both]
                assert "worked" in said
                assert set(said) <= {"worked", None}  # the second may come too late to wait
                assert not driver_of(conn).receiver._applying

        server.handler = handler
        with plain(server) as conn:
            conn.send("x").wait(SECONDS)
        assert done == [True]


def test_apply_needs_a_store():
    with serving() as server:
        caught: list[Any] = []

        def handler(conn):
            for delivery in conn.deliveries():
                with pytest.raises(TypeError, match="store="):
                    delivery.confirm(apply=lambda _db: None)
                caught.append(delivery)
                delivery.confirm()

        server.handler = handler
        with plain(server) as conn:
            with pytest.raises(TypeError, match="store="):
                conn.send("x", key="k")
            with pytest.raises(TypeError, match="store="):
                conn.send("x", apply=lambda _db: None)
            with pytest.raises(RuntimeError, match="store="):
                conn.keep()
            conn.send("y").wait(SECONDS)
        assert len(caught) == 1


async def a_coroutine_function() -> None:
    """Work that no store can do."""


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"key": 1}, TypeError),
        ({"key": ""}, ValueError),
        ({"key": "k" * 513}, ValueError),
        ({"apply": 1}, TypeError),
        ({"apply": a_coroutine_function}, TypeError),
    ],
)
def test_mistakes_raise_at_the_call(store, options, error):
    with serving() as server, orders(server, store) as conn:
        with pytest.raises(error):
            conn.send("x", **options)
        assert conn.report.sent == 0


def test_a_store_and_a_name_go_together():
    for options in ({"store": MemoryStore()}, {"name": "n"}, {"store": 1, "name": "n"}):
        with pytest.raises(TypeError):
            sync.connect("ws://localhost", **options)
    with pytest.raises(TypeError):
        sync.Sessions(store=1)


def test_draining_to_keep_needs_a_store():
    sessions = sync.Sessions()
    with pytest.raises(ValueError, match="store"):
        sessions.drain(sessions="keep")
    with pytest.raises(ValueError, match="sessions="):
        sessions.drain(sessions="other")


def test_a_name_is_used_once_at_a_time(store):
    with serving() as server:
        with orders(server, store), pytest.raises(ValueError, match="in use"):
            orders(server, store)
        orders(server, store).close()  # the name is free again


def test_a_store_is_used_by_one_server_at_a_time(tmp_path):
    with serving(tmp_path / "server.db") as server:
        with pytest.raises(ValueError, match="in use"):
            sync.serve(server.handle, "127.0.0.1", 0, store=server.store)
        server.inner.drain(1)
        with sync.serve(server.handle, "127.0.0.1", 0, store=server.store):
            server.inner.drain(1)  # again, which frees nothing of the other's
            with pytest.raises(ValueError, match="in use"):
                sync.serve(server.handle, "127.0.0.1", 0, store=server.store)


def test_a_store_that_cannot_be_opened_says_so(tmp_path):
    path = tmp_path / "text"
    path.write_text("no store " * 1000)
    with pytest.raises(StoreError):
        sync.serve(lambda conn: None, "127.0.0.1", 0, store=SQLiteStore(path))
    with serving() as server:
        for _ in range(2):  # the name stays free
            with pytest.raises(StoreError):
                orders(server, SQLiteStore(path))


def test_a_session_that_was_being_closed_is_brought_to_its_end_first(store, tmp_path):
    config = reliable_ws.Config(open_timeout=5, close_progress_timeout=1)
    with serving(tmp_path / "server.db") as server:
        with (  # noqa: PT012 - it is about the block
            pytest.raises(KeyboardInterrupt),
            orders(server, store, config=config) as conn,
        ):
            first = conn.id
            conn.send("taken").wait(SECONDS)
            server.stop()
            conn.send("kept")
            conn.start_closing()
            raise KeyboardInterrupt
        assert conn.report.count(Outcome.KEPT) == 1
        server.start()
        with orders(server, store) as conn:
            assert conn.id != first
            assert conn.restored.previous.confirmed == 2
            assert conn.restored.unconfirmed == ()
        until(lambda: server.got == ["taken", "kept"])


def test_a_close_that_cannot_reach_the_peer_raises_kept(store, tmp_path):
    config = reliable_ws.Config(open_timeout=5, close_progress_timeout=1)
    with serving(tmp_path / "server.db") as server:
        with (  # noqa: PT012 - it is about the block
            pytest.raises(reliable_ws.Kept),
            orders(server, store, config=config) as conn,
        ):
            conn.send("taken").wait(SECONDS)
            server.stop()
            conn.send("kept")
        server.start()
        orders(server, store).close()
        until(lambda: server.got == ["taken", "kept"])


def test_a_session_is_not_lost_because_it_could_not_be_opened(store, tmp_path):
    with serving(tmp_path / "server.db") as server:
        with orders(server, store) as conn:
            first = conn.id
            server.stop()
            conn.send("kept")
            conn.keep()
        with pytest.raises(OSError):
            orders(server, store)
        near, far = pipe(EagerPipe)
        opening = run(lambda: sync.wrap(near, role="initiator", store=store, name="orders"))
        far.recv()
        far.abort()
        with pytest.raises(reliable_ws.ReliableWSError):
            opening.result(SECONDS)
        server.start()
        with orders(server, store) as conn:
            assert conn.id == first
            conn.flush(timeout=SECONDS)
        until(lambda: server.got == ["kept"])


def test_a_server_goes_on_where_it_was(tmp_path):
    with serving(tmp_path / "server.db") as server:

        def handler(conn):
            server.restored.append(conn.restored)
            conn.send("welcome" if conn.restored is None else "again")
            server.got.extend(iter(conn))

        server.handler = handler
        with plain(server) as conn:
            assert conn.recv(timeout=SECONDS) == "welcome"
            conn.send("one").wait(SECONDS)
            server.stop()
            assert server.inner.sessions.connections == []
            conn.send("two")
            server.start()
            assert conn.recv(timeout=SECONDS) == "again"
            conn.flush(timeout=SECONDS)
        until(lambda: server.got == ["one", "two"])
        assert len(server.restored) == 2


def test_what_was_not_confirmed_comes_again_and_says_so(tmp_path):
    with serving(tmp_path / "server.db") as server:
        seen: list[Any] = []
        ready = threading.Event()

        def handler(conn):
            for delivery in conn.deliveries():
                seen.append((delivery.message, delivery.redelivered))
                if delivery.message == "a" or conn.restored is not None:
                    delivery.confirm()
                if len(seen) >= 2:
                    ready.set()

        server.handler = handler
        with plain(server) as conn:
            conn.send("a")
            conn.send("b")
            assert ready.wait(SECONDS)
            server.stop()
            server.start()
            conn.flush(timeout=SECONDS)
        assert seen == [("a", False), ("b", False), ("b", True)]


def test_a_handler_that_is_left_says_nothing(tmp_path, caplog):
    with serving(tmp_path / "server.db") as server, plain(server) as conn:
        conn.send("one").wait(SECONDS)
        with caplog.at_level(logging.WARNING, "reliable_ws"):
            server.stop()
        assert not [line for line in caplog.messages if "handler" in line]
        server.start()
        conn.send("two").wait(SECONDS)


def test_a_principal_that_cannot_be_kept_is_refused(tmp_path):
    store = SQLiteStore(tmp_path / "server.db")
    sessions = sync.Sessions(store=store)
    _near, far = pipe(EagerPipe)
    with pytest.raises(TypeError, match="principal"):
        sessions.handle(far, Server(None).handle, principal=object())
    store.close()


@pytest.mark.parametrize("kind", [Pipe, EagerPipe])
def test_wrapped_connections_have_stores_too(tmp_path, kind):
    stores = [SQLiteStore(tmp_path / name) for name in ("near.db", "far.db")]
    sessions = sync.Sessions(store=stores[1])
    got: list[Any] = []
    ids = set()

    def handler(conn: sync.Connection) -> None:
        got.extend(iter(conn))

    for number in range(2):
        near, far = pipe(kind)
        serving = run(sessions.handle, far, handler)
        conn = sync.wrap(near, role="initiator", store=stores[0], name="n", resume_within=60)
        ids.add(conn.id)
        conn.send(number).wait(SECONDS)
        conn.keep() if number == 0 else conn.close()
        serving.result(SECONDS)
    assert len(ids) == 1
    until(lambda: got == [0, 1])
    _near, far = pipe(kind)
    with pytest.raises(ValueError, match="sessions="):
        sync.wrap(far, role="acceptor", store=stores[0], name="n")
    sessions.drain(1)
    for store in stores:
        store.close()


def test_a_wrapped_session_that_was_being_closed_needs_another_websocket(store, tmp_path):
    server_store = SQLiteStore(tmp_path / "server.db")
    sessions = sync.Sessions(store=server_store)

    def opened() -> Any:
        near, far = pipe(EagerPipe)
        run(lambda: sessions.handle(far, list))
        return near

    def wrapped(**options: Any) -> sync.Connection:
        return sync.wrap(opened(), role="initiator", store=store, name="n", **options)

    for reopen in (None, opened):
        conn = wrapped(resume_within=60)
        driver_of(conn).drop_transport()
        conn.send("x")
        conn.start_closing()
        conn.keep()
        if reopen is None:
            with pytest.raises(ValueError, match="reopen="):
                wrapped(resume_within=60)
        else:
            with wrapped(reopen=opened) as conn:
                assert conn.restored.previous.confirmed == 1
    sessions.drain(1)
    server_store.close()


# ----------------------------------------------------------- before the server was reached

SOON = reliable_ws.Backoff(initial=0.01, longest=0.05)


def test_a_session_may_begin_while_its_server_is_away(store, tmp_path):
    with serving(tmp_path / "server.db") as server:
        server.stop()
        events: list[Any] = []
        options = {"offline": True, "reconnect": SOON, "on_event": events.append}
        with orders(server, store, **options) as conn:
            assert conn.state is reliable_ws.State.CONNECTING
            conn.send("early", key="k", apply=lambda db: db.execute("create table t (x)"))
            assert store.outcome("k") is Outcome.KEPT
            with pytest.raises(reliable_ws.RequestTimeout):
                conn.request("work", timeout=0.05)
            until(lambda: events)
            assert "was not reached yet; the last attempt failed" in str(conn.explain())
            first = conn.id
            conn.keep()
        with orders(server, store, **options) as conn:  # in the next process
            assert conn.id == first
            assert [entry.message for entry in conn.restored.unconfirmed] == ["early"]
            conn.send("more")
            with pytest.raises(reliable_ws.Kept):
                conn.close(timeout=0.05)
        server.start()
        with orders(server, store, **options) as conn:  # it was being closed
            assert conn.restored.previous.confirmed == 2
            conn.send("another")
        until(lambda: server.got == ["early", "more", "another"])


def test_a_server_that_is_busy_is_asked_again(store):
    """REFUSE-3, REFUSE-5."""
    busy = reliable_ws.Config(max_sessions=1)
    got: list[Any] = []
    with sync.serve(got.extend, "127.0.0.1", 0, config=busy) as server:
        uri = f"ws://127.0.0.1:{server.port}"
        other = sync.connect(uri, proxy=None)
        events: list[Any] = []
        options = {"offline": True, "reconnect": SOON, "on_event": events.append, "proxy": None}
        with sync.connect(uri, store=store, name="n", **options) as conn:
            conn.send("x")
            until(lambda: [event.name for event in events].count("attempt_failed") > 0)
            other.close()
            conn.flush(timeout=SECONDS)
    assert got == ["x"]


def test_an_attempt_that_is_final_ends_a_session_that_was_never_open(store):
    with serving() as server:
        server.stop()
        events: list[str] = []
        conn = orders(
            server,
            store,
            offline=True,
            on_event=lambda event: events.append(event.name),
            retry=lambda _attempt: False,
        )
        with contextlib.suppress(reliable_ws.ConnectionClosed):
            conn.send("x")
        assert conn.wait_closed(SECONDS)
        until(lambda: events == ["attempt_failed", "session_lost", "closed"])
        assert conn.report.confirmed == 0


def test_what_offline_needs(store):
    with pytest.raises(TypeError, match="offline"):
        sync.connect("ws://127.0.0.1:1", offline=True)
    with pytest.raises(TypeError, match="offline"):
        sync.connect("ws://127.0.0.1:1", store=store, name="n", offline=True, reconnect=False)


# ----------------------------------------------------------- stores that are full, slow, broken


def test_a_full_store_refuses_and_goes_on():
    store = HeldStore()
    with serving() as server, orders(server, store) as conn:
        conn.send("one").wait(SECONDS)
        store.error = StoreFull("no room")
        with pytest.raises(StoreFull):
            conn.send("two")
        with pytest.raises(StoreFull):
            conn.send_nowait("three")
        store.error = None
        while True:
            try:
                conn.send("four")
            except StoreFull:
                time.sleep(0.1)
            else:
                break
        conn.flush(timeout=SECONDS)
        until(lambda: server.got == ["one", "four"])


def test_receipts_of_what_had_no_room_say_so():
    store = HeldStore()
    with serving() as server, orders(server, store) as conn:
        conn.send("one").wait(SECONDS)
        store.automatic = False
        receipts = [conn.send_nowait("two"), conn.send_nowait("three")]
        waiting = [
            run(receipts[0].wait_stored),
            run(receipts[1].wait),
            run(conn.flush),
        ]
        waits(driver_of(conn).sender._stored._numbers)
        waits(driver_of(conn).sender._confirmations._numbers)
        until(lambda: sum(map(len, driver_of(conn).sender._confirmations._waiters.values())) == 2)
        with conn._lock:
            store.automatic = True
        store.fail(StoreFull("no room"))
        for one in waiting:
            with pytest.raises(StoreFull):
                one.result(SECONDS)
        for receipt in receipts:
            assert receipt.outcome is Outcome.NOT_TAKEN
            with pytest.raises(StoreFull):
                receipt.wait_stored()
            with pytest.raises(StoreFull):
                receipt.wait()


def test_a_store_that_failed_ends_its_sessions_here():
    store = HeldStore()
    with serving() as server:
        conn = orders(server, store)
        conn.send("one").wait(SECONDS)
        store.error = StoreFailed("disk broken")
        with pytest.raises(reliable_ws.ConnectionClosed) as caught:
            conn.send("two")
        assert isinstance(caught.value.__cause__, StoreFailed)
        assert conn.report.count(Outcome.UNKNOWN) == 1
        assert conn.close_code == 1012
        with pytest.raises(reliable_ws.OutcomeUnknown):
            conn.close()
        store.error = None
        store.pending.clear()
        with orders(server, store) as conn:
            assert conn.restored is not None
            conn.send("three").wait(SECONDS)
        until(lambda: server.got == ["one", "three"])


def test_a_server_whose_store_failed_ends_no_session_of_its_peers(tmp_path):
    with serving(tmp_path / "server.db") as server, plain(server) as conn:
        conn.send("one").wait(SECONDS)
        broken = server.store
        broken.close()  # behind the server's back
        conn.send("two")
        until(lambda: conn.state is not reliable_ws.State.OPEN)
        time.sleep(0.2)  # it comes back meanwhile, and is told to come again
        assert conn.state is reliable_ws.State.CONNECTING or not conn.ended
        server.inner.drain(1)
        server.start()
        conn.flush(timeout=SECONDS)
        until(lambda: server.got[-1] == "two")


def test_a_store_that_is_closed_under_a_connection_ends_it(tmp_path):
    with serving() as server:
        for use in (
            lambda conn: conn.send("x"),
            lambda conn: conn.send("x", key="k"),
            lambda conn: conn.send("x", apply=lambda _db: None),
        ):
            store = SQLiteStore(tmp_path / "closed.db")
            conn = orders(server, store)
            conn.flush()
            store.close()
            with pytest.raises((StoreError, reliable_ws.ConnectionClosed)):
                use(conn)
            conn.keep()
            assert conn.ended


def test_a_slow_store_delays_only_what_it_keeps(caplog, monkeypatch):
    monkeypatch.setattr("reliable_ws.sync.session_store.STORE_SLOW", 0.05)
    store = HeldStore()
    events: list[Any] = []
    with serving() as server:
        with orders(server, store, on_event=events.append) as conn:
            conn.send("one").wait(SECONDS)
            store.automatic = False
            with (
                caplog.at_level(logging.WARNING),
                pytest.raises(reliable_ws.StoreSlow) as caught,
            ):
                conn.send("two", timeout=0.3)
            assert conn.state is reliable_ws.State.OPEN
            until(lambda: [event.name for event in events].count("store_slow") == 1)
            receipt = caught.value.receipt
            with pytest.raises(TimeoutError):
                receipt.wait_stored(0.01)
            store.automatic = True
            store.commit()
            receipt.wait_stored(SECONDS)
            receipt.wait(SECONDS)
        until(lambda: server.got == ["one", "two"])


def test_the_last_word_to_a_hello_that_ends_the_session_goes_when_it_is_kept():
    """STORE-4, CLOSE-9: the peer was told nothing, and waited until it gave up the WebSocket."""
    store = HeldStore()
    sessions = sync.Sessions(store=store)
    peer = Session("initiator", bytes(16), bytes(32), time.monotonic())

    def dial() -> tuple[Any, Any]:
        near, far = pipe(EagerPipe)
        run(sessions.handle, far, lambda _conn: None)
        link = peer.dial(time.monotonic())
        near.send(link.transmit(time.monotonic()))
        return near, link

    near, link = dial()
    while peer.inbox.finish is None:  # what it answers is lost
        peer.receive(link, near.recv(), time.monotonic())
    peer.close(time.monotonic())
    near.cut()
    peer.lost(link, None, "", time.monotonic())
    store.automatic = False
    near, link = dial()  # it shows that everything was taken
    until(lambda: store.pending)
    answer = run(near.recv)
    store.automatic = True
    store.commit()
    peer.receive(link, answer.result(SECONDS), time.monotonic())
    assert peer.ended is not None
    assert peer.ended.kind is End.FINISHED
    near.cut()  # it is the peer that closes
    sessions.drain(1)


def test_a_timer_that_is_cancelled_too_late_does_nothing(monkeypatch):
    """It took the next timer for its own: an end that waited for the store was given up at once."""
    set_: list[tuple[float, Any]] = []

    def call_at(due: float, call: Any) -> Any:
        set_.append((due, call))
        return SimpleNamespace(cancel=lambda: None)

    monkeypatch.setattr("reliable_ws.sync.pump.call_at", call_at)
    ticks: list[float] = []
    session: Any = SimpleNamespace(deadline=time.monotonic(), tick=ticks.append, outbox=None)
    pump = Pump(session, threading.Lock(), lambda _events: None)
    pump.driver = SimpleNamespace(ticked=lambda _now: "")
    pump.rearm()
    pump.cancel_timers()
    session.deadline += 100
    pump.rearm()
    (_, late), (_, call) = set_
    late()
    assert ticks == []
    call()
    assert ticks == [session.deadline]


def test_a_key_is_looked_for_no_longer_than_said():
    store = HeldStore()
    gate = threading.Event()
    store.find = lambda key: gate.wait(SECONDS) and None
    with serving() as server, orders(server, store) as conn:
        with pytest.raises(TimeoutError):
            conn.send("x", key="k", timeout=0.05)
        sending = run(lambda: conn.send("x", key="k", timeout=SECONDS))
        until(lambda: driver_of(conn).sender._keys)
        with pytest.raises(TimeoutError):
            conn.send("x", key="k", timeout=0.05)  # behind the other
        gate.set()
        sending.result(SECONDS)

        def broken(key: str) -> None:
            raise StoreFailed("disk broken")

        store.find = broken
        with pytest.raises(StoreFailed):
            conn.send("x", key="k2", timeout=SECONDS)


def test_ctrl_c_while_it_closes_keeps_the_session(store, monkeypatch):
    with serving() as server:
        conn = orders(server, store)
        first = conn.id
        until(lambda: session_of(conn).is_kept)

        def interrupted(_timeout: Any) -> bool:
            raise KeyboardInterrupt

        monkeypatch.setattr(driver_of(conn), "wait_ended", interrupted, raising=True)
        with pytest.raises(KeyboardInterrupt):
            conn.close()
        assert conn.ended
        with orders(server, store) as conn:
            assert conn.restored.previous is not None
            assert conn.id != first


# ----------------------------------------------------------- processes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_leaves_the_store_alone(store):
    from tests.aio.test_fork import in_a_child

    with serving() as server, orders(server, store) as conn:
        conn.send("one").wait(SECONDS)
        said = in_a_child(
            lambda: conn.send("child"),
            lambda: conn.send("child", key="k"),
            lambda: conn.send_nowait("child"),
            conn.recv,
            conn.close,
            conn.keep,
        )
        assert all("forked process" in words for words in said[:4]), json.dumps(said)
        conn.send("two").wait(SECONDS)
        assert conn.stats.resumes == 0
        until(lambda: server.got == ["one", "two"])


def test_a_program_that_ends_leaves_its_session_to_the_next_one(tmp_path):
    from .test_process import Program

    def program(port: int, word: str) -> Program:
        return Program(
            f"""
            import reliable_ws
            store = reliable_ws.SQLiteStore({str(tmp_path / "client.db")!r})
            conn = rs.connect("ws://127.0.0.1:{port}", store=store, name="n", proxy=None)
            print(conn.id.hex(), flush=True)
            conn.send_nowait({word!r})
            """
        )

    with serving(tmp_path / "server.db") as server:
        ids = []
        for word in ("one", "two"):
            status, out, err = program(server.port, word).end()
            assert status == 0, err
            assert "Traceback" not in err
            ids.append(out.split()[0])
        assert ids[0] == ids[1]
        until(lambda: server.got[:1] == ["one"])


def test_thresholds_fail_for_those_that_wait_for_more():
    lock = threading.Lock()
    numbers = Thresholds(lock)

    def wait(number: int) -> None:
        with lock:
            numbers.wait(number, time.monotonic() + SECONDS)

    low, high = run(wait, 1), run(wait, 5)
    waits(numbers._numbers, 2)
    with lock:
        numbers.fail(2, lambda: StoreFull("x"))
    with pytest.raises(StoreFull):
        high.result(SECONDS)
    with lock:
        numbers.reach(1)
    low.result(SECONDS)
