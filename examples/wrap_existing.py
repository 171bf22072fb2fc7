"""Make an ordinary websockets server and client reliable: wrap each end, change nothing else."""

import asyncio

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

import reliable_ws


async def handler(websocket: ServerConnection) -> None:
    async with reliable_ws.wrap(websocket) as conn:
        async for order in conn:
            await conn.send(f"order {order['id']}: {order['count']} x {order['item']}, accepted")


async def main() -> None:
    async with serve(handler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with (
            connect(f"ws://127.0.0.1:{port}") as websocket,
            reliable_ws.wrap(websocket) as conn,
        ):
            for number, item in enumerate(("apples", "pears", "plums"), start=1):
                receipt = await conn.send({"id": number, "item": item, "count": 10 * number})
                await receipt  # the server's application has taken the order
                print("confirmed:", item)
            for _ in range(3):
                print("received:", await conn.recv())
        print("closed:", conn.report)


if __name__ == "__main__":
    asyncio.run(main())
