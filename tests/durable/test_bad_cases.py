"""What goes wrong around a store while its session works: said, and nothing false."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

import reliable_ws
from reliable_ws import Outcome, SQLiteStore, StoreFull
from tests.support.small_disk import make_room, small_disk

SECOND = """
import sys, reliable_ws
try:
    reliable_ws.SQLiteStore(sys.argv[1]).open()
except reliable_ws.StoreInUse as error:
    print(error)
"""


@pytest.fixture
def small(tmp_path):
    """A directory on a disk of 1 MB."""
    with small_disk(tmp_path / "small", 1) as directory:
        yield directory


class Taking:
    """A server that writes down what it takes."""

    def __init__(self):
        self.got = []

    async def __call__(self, conn):
        async for message in conn:
            self.got.append(message)


async def test_a_second_process_is_told_who_has_the_file(tmp_path):
    path, taking = tmp_path / "orders.db", Taking()
    with SQLiteStore(path) as store:
        async with reliable_ws.serve(taking, "127.0.0.1", 0) as server:
            uri = f"ws://127.0.0.1:{server.port}"
            async with reliable_ws.connect(uri, store=store, name="orders") as conn:
                await conn.send("one")
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-c", SECOND, str(path), stdout=subprocess.PIPE
                )
                words = (await process.communicate())[0].decode()
                assert str(path) in words
                assert str(os.getpid()) in words
                await (await conn.send("two"))
    assert taking.got == ["one", "two"]


async def test_a_disk_that_fills_while_a_stream_goes_on(small):
    taking = Taking()
    # It takes nothing while there is no room, so that the file has to grow.
    may_take = asyncio.Event()

    async def handler(conn):
        await may_take.wait()
        await taking(conn)

    accepted, refused = [], []
    with SQLiteStore(small / "orders.db") as store:
        async with reliable_ws.serve(handler, "127.0.0.1", 0) as server:
            uri = f"ws://127.0.0.1:{server.port}"
            async with reliable_ws.connect(uri, store=store, name="orders") as conn:
                for number in range(200):
                    message = f"{number} {'x' * 20_000}"
                    try:
                        await conn.send(message, key=str(number))
                    except StoreFull:
                        refused.append(message)
                        break
                    accepted.append(message)
                assert refused
                assert store.outcome(refused[0].split()[0]) is None
                with pytest.raises(StoreFull):
                    conn.send_nowait("more")
                make_room(small)
                async with asyncio.timeout(60):
                    while True:  # it goes on by itself
                        try:
                            receipt = await conn.send(refused[0], key=refused[0].split()[0])
                        except StoreFull:
                            await asyncio.sleep(0.05)
                        else:
                            break
                may_take.set()
                await receipt
                accepted += refused
                outcomes = {store.outcome(message.split()[0]) for message in accepted}
                assert outcomes <= {Outcome.CONFIRMED, Outcome.KEPT}
    assert taking.got == accepted
