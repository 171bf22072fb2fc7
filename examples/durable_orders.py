"""A sender and a receiver that may be killed at any time: no order is lost, none is packed twice.

By itself it starts both, kills both with -9 again and again, and audits. By hand:
``python durable_orders.py receive DIRECTORY PORT``, and ``… send DIRECTORY PORT``.
"""

import asyncio
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from _kill import run

import reliable_ws

ORDERS = 200


async def send(directory: Path, port: int) -> None:
    uri, store = f"ws://127.0.0.1:{port}", reliable_ws.SQLiteStore(directory / "sender.db")
    async with reliable_ws.connect(uri, store=store, name="orders") as conn:
        for number in range(ORDERS):  # from the first one: a key is accepted once
            await conn.send([number, "apples"], key=f"order {number}")
            await asyncio.sleep(0.005)


def pack(db: Any, number: int, what: str) -> None:
    db.execute("create table if not exists packed (number integer, what text)")
    db.execute("insert into packed values (?, ?)", (number, what))


async def receive(directory: Path, port: int) -> None:
    async def handler(conn: reliable_ws.Connection) -> None:
        async for delivery in conn.deliveries():
            number, what = delivery.message
            # One commit: the order is packed and confirmed, or neither.
            await delivery.confirm(apply=partial(pack, number=number, what=what))
            print("packed", number, flush=True)

    store = reliable_ws.SQLiteStore(directory / "receiver.db")
    async with reliable_ws.serve(handler, "127.0.0.1", port, store=store) as server:
        print("listening", flush=True)
        await server.serve_forever()


def audit(directory: Path) -> None:
    with closing(sqlite3.connect(directory / "receiver.db")) as db:
        packed = [number for (number,) in db.execute("select number from packed order by rowid")]
    lost, twice = len({*range(ORDERS)} - {*packed}), len(packed) - len({*packed})
    print(
        f"{ORDERS} orders: {lost} lost, {twice} packed twice, in order: {packed == sorted(packed)}"
    )


if __name__ == "__main__":
    run(send, receive, audit)
