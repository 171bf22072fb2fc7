"""A receiver whose orders are in a database of its own: a file of sqlite, or PostgreSQL.

The store and the database commit one after the other. So an order may come again after a crash
between the two. Its ``delivery.key`` is the same then, and the database takes it once."""

import sqlite3
from pathlib import Path
from typing import Any

from _kill import run
from durable_orders import ORDERS, send

import reliable_ws

TABLE = "create table if not exists packed (key text primary key, number integer)"


class Sqlite:
    def __init__(self, directory: Path) -> None:
        self.db = sqlite3.connect(directory / "orders.db", isolation_level=None)
        self.db.execute(TABLE)

    async def pack(self, key: str, number: int) -> None:
        self.db.execute("insert into packed values (?, ?) on conflict do nothing", (key, number))


class PostgreSQL:  # the same for ``db = await asyncpg.connect(…)``; it is not used below
    def __init__(self, db: Any) -> None:
        self.db = db

    async def pack(self, key: str, number: int) -> None:
        new = "insert into packed values ($1, $2) on conflict do nothing returning key"
        async with self.db.transaction():
            if await self.db.fetchval(new, key, number) is not None:
                ...  # further work


async def receive(directory: Path, port: int) -> None:
    orders = Sqlite(directory)

    async def handler(conn: reliable_ws.Connection) -> None:
        async for delivery in conn.deliveries():
            await orders.pack(delivery.key, delivery.message[0])
            delivery.confirm()  # behind the commit: after a crash in between it comes again
            print("packed", flush=True)

    store = reliable_ws.SQLiteStore(directory / "receiver.db")
    async with reliable_ws.serve(handler, "127.0.0.1", port, store=store) as server:
        print("listening", flush=True)
        await server.serve_forever()


def audit(directory: Path) -> None:
    packed = [row[0] for row in Sqlite(directory).db.execute("select number from packed")]
    print(f"{ORDERS} orders: each packed once: {sorted(packed) == list(range(ORDERS))}")


if __name__ == "__main__":
    run(send, receive, audit)
