"""What is submitted comes back; what may be forgotten goes."""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from contextlib import closing

import pytest

from reliable_ws import KeyExists, SQLiteStore, StoreError
from reliable_ws.store import KeptSend, Run, Store, Stored
from reliable_ws.stores.guard import Rows
from tests.support.sqlite_files import ID, OTHER, apply, change, keep


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def store(path):
    with SQLiteStore(path) as opened:
        yield opened


def again(path):
    with SQLiteStore(path) as store:
        return list(store.open())


def test_it_is_a_store(path):
    assert isinstance(SQLiteStore(path), Store)


def test_a_new_file_has_nothing(store):
    assert store.open() == []
    assert store.alive_at is None
    assert not store.uncertain


def test_what_is_kept_comes_back(store, path):
    keep(store, change(1, 2), change(1, session=OTHER, facts=b"more"))
    keep(store, change(3, 4, data=b"x", facts=b"newer", entries=Run(1, 1, b"call")))
    expected = [
        Stored(ID, b"newer", (Run(1, 2, b"data"), Run(3, 4, b"x")), (Run(1, 1, b"call"),)),
        Stored(OTHER, b"more", (Run(1, 1, b"data"),)),
    ]
    assert store.open() == expected
    store.close()
    assert again(path) == expected


def test_runs_that_are_confirmed_wholly_are_forgotten(store, path):
    keep(store, change(1, 3), change(4, 3), change(entries=Run(1, 5, b"e")))
    keep(store, change(confirmed=5, received=5))
    (stored,) = store.open()
    assert stored.messages == (Run(4, 3, b"data"),)
    assert stored.entries == ()
    keep(store, change())  # says nothing of what is confirmed
    keep(store, change(7, confirmed=6))
    store.close()
    assert again(path)[0].messages == (Run(7, 1, b"data"),)


def test_keys_are_found_and_the_confirmed_ones_are_not_listed(store, path):
    keep(store, change(1, 2, keys=(("one", 1), ("two", 2))))
    keep(store, change(confirmed=1, facts=b"later"))
    assert store.find("one") == (ID, 1, b"later")
    assert store.find("none") is None
    assert store.open()[0].keys == (("two", 2),)


def test_a_key_is_the_first_ones(store):
    keep(store, change(1, keys=(("k", 1),)))
    keep(store, change(1, session=OTHER, keys=(("k", 1),)))
    assert store.find("k") == (ID, 1, b"facts")


def test_an_ended_session_is_forgotten_when_its_time_has_come(store, path):
    keep(store, change(1, keys=(("k", 1),), until=time.time() + 3600))
    keep(store, change(1, session=OTHER, keys=(("o", 1),), until=time.time() - 1))
    store.close()
    with SQLiteStore(path) as later:
        assert [stored.session for stored in later.open()] == [ID]
        assert later.find("k") == (ID, 1, b"facts")
        assert later.find("o") is None
    with closing(sqlite3.connect(path)) as connection:
        for table in ("keys", "runs", "sessions"):
            assert connection.execute(f"select count(*) from rws_{table}").fetchone() == (1,)


def test_only_so_many_sessions_that_have_ended_are_remembered(store, path):
    """TOMB-2: those that ended last, also where the clock was set back."""
    now, names = time.time(), [b"%016d" % number for number in range(6)]
    keep(store, change(1, session=ID))
    keep(store, *(change(1, session=name, keys=((name.hex(), 1),)) for name in names))
    for number, name in enumerate(names):
        keep(store, change(session=name, until=now + 3600 - number, most_ended=2))
    assert [stored.session for stored in store.open()] == [ID, *names[4:]]
    assert [store.find(name.hex()) is None for name in names] == [True] * 4 + [False] * 2
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        for table, count in (("keys", 2), ("runs", 3), ("sessions", 3)):
            assert connection.execute(f"select count(*) from rws_{table}").fetchone() == (count,)
    with SQLiteStore(path) as later:
        keep(later, change(until=now + 1, most_ended=1))
        assert [stored.session for stored in later.open()] == [ID]


def test_a_session_that_ends_and_is_forgotten_in_one_group_leaves_nothing(store, path):
    keep(store, change(1, until=2e9, most_ended=1), change(1, session=OTHER, until=2e9))
    group = [change(2, session=b"%016d" % n, until=2e9, most_ended=1) for n in range(3)]
    keep(store, *group)
    store.close()
    assert [stored.session for stored in again(path)] == [group[-1].session]


def test_old_keys_of_a_session_that_lives_are_forgotten(store, monkeypatch):
    monkeypatch.setattr("reliable_ws.stores.ledger.KEYS_AT_ONCE", 2)
    keep(store, change(1, 5, keys=tuple((f"k{number}", number) for number in range(1, 6))))
    keep(store, change(1, session=OTHER, keys=(("other", 1),)))
    apply(store, lambda _db: None, send=b"x", key="kept")
    keep(store, change(confirmed=5, keys_upto=1))
    assert store.find("k1") is not None  # not for one alone
    keep(store, change(confirmed=5, keys_upto=3))
    found = [store.find(f"k{number}") is not None for number in range(1, 6)]
    assert found == [False, False, False, True, True]
    assert store.find("other") is not None
    assert store.find("kept") is not None


def test_it_says_that_it_lives_and_forgets_while_it_has_nothing_to_do(path, monkeypatch):
    monkeypatch.setattr("reliable_ws.stores.sqlite.TICK", 0.01)
    with SQLiteStore(path) as store:
        keep(store, change(1, until=time.time() + 0.2))
        deadline = time.monotonic() + 60
        while store.open() and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        assert store.open() == []
    with SQLiteStore(path) as store:
        assert abs(store.alive_at - time.time()) < 60


def test_many_submits_are_kept_in_order_and_each_is_told_once(store, path):
    told = queue.Queue()
    for number in range(1, 501):
        store.submit([change(number, data=b"%d" % number)], lambda e, n=number: told.put((n, e)))
    store.close()
    assert [told.get_nowait() for _ in range(500)] == [(n, None) for n in range(1, 501)]
    assert told.empty()
    assert [int(run.data) for run in again(path)[0].messages] == list(range(1, 501))


def test_a_done_that_raises_stops_nothing(store, caplog):
    def bad(_error):
        raise SystemExit

    store.submit([change(1)], bad)
    keep(store, change(2))
    assert "raised" in caplog.text


# ---------------------------------------------------------------------------------- apply


async def keep_later(_db):
    """Is no work for a thread."""


def table(db):
    db.execute("create table orders (id integer primary key, what text)")


def test_work_is_kept_with_the_delivery(store, path):
    keep(store, change())
    apply(store, table, delivery=1)

    def work(db):
        db.executemany("insert into orders (what) values (?)", [("a",), ("b",)])
        rows = db.execute("select id, what from orders order by id")
        assert rows.columns == ("id", "what")
        assert rows.fetchone() == (1, "a")
        assert list(rows) == [(2, "b")]
        return db.execute("update orders set what = 'c' where id = :id", {"id": 1})

    rows = apply(store, work, delivery=3)
    assert isinstance(rows, Rows)
    assert rows.rowcount == 1
    assert store.open()[0].applied == (1, 3)
    keep(store, change(taken=1))
    store.close()
    assert again(path)[0].applied == (3,)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select what from orders").fetchall() == [("c",), ("b",)]


@pytest.mark.parametrize("what", [ValueError("no"), KeyboardInterrupt(), SystemExit(1)])
def test_what_raises_is_undone_and_handed_out(store, what):
    keep(store, change())
    apply(store, table, delivery=1)

    def work(db):
        db.execute("insert into orders values (1, 'x')")
        raise what

    with pytest.raises(type(what)) as raised:
        apply(store, work, delivery=2)
    assert raised.value is what
    assert apply(store, lambda db: db.execute("select * from orders").fetchall(), delivery=3) == []
    assert store.open()[0].applied == (1, 3)


def test_an_error_of_sql_is_the_works_own_affair(store):
    keep(store, change())
    apply(store, table, delivery=1)

    def twice(db):
        db.execute("insert into orders values (1, 'x')")
        with pytest.raises(sqlite3.IntegrityError):
            db.execute("insert into orders values (1, 'x')")

    apply(store, twice, delivery=2)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        apply(store, lambda db: db.execute("select * from absent"), delivery=3)
    assert store.open()[0].applied == (1, 2)


def test_others_of_the_same_group_are_not_touched(store):
    keep(store, change())
    gate, told = threading.Event(), queue.Queue()
    store.submit([change()], lambda _error: gate.wait(60))
    store.submit([change(1)], told.put)
    raised = queue.Queue()

    from reliable_ws.store import Apply

    store.apply(Apply(ID, lambda db: 1 / 0, 1), lambda *answer: raised.put(answer))
    store.submit([change(2)], told.put)
    gate.set()
    assert (told.get(timeout=60), told.get(timeout=60)) == (None, None)
    assert isinstance(raised.get(timeout=60)[1], ZeroDivisionError)
    assert len(store.open()[0].messages) == 2


@pytest.mark.parametrize(
    "sql",
    [
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "SAVEPOINT x",
        "RELEASE rws",
        "ROLLBACK TO rws",
        "ATTACH 'other.db' AS other",
        "DETACH main",
        "PRAGMA synchronous=OFF",
        "PRAGMA journal_mode",
        "PRAGMA wal_checkpoint",
        "PRAGMA writable_schema=ON",
        "VACUUM",
        "DELETE FROM rws_runs",
        "DELETE FROM main.rws_runs WHERE row = ?",
        "INSERT INTO RWS_META VALUES ('clean', 1)",
        "UPDATE rws_sessions SET facts = 1",
        "DROP TABLE rws_runs",
        "DROP INDEX rws_keys_of_session",
        "ALTER TABLE rws_runs ADD COLUMN x",
        "CREATE INDEX mine ON rws_runs (first)",
        "CREATE TRIGGER t AFTER INSERT ON rws_runs BEGIN SELECT 1; END",
        "CREATE TEMP TRIGGER t AFTER INSERT ON main.rws_runs BEGIN SELECT 1; END",
        "CREATE TABLE Rws_mine (x)",
        "CREATE TEMP TABLE rws_runs (x)",
        "CREATE TEMP VIEW rws_runs AS SELECT 1",
    ],
)
def test_statements_that_are_not_for_the_application_are_refused(store, sql):
    keep(store, change(1))
    keep(store, change(2, confirmed=1))  # the store has compiled its own statements

    def work(db):
        db.execute(sql, (1,) * sql.count("?"))

    with pytest.raises((StoreError, sqlite3.OperationalError)):
        apply(store, work, delivery=1)
    keep(store, change(3))
    assert [run.first for run in store.open()[0].messages] == [2, 3]
    assert store.open()[0].applied == ()


def test_a_trigger_of_the_application_does_not_reach_the_stores_tables(store):
    keep(store, change(1))
    apply(store, table, delivery=1)

    def work(db):
        db.execute("create trigger t after insert on orders begin delete from rws_runs; end")
        db.execute("insert into orders values (1, 'x')")

    with pytest.raises(StoreError, match="rws_"):
        apply(store, work, delivery=2)
    assert len(store.open()[0].messages) == 1


def test_what_only_tells_something_is_allowed(store):
    keep(store, change(1))
    apply(store, table, delivery=1)
    assert len(apply(store, lambda db: list(db.execute("pragma table_info(orders)")))) == 2
    assert apply(store, lambda db: list(db.execute("select count(*) from rws_runs"))) == [(1,)]


def test_work_of_the_application_needs_no_session(store, path):
    assert store.run(table) is None
    keep(store, change())
    store.run(lambda db: db.execute("insert into orders values (?, ?)", (1, "a")))

    def bad(db):
        db.execute("insert into orders values (2, 'b')")
        raise LookupError("undone")

    with pytest.raises(LookupError, match="undone"):
        store.run(bad)
    with pytest.raises(StoreError, match="rws_"):
        store.run(lambda db: db.execute("delete from rws_sessions"))
    with pytest.raises(StoreError, match="own thread"):
        store.run(lambda _: store.run(table))
    store.close()
    with pytest.raises(StoreError, match="not open"):
        store.run(table)
    with SQLiteStore(path) as opened:
        assert opened.run(lambda db: db.execute("select * from orders").fetchall()) == [(1, "a")]


@pytest.mark.parametrize("work", [None, "select 1", keep_later])
def test_work_that_the_thread_cannot_do_is_refused(store, work):
    with pytest.raises(TypeError, match="plain function"):
        store.run(work)


def test_the_database_is_gone_when_the_work_has_returned(store):
    keep(store, change())
    kept = []
    apply(store, kept.append, delivery=1)
    with pytest.raises(StoreError, match="returned"):
        kept[0].execute("select 1")


def test_the_work_cannot_wait_for_the_store(store):
    keep(store, change())
    for wait in (lambda _: store.find("k"), lambda _: store.open(), lambda _: store.run(table)):
        with pytest.raises(StoreError, match="own thread"):
            apply(store, wait, delivery=1)


def test_a_send_is_kept_with_the_work(store, path):
    keep(store, change(1))
    assert apply(store, table, send=b"message", key="k") == (1, None)
    assert apply(store, lambda _: 7, send=b"next") == (2, 7)
    assert store.find("k") == (ID, 0, b"facts")
    assert store.open()[0].sends == (KeptSend(1, b"message", "k"), KeptSend(2, b"next", None))
    keep(store, change(2, keys=(("k", 2),), sends=(1,)))
    assert store.find("k") == (ID, 2, b"facts")
    store.close()
    assert again(path)[0].sends == (KeptSend(2, b"next", None),)


def test_a_key_that_exists_keeps_the_work_from_running(store):
    keep(store, change(1, keys=(("k", 1),)))
    ran = []
    with pytest.raises(KeyExists) as raised:
        apply(store, ran.append, send=b"message", key="k")
    assert raised.value.found == (ID, 1, b"facts")
    assert raised.value.key == "k"
    assert not ran
    assert store.open()[0].sends == ()


def test_a_delivery_is_applied_once(store):
    keep(store, change())
    apply(store, table, delivery=1)
    with pytest.raises(StoreError, match="applied before"):
        apply(store, table, delivery=1)


def test_a_session_that_was_never_kept_is_named(store):
    with pytest.raises(StoreError, match=ID.hex()):
        apply(store, table, delivery=1)


# ---------------------------------------------------------------------------------- bounds


def test_space_is_given_back(path):
    with SQLiteStore(path, survives="process") as store:
        for number in range(1, 41):
            keep(store, change(number, data=bytes(1 << 20)))
        assert (path.parent / "store.db-wal").stat().st_size < 40 << 20
        keep(store, change(confirmed=40))
    assert path.stat().st_size < 12 << 20
    assert not (path.parent / "store.db-wal").exists()


def test_a_stream_that_is_confirmed_does_not_grow_the_files(path):
    with SQLiteStore(path, survives="process") as store:
        for number in range(1, 201):
            keep(store, change(number, data=bytes(1 << 19), confirmed=number - 2))
        assert path.stat().st_size < 8 << 20
        assert (path.parent / "store.db-wal").stat().st_size < 24 << 20
