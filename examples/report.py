"""A server takes some messages and goes away: the report names what is known of each of them.

With plain websockets each send() returns, the close code is 1000, and that is all one learns.
"""

import asyncio

import websockets.asyncio.client
import websockets.asyncio.server

import reliable_ws


async def plain_handler(websocket: websockets.asyncio.server.ServerConnection) -> None:
    await websocket.recv()  # takes one message, leaves the others


async def plain() -> None:
    async with websockets.asyncio.server.serve(plain_handler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with websockets.asyncio.client.connect(f"ws://127.0.0.1:{port}") as websocket:
            for number in range(1, 6):
                await websocket.send(f"order {number}")
        print("websockets: 5 sent, no error, close code", websocket.protocol.close_code)


async def handler(conn: reliable_ws.Connection) -> None:
    await conn.recv()  # confirms order 1
    await conn.recv()  # confirms order 2
    async for _ in conn.deliveries():  # hands over order 3, to be confirmed after the work
        return  # but there is no confirmation: this closes the connection


async def reliable() -> None:
    async with reliable_ws.serve(handler, "127.0.0.1", 0) as server:
        try:
            async with reliable_ws.connect(f"ws://127.0.0.1:{server.port}") as conn:
                for number in range(1, 6):
                    await conn.send(f"order {number}")
        except reliable_ws.DeliveryError as error:
            print("reliable_ws:", error.report)
            for entry in error.report.undelivered:
                print(f"  number {entry.number}, {entry.message!r}: {entry.outcome.value}")


async def main() -> None:
    await plain()
    await reliable()


if __name__ == "__main__":
    asyncio.run(main())
