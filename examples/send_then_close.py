"""A server sends and closes at once, to a client that looks a moment later.

With websockets 13.1 and 14.0 the plain client gets ConnectionClosed instead of the messages.
Later releases keep what has arrived, unless the client is busy for longer than close_timeout.
"""

import asyncio
from importlib.metadata import version

import websockets.asyncio.client
import websockets.asyncio.server
from websockets.exceptions import ConnectionClosed

import reliable_ws

FAREWELL = ["your account", "is closed", "as of today"]
BUSY = 0.3  # seconds


async def plain_server(websocket: websockets.asyncio.server.ServerConnection) -> None:
    for message in FAREWELL:
        await websocket.send(message)
    await websocket.close()


async def plain_client(uri: str) -> list[object]:
    received: list[object] = []
    async with websockets.asyncio.client.connect(uri) as websocket:
        await asyncio.sleep(BUSY)
        try:
            while True:
                received.append(await websocket.recv())
        except ConnectionClosed:
            return received


async def reliable_server(conn: reliable_ws.Connection) -> None:
    for message in FAREWELL:
        await conn.send(message)
    await conn.close()  # returns when the client's application has taken them all
    print("reliable_ws server:", conn.report)


async def reliable_client(uri: str) -> list[object]:
    async with reliable_ws.connect(uri) as conn:
        await asyncio.sleep(BUSY)
        return [message async for message in conn]


async def main() -> None:
    async with websockets.asyncio.server.serve(plain_server, "127.0.0.1", 0) as plain:
        port = plain.sockets[0].getsockname()[1]
        print(f"websockets {version('websockets')}:", await plain_client(f"ws://127.0.0.1:{port}"))
    async with reliable_ws.serve(reliable_server, "127.0.0.1", 0) as server:
        print("reliable_ws:", await reliable_client(f"ws://127.0.0.1:{server.port}"))


if __name__ == "__main__":
    asyncio.run(main())
