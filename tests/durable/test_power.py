"""Power cuts in a conversation: both sides go on from what their disks have left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("apsw")

from reliable_ws.protocol.frames import Code
from reliable_ws.stores import holder
from tests.durable.audit import audit
from tests.durable.board import SIDES, Board
from tests.durable.sides import Life
from tests.durable.task_sides import Acceptor, Initiator
from tests.support.apsw_store import Disk, DiskStore

CUTS = 12

LOST_STATE = (Code.UNKNOWN, Code.VIOLATION)
"How a session ends of which one side has forgotten what the other one has seen (RESUME-3)."


class PlacedNotes:
    """What a side writes down, with how far the disk was then."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.lines: list[tuple[int, Any]] = []

    def write(self, *fields: Any) -> None:
        self.lines.append((len(self.disk.log), fields))

    def save(self, path: Path, upto: int) -> None:
        """Write down what had happened when the disk was so far."""
        lines = [json.dumps(fields) + "\n" for at, fields in self.lines if at <= upto]
        path.write_text("".join(lines))


def listening() -> socket.socket:
    found = socket.create_server(("127.0.0.1", 0), backlog=64)
    found.setblocking(False)
    return found


async def converse(
    directory: Path, disk: Disk, survives: str, door: socket.socket, seconds: float
) -> Any:
    """Let both sides talk; return what each has written down, and how far the disk came."""
    board = Board()
    notes = {side: PlacedNotes(disk) for side in SIDES}
    both: list[Any] = []
    for side, program in (("initiator", Initiator), ("acceptor", Acceptor)):
        store = DiskStore(directory / f"{side}.db", disk, survives=survives)
        life = Life(directory, side, 1, len(both), board, door, survives)
        life = life._replace(store=store, notes=notes[side])
        both.append(program(life))
    running = [asyncio.ensure_future(one.run()) for one in both]
    await asyncio.wait(running, timeout=seconds)
    end = len(disk.log)
    for task in running:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*running, return_exceptions=True)
    await asyncio.sleep(0.1)  # what was changed last goes to the stores
    for one in both:
        one.store.close()
    return notes, end


async def go_on(
    directory: Path, seed: int, door: socket.socket, *, forgiving: bool
) -> dict[str, bool]:
    """Let both sides go on from their files, and come to an end; return which are uncertain."""
    board = Board()
    board.finishing = True
    both = []
    for side, program in (("initiator", Initiator), ("acceptor", Acceptor)):
        patience = 0.3 if forgiving else 1e9
        life = Life(directory, side, 2, seed, board, door, "power", patience=patience)
        both.append(program(life))
    async with asyncio.timeout(60):
        await asyncio.gather(*(one.run() for one in both))
    return {one.life.side: one.store.uncertain for one in both}


def said(directory: Path) -> list[str]:
    """What applications were told: sessions that may lack something, and those that do."""
    words = []
    for side in SIDES:
        for line in (directory / f"{side}.notes").read_text().splitlines():
            what, *fields = json.loads(line) if line else [""]
            if what in ("open", "handler") and fields[1]:
                words.append(f"{side}: {what} uncertain")
            if what == "event" and fields[1] in LOST_STATE:
                words.append(f"{side}: {fields}")
    return words


@pytest.mark.parametrize("survives", ["power", "process"])
def test_power_cuts_in_a_conversation(tmp_path, monkeypatch, caplog, survives):
    caplog.set_level(logging.ERROR)
    monkeypatch.setattr("reliable_ws.stores.ledger.CHECKPOINT", 200_000)
    disk = Disk()
    first = tmp_path / "first"
    first.mkdir()
    try:
        with listening() as door:
            notes, end = asyncio.run(converse(first, disk, survives, door, 1.5))
        monkeypatch.setattr(holder, "boot_id", lambda: "another")
        lost, told = 0, Counter()
        for seed in range(CUTS):
            chance = random.Random(seed)
            cut = chance.randint(end // 20, end)
            directory = tmp_path / f"cut{seed}"
            directory.mkdir()
            disk.image(directory, cut, chance, keeps=chance.choice((None, *SIDES)))
            for side in SIDES:
                notes[side].save(directory / f"{side}.notes", cut)
                (directory / f"{side}.log").touch()
            with listening() as door:
                forgiving = survives == "process"
                uncertain = asyncio.run(go_on(directory, seed, door, forgiving=forgiving))
            wrong = audit(directory).wrong
            if survives == "power":
                assert wrong == [], f"cut {seed}"
                assert said(directory) == []
                assert not any(uncertain.values())
            elif wrong:
                lost += 1
                told.update(said(directory))
                assert all(uncertain.values())  # also of sessions that are gone altogether
        assert (lost > 0) is (len(told) > 0) is (survives == "process")
    finally:
        disk.unregister()
