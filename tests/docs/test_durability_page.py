"""docs/durability.md: its programs are killed and lose nothing, and its words are the code's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import sys
import types
from pathlib import Path
from typing import Any, Self

import pytest

import reliable_ws
import reliable_ws.sync
from reliable_ws import Config, Outcome, SQLiteStore
from reliable_ws.aio.store_port import STORE_SLOW
from reliable_ws.driver.restored import Restored, RestoredMessage, config_with_store
from reliable_ws.driver.validation import LONGEST_KEY
from reliable_ws.stores import file, ledger
from tests.durable.harness import all_points
from tests.support.ports import free_port

from .test_examples import ROOT

PAGE = (ROOT / "docs" / "durability.md").read_text()
SAID = " ".join(PAGE.split())
BLOCKS = dict(re.findall(r"<!-- run: (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))
SECONDS = 60
TABLE = "create table orders (id integer primary key, item text)"
ORDERS = [(number, "apples") for number in range(1, 101)]


def made(name: str, **names: Any) -> dict[str, Any]:
    """Run a block; return the names that it made."""
    namespace = {"reliable_ws": reliable_ws, "asyncio": asyncio, "__name__": "page", **names}
    exec(compile(BLOCKS[name], f"{name} of durability.md", "exec"), namespace)
    return namespace


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The directory in which the programs of the page run."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_block_is_run():
    tests = {name.removeprefix("test_run_") for name in globals() if name.startswith("test_run_")}
    assert set(BLOCKS) - {"sender", "receiver"} == tests
    assert PAGE.count("```python") == len(BLOCKS)


# ------------------------------------------------------------------ two processes


class Program:
    """A block of the page as a program, which can be killed and started again."""

    def __init__(self, block: str, port: int) -> None:
        self.source = BLOCKS[block].replace("8765", str(port))

    def start(self) -> subprocess.Popen[str]:
        self.running = subprocess.Popen(
            [sys.executable, "-c", self.source],
            env={**os.environ, "PYTHONPATH": str(ROOT), "no_proxy": "127.0.0.1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.running

    def kill(self) -> None:
        self.running.kill()
        self.running.communicate()


def test_two_processes_that_are_killed(here):
    port = free_port()
    sender, receiver = Program("sender", port), Program("receiver", port)
    kills = [(0.6, [sender]), (0.8, [receiver]), (0.8, [sender]), (0.6, [sender, receiver])]
    try:
        receiver.start()
        sender.start()
        for seconds, victims in kills:  # nothing waits for the time: it may strike anywhere
            with contextlib.suppress(subprocess.TimeoutExpired):
                sender.running.wait(seconds)
            for victim in victims:
                victim.kill()
                victim.start()
        if sender.running.poll() is None:
            sender.kill()
        out, errors = sender.start().communicate(timeout=SECONDS)
        assert (sender.running.returncode, out) == (0, "confirmed\n"), errors
    finally:
        sender.kill()
        receiver.kill()
    with sqlite3.connect(here / "server.db") as database:
        assert database.execute("select * from orders order by rowid").fetchall() == ORDERS
    with SQLiteStore(here / "orders.db") as store:
        assert {store.outcome(f"order-{number}") for number, _ in ORDERS} == {Outcome.CONFIRMED}


# ------------------------------------------------------------------ the other blocks


async def test_run_outbox(here):
    buy = made("outbox")["buy"]
    got = []

    async def handler(conn):
        got.extend([message async for message in conn])

    with SQLiteStore("shop.db") as store:
        async with (
            reliable_ws.serve(handler, "127.0.0.1", 0) as server,
            reliable_ws.connect(
                f"ws://127.0.0.1:{server.port}", store=store, name="orders"
            ) as conn,
        ):
            store.run(lambda db: db.execute(TABLE))
            await buy(conn, 17, "apples")
            await buy(conn, 17, "apples")
            with pytest.raises(sqlite3.IntegrityError):
                await conn.send(
                    "never", apply=lambda db: db.execute("insert into orders select * from orders")
                )
    assert got == [{"id": 17, "item": "apples"}]
    with sqlite3.connect("shop.db") as database:
        assert database.execute("select * from orders").fetchall() == [(17, "apples")]


async def taken_twice(handler: Any) -> None:
    """Let a handler be killed between its work and each confirmation; send three orders."""
    port, uri = free_port(), ""

    async def forgetful(conn):
        """Do the work; die before it is confirmed, the first time."""
        if conn.restored is not None:
            await handler(conn)
            return

        class Unconfirmed:
            def __init__(self, delivery):
                self.message, self.key = delivery.message, delivery.key

            def confirm(self):
                done.append(self.message)
                if len(done) == 3:
                    over.set()

        class Conn:
            async def deliveries(self):
                async for delivery in conn.deliveries():
                    yield Unconfirmed(delivery)

        await handler(Conn())

    done: list[Any] = []
    over = asyncio.Event()
    uri = f"ws://127.0.0.1:{port}"
    with SQLiteStore("server.db") as store:
        server = await reliable_ws.serve(forgetful, "127.0.0.1", port, store=store)
        conn = await reliable_ws.connect(uri)
        for number, item in ORDERS[:3]:
            await conn.send({"id": number, "item": item})
        await over.wait()
        await server.drain(sessions="keep")
        store.close()
        async with reliable_ws.serve(forgetful, "127.0.0.1", port, store=store):
            await conn.close()
        assert conn.report.confirmed == 3


SCHEMA = "create table seen (key text primary key); create table orders (id integer, item text)"


async def test_run_sqlite(here):
    with sqlite3.connect("shop.db") as database:
        database.executescript(SCHEMA)
    await taken_twice(made("sqlite")["handler"])
    assert database.execute("select * from orders").fetchall() == ORDERS[:3]
    database.close()


class Psycopg:
    """As much of psycopg as the page uses, on top of SQLite: the statements mean the same there."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self.AsyncConnection = self

    async def connect(self, _name: str) -> Psycopg:
        return self

    async def execute(self, sql: str, parameters: tuple[Any, ...]) -> Any:
        return self._database.execute(sql.replace("%s", "?"), parameters)

    def transaction(self) -> Psycopg:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        self._database.rollback() if kind else self._database.commit()


async def test_run_postgresql(here, monkeypatch):
    database = sqlite3.connect(":memory:")
    database.executescript(SCHEMA)
    monkeypatch.setitem(sys.modules, "psycopg", Psycopg(database))
    await taken_twice(made("postgresql")["handler"])
    assert database.execute("select * from orders").fetchall() == ORDERS[:3]
    database.close()


async def test_run_restored(here):
    said: list[str] = []
    handler = made("restored", print=lambda *words: said.append(" ".join(words)))["handler"]
    port = free_port()
    heard = asyncio.Event()

    async def listening(conn):
        if conn.restored is not None:
            await handler(conn)
            return
        conn = types.SimpleNamespace(
            restored=None, id=conn.id, send=conn.send, deliveries=never_confirmed(conn, heard)
        )
        await handler(conn)

    with SQLiteStore("server.db") as store:
        server = await reliable_ws.serve(listening, "127.0.0.1", port, store=store)
        conn = await reliable_ws.connect(f"ws://127.0.0.1:{port}")
        assert await conn.recv() == "welcome"
        await conn.send("one")
        await heard.wait()
        await server.drain(sessions="keep")
        store.close()
        async with reliable_ws.serve(listening, "127.0.0.1", port, store=store):
            await conn.close()
    assert said == ["again: one"]


def never_confirmed(conn: Any, heard: asyncio.Event) -> Any:
    async def deliveries():
        async for delivery in conn.deliveries():
            heard.set()
            yield types.SimpleNamespace(
                message=delivery.message, redelivered=False, confirm=lambda: None
            )

    return deliveries


async def test_run_sigterm(here):
    port, said = free_port(), []
    before = signal.getsignal(signal.SIGTERM)

    async def handler(conn):
        async for message in conn:
            await conn.send(message)

    main = made("sigterm", handler=handler, print=said.append)["main"]
    main_at = {**main.__globals__}
    exec(BLOCKS["sigterm"].replace("8765", str(port)), main_at)
    serving = asyncio.create_task(main_at["main"]())
    async for conn in reliable_ws.connect(f"ws://127.0.0.1:{port}", proxy=None):
        await conn.send("one")
        assert await conn.recv() == "one"
        os.kill(os.getpid(), signal.SIGTERM)
        await serving
        assert said == ["the next process can have the file"]
        with SQLiteStore("server.db") as store:
            async with reliable_ws.serve(handler, "127.0.0.1", port, store=store):
                await conn.send("two")
                assert await conn.recv() == "two"
                await conn.close()
        break
    signal.signal(signal.SIGTERM, before)


async def test_run_offline(here):
    uri, got = f"ws://127.0.0.1:{free_port()}", []
    note = made("offline", URI=uri)["note"]
    with SQLiteStore("notes.db") as store:
        for text in ("one", "two"):
            await note(store, text)
            assert got == []

        async def take(conn: reliable_ws.Connection) -> None:
            got.extend([message async for message in conn])

        async with (
            reliable_ws.serve(take, "127.0.0.1", int(uri.rpartition(":")[2])),
            reliable_ws.connect(uri, store=store, name="notes") as conn,
        ):
            assert len(conn.restored.unconfirmed) == 2
    assert got == ["one", "two"]


def test_run_threads(here):
    uri = f"ws://127.0.0.1:{free_port()}"
    program = made("threads", URI=uri)
    orders = [{"id": number, "item": "apples"} for number in range(3)]
    with SQLiteStore("server.db") as theirs, SQLiteStore("client.db") as ours:
        theirs.run(lambda db: db.execute(TABLE))
        port = int(uri.rpartition(":")[2])
        with reliable_ws.sync.serve(program["handler"], "127.0.0.1", port, store=theirs):
            for _ in range(2):  # each is accepted once
                program["send"](ours, orders)
        rows = theirs.run(lambda db: db.execute("select * from orders"))
    assert [tuple(row) for row in rows] == [(order["id"], order["item"]) for order in orders]


# ------------------------------------------------------------------ figures, and names


def test_its_figures_are_those_of_the_code():
    config = Config()
    for what in (
        f"up to {LONGEST_KEY} characters",
        f"`Config.session_ttl` ({config.session_ttl:.0f} s)",
        f"`stored_ttl` ({config.stored_ttl / 86_400:.0f} days)",
        f"`close_progress_timeout` ({config.close_progress_timeout:.0f} s)",
        f"when one commit takes {STORE_SLOW:.0f} s",
        f"{ledger.CHECKPOINT >> 20} MiB of `FILE-wal`",
        f"{ledger.SPARE * file.PAGE >> 20} MiB of free pages",
        f"`outbox_bytes` ({config.window_bytes >> 20} MiB)",
        f"`max_tombstones` ({config.max_tombstones:,})",
        f"`Config.stored_keys` ({config.stored_keys:,})",
        f"at each of {len(all_points())} points",
    ):
        assert what in SAID, what
    assert config_with_store(config).session_ttl == config.stored_ttl


def test_its_errors_are_those_of_a_store():
    table = PAGE.partition("## Errors")[2]
    named = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    errors = {
        name
        for name in reliable_ws.__all__
        if isinstance(getattr(reliable_ws, name), type)
        and issubclass(getattr(reliable_ws, name), reliable_ws.StoreError)
    }
    assert named == errors - {"KeyExists"}  # that comes of Store.apply() alone


def test_what_it_names_exists():
    for name in re.findall(r"`(?:\w+\.)?((?:outbox|window|close|session|stored)_\w+)`", PAGE):
        assert hasattr(Config(), name), name
    for name in re.findall(r"^\| `\.(\w+)` \|", PAGE, re.MULTILINE):
        assert name in Restored.__dataclass_fields__, name
    assert set(RestoredMessage._fields) == {"number", "key", "message"}
    for name in re.findall(r"`([A-Z_]{4,})`", PAGE):
        known = name in {"BEGIN", "COMMIT", "ATTACH"} or hasattr(Outcome, name)
        assert known or hasattr(reliable_ws.State, name), name
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / Path(link)).resolve().exists(), link
