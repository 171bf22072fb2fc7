"""A chat over three workers behind haproxy, restarted one by one. Needs redis-server, haproxy."""

import asyncio
import itertools
import sys
import tempfile
from pathlib import Path

from _workers import Shop

import reliable_ws

GAP = "(another worker has you now: lines may be missing)"


async def work(port: int, engine: str) -> None:
    cluster = reliable_ws.Cluster(engine)
    room = reliable_ws.Group("room", cluster=cluster)

    async def chat(conn: reliable_ws.Connection) -> None:
        if conn.restored:  # what is said before it has joined here does not reach it
            await conn.send(GAP)
        await room.join(conn)
        async for delivery in conn.deliveries():  # until the member has finished
            async with delivery as line:
                room.publish(line)

    sessions = reliable_ws.Sessions(cluster=cluster, level="park")
    server = await reliable_ws.serve(chat, "127.0.0.1", port, sessions=sessions)
    reliable_ws.drain_on_sigterm(sessions, timeout=5, then=server.inner.close)
    await server.wait_closed()


async def talk(uri: str, name: str, over: asyncio.Event) -> list[str]:
    async with reliable_ws.connect(uri, proxy=None) as conn:
        heard = [GAP]
        while not over.is_set():
            await conn.send(line := f"{name}: line {len(heard)}")
            heard.append(await conn.recv())
            while heard[-1] not in {line, GAP}:
                heard.append(await conn.recv())
        await conn.finish()
        return heard + [one async for one in conn]


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with Shop(__file__, Path(folder)) as shop:
            over = asyncio.Event()
            talks = asyncio.gather(*(talk(shop.uri, name, over) for name in "abcdef"))
            for port in shop.ports:
                await shop.restart(port)
            over.set()
            heard = await talks
    pairs = {pair for lines in heard for pair in itertools.pairwise(lines) if GAP not in pair}
    print(f"{len(pairs)} lines, in the same order for all: {len(pairs) == len(dict(pairs))}")


asyncio.run(main() if len(sys.argv) == 1 else work(int(sys.argv[1]), sys.argv[2]))
