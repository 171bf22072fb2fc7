"""Who may open a file, what is no store, and what a file says of the process before."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from contextlib import closing

import pytest

from reliable_ws import (
    NotAStore,
    SQLiteStore,
    StoreCorrupt,
    StoreError,
    StoreInUse,
    StoreTooNew,
)
from reliable_ws.stores import file, holder, ledger, sqlite
from reliable_ws.stores.examine import examine
from tests.support.sqlite_files import ID, OTHER, apply, change, content, keep

HOLD = """
    import sys
    from reliable_ws import SQLiteStore
    store = SQLiteStore(sys.argv[1], survives=sys.argv[2])
    store.open()
    import threading
    from reliable_ws.store import Change, Run
    kept = threading.Event()
    keys = (("k", 1),)
    store.submit([Change(b"a" * 16, b"facts", Run(1, 3, b"data"), keys=keys)], lambda e: kept.set())
    kept.wait()
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
def hold(path):
    running = []

    def start(survives="power"):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(HOLD), str(path), survives],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        assert process.stdout.readline() == "open\n"
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def killed(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def made(path):
    with SQLiteStore(path) as store:
        keep(store, change(1, 3))


# ---------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"path": 7}, TypeError),
        ({"path": b"x"}, TypeError),
        ({"path": ""}, ValueError),
        ({"path": ":memory:"}, ValueError),
        ({"path": "a\0b"}, ValueError),
        ({"path": "x", "survives": "all"}, ValueError),
    ],
)
def test_arguments_are_looked_at_at_once(arguments, error):
    with pytest.raises(error):
        SQLiteStore(**arguments)


def test_nothing_is_touched_before_open(path):
    store = SQLiteStore(path)
    assert store.path == str(path)
    assert "store.db" in repr(store)
    store.close()
    assert content(path) == {}
    for use in (lambda: keep(store, change(1)), lambda: store.find("k")):
        with pytest.raises(StoreError, match="not open"):
            use()


def test_only_this_user_may_read_it(path):
    with SQLiteStore(path) as store:
        keep(store, change(1))
        assert {found.stat().st_mode & 0o777 for found in path.parent.iterdir()} == {0o600}
        assert sorted(content(path)) == ["store.db", "store.db-wal"]  # no -shm
    assert sorted(content(path)) == ["store.db"]


def test_a_closed_store_can_be_opened_again(path):
    store = SQLiteStore(path)
    store.open()
    keep(store, change(1))
    store.close()
    store.close()
    assert len(store.open()) == 1
    store.close()


# ---------------------------------------------------------------------------------- in use


def test_two_stores_of_one_process(path, tmp_path):
    (tmp_path / "link").symlink_to(path)
    with SQLiteStore(path) as store:
        os.link(path, tmp_path / "hard")
        for name in (path, tmp_path / "link", tmp_path / "hard"):
            with pytest.raises(StoreInUse, match=f"pid {os.getpid()}.*{path}"):
                SQLiteStore(name).open()
            with pytest.raises(StoreInUse):
                examine(str(name))
        # The lock is still there.
        other = sqlite3.connect(path, timeout=0)
        with closing(other), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("select * from sqlite_master")
        keep(store, change(1))
    made(path)


def test_another_process_is_named_and_its_death_frees_the_file(path, hold, tmp_path):
    (tmp_path / "link").symlink_to(path)
    process = hold()
    for name in (path, tmp_path / "link"):
        with pytest.raises(StoreInUse, match=f"process {process.pid} has it open.*{path}"):
            SQLiteStore(name).open()
    killed(process)
    with SQLiteStore(path) as store:
        assert store.open()[0].messages[0].last == 3
        assert store.find("k") == (ID, 1, b"facts")
        assert not store.uncertain
        assert abs(store.alive_at - time.time()) < 60


def test_a_look_disturbs_nobody(path, hold):
    process = hold()
    before = content(path)
    found = examine(str(path))
    assert found.holder == process.pid
    assert found.damage == ()
    assert [stored.session for stored, _until in found.sessions] == [ID]
    assert not found.clean
    assert content(path) == before
    killed(process)
    assert examine(str(path)).holder is None
    assert content(path) == before
    made(path)
    assert examine(str(path)).clean
    assert examine(str(path)).survives == "power"


# ---------------------------------------------------------------------------------- no store


def refused(path, error, match):
    before = content(path)
    for open_it in (SQLiteStore(path).open, lambda: examine(str(path))):
        with pytest.raises(error, match=match):
            open_it()
    assert content(path) == before
    assert holder._taken == {}


def test_a_file_of_something_else(path):
    path.write_bytes(b"Dear diary, " * 100)
    refused(path, NotAStore, r"this is no SQLite database.*Name another")


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_database_of_another_program(path, mode):
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"pragma journal_mode={mode}")
        other.execute("create table t (x)")
    refused(path, NotAStore, "application_id 0")


def test_a_newer_release(path):
    made(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("pragma user_version=99")
    refused(path, StoreTooNew, r"version 99.*Install the release")


def test_a_file_that_is_cut_short(path):
    made(path)
    data = path.read_bytes()
    path.write_bytes(data[:60])
    refused(path, StoreCorrupt, "ends after 60 bytes")
    path.write_bytes(data[: file.PAGE * 2])
    before = content(path)
    with pytest.raises(StoreCorrupt, match=r"malformed.*Restore"):
        SQLiteStore(path).open()
    assert content(path) == before
    assert examine(str(path)).damage


def test_an_empty_file_is_a_new_store_but_not_beside_a_wal(path, hold):
    path.touch()
    made(path)
    killed(hold())
    path.write_bytes(b"")
    refused(path, StoreCorrupt, r"empty, but .*-wal is not")


@pytest.mark.parametrize(
    ("table", "what"),
    [("runs", "data"), ("runs", "first"), ("sessions", "facts"), ("sends", "data")],
)
def test_a_flipped_bit_is_found(path, table, what):
    with SQLiteStore(path) as store:
        keep(store, change(1, 3))
        apply(store, lambda _: None, send=b"send")
    with closing(sqlite3.connect(path)) as other, other:
        value = 5 if what == "first" else b"xxxx"
        other.execute(f"update rws_{table} set {what} = ?", (value,))
    before = content(path)
    with pytest.raises(StoreCorrupt, match=f"checksum of row 1 of rws_{table}.*Restore"):
        SQLiteStore(path).open()
    assert content(path) == before
    assert any(table in damage for damage in examine(str(path)).damage)


def test_a_damaged_store_with_a_wal_is_left_as_it_is(path, monkeypatch):
    with SQLiteStore(path) as store:
        monkeypatch.setattr(ledger, "run_crc", lambda run: 0)
        keep(store, change(1, 3))
        # Read by another process: to close a file here would drop the store's locks.
        subprocess.run(["cp", path, f"{path}.copy"], check=True)
        subprocess.run(["cp", f"{path}-wal", f"{path}.copy-wal"], check=True)
    monkeypatch.undo()
    copy = path.with_name("store.db.copy")
    before = content(copy)
    assert len(before) == 2
    with pytest.raises(StoreCorrupt, match="checksum of row 1 of rws_runs"):
        SQLiteStore(copy).open()
    assert content(copy) == before


def test_missing_rows_are_found(path):
    with SQLiteStore(path) as store:
        keep(store, change(1), change(2), change(3))
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("delete from rws_runs where first = 2")
    with pytest.raises(StoreCorrupt, match="does not follow"):
        SQLiteStore(path).open()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("delete from rws_sessions")
        other.execute("delete from rws_runs where first = 1")
    with pytest.raises(StoreCorrupt, match="row 1 of rws_sessions is missing"):
        SQLiteStore(path).open()


def test_no_directory_and_a_directory(tmp_path):
    with pytest.raises(StoreError, match="Make the directory"):
        SQLiteStore(tmp_path / "absent" / "store.db").open()
    with pytest.raises(StoreError, match="Name a file"):
        SQLiteStore(tmp_path).open()


@pytest.fixture
def nobody():
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_a_file_or_a_directory_that_cannot_be_written(tmp_path, nobody):
    directory = tmp_path / "d"
    os.umask(os.umask(0))
    if os.geteuid() == 65534:
        os.seteuid(0)
        directory.mkdir()
        made(directory / "store.db")
        os.chown(directory / "store.db", 65534, 65534)
        for above in (*tmp_path.parents, tmp_path, directory):
            if str(above).startswith(f"{tempfile.gettempdir()}/pytest"):
                above.chmod(0o755)
        os.seteuid(65534)
    else:
        directory.mkdir()
        made(directory / "store.db")
        directory.chmod(0o555)
    with pytest.raises(StoreError, match="let this user write"):
        SQLiteStore(directory / "store.db").open()
    (directory / "store.db").chmod(0o400)
    with pytest.raises(StoreError, match="let this user write"):
        SQLiteStore(directory / "store.db").open()


# ---------------------------------------------------------------------------------- versions


def test_an_older_schema_is_migrated_after_a_copy(path, monkeypatch):
    made(path)

    def add(connection):
        connection.execute("alter table rws_runs add column colour text default 'blue'")

    monkeypatch.setattr(file, "VERSION", 2)
    monkeypatch.setitem(file.MIGRATIONS, 1, add)
    with SQLiteStore(path) as store:
        assert len(store.open()[0].messages) == 1
    assert path.read_bytes()[60:64] == (2).to_bytes(4, "big")
    with closing(sqlite3.connect(f"{path}.version1")) as copy:
        assert copy.execute("pragma user_version").fetchone() == (1,)
        assert copy.execute("pragma integrity_check").fetchone() == ("ok",)
    with closing(sqlite3.connect(path)) as new:
        assert new.execute("select colour from rws_runs").fetchall() == [("blue",)]
    # The copy is a store of the older release.
    monkeypatch.setattr(file, "VERSION", 1)
    shutil.copy(f"{path}.version1", path)
    made(path)


def test_a_migration_that_fails_changes_nothing(path, monkeypatch):
    made(path)

    def bad(connection):
        connection.execute("drop table rws_keys")
        raise RuntimeError("no")

    monkeypatch.setattr(file, "VERSION", 2)
    monkeypatch.setitem(file.MIGRATIONS, 1, bad)
    with pytest.raises(RuntimeError):
        SQLiteStore(path).open()
    monkeypatch.setattr(file, "VERSION", 1)
    with SQLiteStore(path) as store:
        assert store.find("k") is None
        assert len(store.open()) == 1


@pytest.mark.parametrize(
    ("version", "faulty"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 1), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), True),
        ((3, 53, 0), False),
    ],
)
def test_the_wal_reset_fault(path, monkeypatch, caplog, version, faulty):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    monkeypatch.setattr(sqlite, "_warned", False)
    for _ in range(2):
        made(path)
    assert caplog.text.count("WAL-reset") == faulty
    if faulty:
        with pytest.raises(StoreError, match=r"3\.51\.3 and later"):
            SQLiteStore(path, shared=True)
    else:
        SQLiteStore(path, shared=True)


def test_a_shared_file_is_read_by_others_and_has_one_store(path, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 53, 0))
    with SQLiteStore(path, shared=True) as store:
        keep(store, change(1))
        with closing(sqlite3.connect(path)) as reader:
            assert reader.execute("select count(*) from rws_runs").fetchone() == (1,)
        for shared in (True, False):
            code = (
                "import sqlite3, sys; sqlite3.sqlite_version_info = (3, 53, 0)\n"
                "from reliable_ws import SQLiteStore\n"
                f"SQLiteStore(sys.argv[1], shared={shared}).open()"
            )
            done = subprocess.run(
                [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
            )
            assert "StoreInUse" in done.stderr
            assert shared is False or f"process {os.getpid()}" in done.stderr
        keep(store, change(2))
    made(path)


# ---------------------------------------------------------------------------------- boots


@pytest.mark.parametrize(
    ("survives", "boot", "uncertain"),
    [
        ("process", "another", True),
        ("process", None, True),
        ("process", "same", False),
        ("power", "another", False),
    ],
)
def test_a_power_cut_is_said(path, hold, monkeypatch, survives, boot, uncertain):  # noqa: PLR0917
    killed(hold(survives))
    if boot != "same":
        monkeypatch.setattr(holder, "boot_id", lambda: boot)
    with SQLiteStore(path) as store:
        assert store.uncertain is uncertain
        assert [stored.uncertain for stored in store.open()] == [uncertain]


def test_a_clean_end_is_certain_after_any_boot(path, monkeypatch):
    with SQLiteStore(path, survives="process") as store:
        keep(store, change(1))
    monkeypatch.setattr(holder, "boot_id", lambda: None)
    with SQLiteStore(path) as store:
        assert not store.uncertain


def test_a_session_is_uncertain_until_its_process_ends_in_order(path, hold, monkeypatch):
    killed(hold("process"))
    monkeypatch.setattr(holder, "boot_id", lambda: "another")
    with SQLiteStore(path) as store:
        keep(store, change(1, session=OTHER))  # new, and certain
    monkeypatch.undo()
    with SQLiteStore(path) as store:  # the session was not touched: nobody was told
        assert [stored.uncertain for stored in store.open()] == [True, False]
        keep(store, change(4))
    with SQLiteStore(path) as store:
        assert not store.uncertain


# ---------------------------------------------------------------------------------- processes


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_was_submitted_is_kept_when_the_interpreter_exits(path):
    done = run(
        """
        import sys
        from reliable_ws import SQLiteStore
        from reliable_ws.store import Change, Run
        store = SQLiteStore(sys.argv[1])
        store.open()
        for number in range(1, 201):
            store.submit([Change(b"a" * 16, b"f", Run(number, 1, b"x"))], lambda error: None)
        """,
        path,
    )
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    with SQLiteStore(path) as store:
        assert len(store.open()[0].messages) == 200
    assert examine(str(path)).clean


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("end", ["sys.exit()", "os._exit(0)"])
def test_a_forked_child_leaves_the_file_alone(path, end):
    done = run(
        f"""
        import gc, os, sys, threading, warnings
        warnings.simplefilter("ignore")
        from reliable_ws import SQLiteStore, StoreError
        from reliable_ws.store import Change, Run

        def keep(number):
            there = threading.Event()
            change = Change(b"a" * 16, b"f", Run(number, 1, b"x"))
            store.submit([change], lambda error: there.set())
            there.wait()

        store = SQLiteStore(sys.argv[1])
        store.open()
        keep(1)
        child = os.fork()
        if child == 0:
            for use in (lambda: keep(2), store.open, lambda: store.find("k"), store.__enter__,
                        SQLiteStore(sys.argv[1]).open):
                try:
                    use()
                except StoreError as exc:
                    print(type(exc).__name__, exc, flush=True)
            store.close()
            del store
            gc.collect()
            {end}
        assert os.waitpid(child, 0)[1] == 0
        assert os.path.exists(sys.argv[1] + "-wal")
        keep(2)
        print(os.system(
            f"{{sys.executable}} -c 'from reliable_ws import SQLiteStore as S; import sys;"
            f" S(sys.argv[1]).open()' {{sys.argv[1]}} 2>/dev/null"
        ) != 0)
        os.kill(os.getpid(), 9)
        """,
        path,
    )
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [*["StoreError"] * 4, "StoreInUse", "True"], done
    assert "forked process" in lines[0]
    with SQLiteStore(path) as store:
        assert len(store.open()[0].messages) == 2


def test_sqlite_is_loaded_by_the_first_store_only():
    done = run("import reliable_ws, sys; assert 'sqlite3' not in sys.modules")
    assert done.returncode == 0, done.stderr


def test_ctrl_c_while_it_opens_leaves_it_closed(path, monkeypatch):
    from reliable_ws.stores.sqlite import _Answer

    def wait(answer):
        answer._there.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(_Answer, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        SQLiteStore(path).open()
    monkeypatch.undo()
    made(path)


def test_what_is_submitted_while_the_file_is_opened_is_answered_if_that_fails(path, monkeypatch):
    store = SQLiteStore(path)
    told = queue.SimpleQueue()

    def connect(name):
        store.submit([change(1)], told.put)
        raise StoreError(f"{name}: no")

    monkeypatch.setattr(store, "_connect", connect)
    with pytest.raises(StoreError, match=": no"):
        store.open()
    assert "store.db: no" in str(told.get(timeout=60))
    with pytest.raises(StoreError, match="not open"):
        store.submit([change(1)], told.put)
    monkeypatch.undo()
    with store:
        assert store.open() == []
        keep(store, change(1))
    assert store.stats.waiting == 0
