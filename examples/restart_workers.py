"""Three workers behind haproxy are restarted one by one, and no client loses anything.

Each worker gets SIGTERM in turn, and leaves its sessions to the others. Needs
``reliable-ws[redis]``, and the programs redis-server and haproxy.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from _workers import Shop

import reliable_ws


async def pack(conn: reliable_ws.Connection) -> None:
    """Answer each order. When this worker goes, another one runs this for the same session."""
    async for delivery in conn.deliveries():
        async with delivery as order:
            await conn.send([order, delivery.redelivered, os.getpid()])


async def work(port: int, engine: str) -> None:
    sessions = reliable_ws.Sessions(cluster=reliable_ws.Cluster(engine), level="park")
    server = await reliable_ws.serve(pack, "127.0.0.1", port, sessions=sessions)
    reliable_ws.drain_on_sigterm(sessions, timeout=5, then=server.inner.close)
    await server.wait_closed()


async def buy(uri: str, stop: asyncio.Event) -> tuple[int, int, int]:
    async with reliable_ws.connect(uri, proxy=None) as conn:
        orders = again = 0
        while not stop.is_set():
            orders += 1
            receipt = await conn.send(orders)
            while (answer := await conn.recv(timeout=30))[0] != orders:
                again += answer[1]
            await receipt
            await asyncio.sleep(0.01)
        return orders, again, conn.stats.resumes


async def main() -> None:
    stop = asyncio.Event()
    with tempfile.TemporaryDirectory() as folder:
        async with Shop(__file__, Path(folder)) as shop:
            clients = [asyncio.create_task(buy(shop.uri, stop)) for _ in range(10)]
            for port in shop.ports:
                await shop.restart(port)
                print(f"worker {port} was restarted")
            stop.set()
            orders, again, lost = map(sum, zip(*await asyncio.gather(*clients), strict=True))
    print(f"{orders} orders: all answered, in order; {again} came a second time, and were flagged")
    print(f"{lost} WebSockets were lost, and no session")


asyncio.run(main() if len(sys.argv) == 1 else work(int(sys.argv[1]), sys.argv[2]))
