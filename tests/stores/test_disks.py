"""Disks that are full, that fail, that stand still, and that lose their power."""

from __future__ import annotations

import contextlib
import os
import queue
import random
import threading
import time

import pytest

from reliable_ws import SQLiteStore, StoreError, StoreFailed, StoreFull
from reliable_ws.stores import holder
from tests.support.sqlite_files import apply, change, content, keep

pytest.importorskip("apsw")

from tests.support.apsw_store import Disk, DiskStore
from tests.support.small_disk import make_room, small_disk

# ---------------------------------------------------------------------------------- full


@pytest.fixture
def small(tmp_path):
    """A directory on a disk of 2 MB."""
    with small_disk(tmp_path / "small", 2) as directory:
        yield directory


def test_a_full_disk_refuses_and_goes_on_when_there_is_room(small):
    path = small / "store.db"
    with SQLiteStore(path) as store:
        keep(store, change(1, data=b"first"))
        apply(store, lambda db: db.execute("create table t (x)"), delivery=1)
        big = change(2, data=os.urandom(3 << 20))
        for _ in range(2):
            with pytest.raises(StoreFull, match=f"{path}: no room on the disk.*Make room"):
                keep(store, big)
            # Little things may still have room.
            keep(store, change(facts=b"small"))
        with pytest.raises(StoreFull):
            apply(store, lambda db: db.execute("insert into t values (zeroblob(3000000))"))

        with pytest.raises(StoreFull):
            store.run(lambda db: db.execute("insert into t values (zeroblob(3000000))"))

        def swallow(db):
            try:
                db.execute("insert into t values (zeroblob(3000000))")
            except Exception:
                pass
            db.execute("insert into t values (1)")

        with pytest.raises(StoreFull):
            apply(store, swallow, delivery=2)
        (stored,) = store.open()
        assert [run.data for run in stored.messages] == [b"first"]
        assert stored.applied == (1,)
        assert stored.facts == b"small"
        make_room(small)
        keep(store, big)
    with SQLiteStore(path) as store:
        assert [run.first for run in store.open()[0].messages] == [1, 2]
        assert apply(store, lambda db: list(db.execute("select * from t"))) == []


def test_every_batch_of_the_commit_is_refused(small):
    with SQLiteStore(small / "store.db") as store:
        keep(store, change(1))
        gate, told = threading.Event(), queue.Queue()
        store.submit([change()], lambda _error: gate.wait(60))
        store.submit([change(2)], told.put)
        store.submit([change(3, data=bytes(4 << 20))], told.put)
        gate.set()
        assert [type(told.get(timeout=60)) for _ in range(2)] == [StoreFull, StoreFull]
        assert len(store.open()[0].messages) == 1
        keep(store, change(2), change(3))
        assert len(store.open()[0].messages) == 3


def test_a_disk_without_room_for_a_new_store(small):
    (small / "filler").write_bytes(bytes(2 << 20)[: os.statvfs(small).f_bavail * 4096])
    with pytest.raises(StoreFull):
        SQLiteStore(small / "store.db").open()
    (small / "filler").unlink()
    with SQLiteStore(small / "store.db") as store:
        keep(store, change(1))


# ---------------------------------------------------------------------------------- broken


@pytest.fixture
def disk():
    made = Disk()
    yield made
    made.unregister()


def test_a_failed_fsync_stops_the_store(tmp_path, disk, caplog):
    path = tmp_path / "store.db"
    store = DiskStore(path, disk)
    store.open()
    keep(store, change(1))
    disk.broken = True
    with pytest.raises(StoreFailed, match=f"{path}: .*not known.*open the store again"):
        keep(store, change(2))
    assert "the store has stopped" in caplog.text
    disk.broken = False
    steps = len(disk.log)
    with pytest.raises(StoreFailed):
        keep(store, change(3))
    with pytest.raises(StoreFailed):
        store.find("k")
    with pytest.raises(StoreFailed):
        apply(store, lambda db: None, delivery=1)
    store.close()
    assert [step for step in disk.log[steps:] if step[0] in ("write", "truncate")] == []
    with SQLiteStore(path) as again:
        assert again.open()[0].messages[0].first == 1
        keep(again, change(4, session=b"c" * 16))


def test_a_failed_checkpoint_stops_the_store(tmp_path, disk, monkeypatch):
    store = DiskStore(tmp_path / "store.db", disk, survives="process")
    store.open()
    keep(store, change(1))
    monkeypatch.setattr("reliable_ws.stores.ledger.CHECKPOINT", 1)
    disk.broken = True
    with contextlib.suppress(StoreFailed):  # the checkpoint comes after the commit
        keep(store, change(2))
    with pytest.raises(StoreFailed):
        store.open()
    disk.broken = False
    store.close()


def test_a_disk_that_stands_still_is_seen_and_stops_nobody(tmp_path, disk):
    with DiskStore(tmp_path / "store.db", disk) as store:
        keep(store, change(1))
        deadline = time.monotonic() + 60
        while store.waiting_since is not None and time.monotonic() < deadline:
            time.sleep(0.001)
        assert store.waiting_since is None
        disk.go.clear()
        before = time.monotonic()
        told = queue.Queue()
        store.submit([change(2)], told.put)
        while store.waiting_since is None:
            assert time.monotonic() < deadline
        assert before <= store.waiting_since <= time.monotonic()
        store.submit([change(3)], told.put)
        assert told.empty()
        disk.go.set()
        assert (told.get(timeout=60), told.get(timeout=60)) == (None, None)


def test_an_exit_does_not_wait_for_ever(tmp_path, disk, monkeypatch, caplog):
    from reliable_ws.stores import sqlite

    monkeypatch.setattr(sqlite, "EXIT", 0.1)
    with DiskStore(tmp_path / "store.db", disk) as store:
        disk.go.clear()
        store.submit([change(1)], lambda _error: None)
        sqlite._close_all()
        assert "did not take" in caplog.text
        disk.go.set()


# ---------------------------------------------------------------------------------- power


def written(tmp_path, disk, survives):
    """A life of a store: where in the disk's log it began, and what was kept by when."""
    kept = []
    with DiskStore(tmp_path / "store.db", disk, survives=survives) as store:
        begun = len(disk.log)
        for number in range(1, 41):
            keep(
                store,
                change(
                    number,
                    data=b"%d " % number * (number * 200 if number % 7 == 0 else 20),
                    facts=b"%d" % number,
                    confirmed=number - 6,
                ),
            )
            kept.append((len(disk.log), number))
    return begun, kept


@pytest.mark.parametrize("survives", ["power", "process"])
def test_power_cuts(tmp_path, disk, survives, monkeypatch):
    monkeypatch.setattr("reliable_ws.stores.ledger.CHECKPOINT", 200_000)
    begun, kept = written(tmp_path, disk, survives)
    monkeypatch.setattr(holder, "boot_id", lambda: "another")
    lost = 0
    for seed in range(150):
        chance = random.Random(seed)
        cut = chance.randint(begun, len(disk.log))
        directory = tmp_path / f"cut{seed}"
        directory.mkdir()
        disk.image(directory, cut, chance)
        said = max((number for when, number in kept if when <= cut), default=0)
        store = SQLiteStore(directory / "store.db")
        found = store.open()
        newest = int(found[0].facts) if found else 0
        numbers = [run.first for run in found[0].messages] if found else []
        assert numbers == list(range(numbers[0], newest + 1)) if numbers else newest == 0
        if newest < said:
            lost += 1
            assert store.uncertain
            assert found == [] or found[0].uncertain
        if survives == "power":
            assert newest >= said
            assert not store.uncertain
        store.close()
    assert (lost > 20) is (survives == "process")


def test_power_cuts_while_a_store_is_made(tmp_path, disk):
    begun, _kept = written(tmp_path, disk, "power")
    for seed in range(40):
        chance = random.Random(seed)
        directory = tmp_path / f"cut{seed}"
        directory.mkdir()
        disk.image(directory, chance.randint(0, begun), chance)
        try:
            with SQLiteStore(directory / "store.db") as store:
                keep(store, change(1))
        except StoreError:
            pytest.fail(f"{seed}: {sorted(content(directory / 'store.db'))}")
