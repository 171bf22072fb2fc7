"""A room with a slow member and one that dies: who got what, for each publication."""

import asyncio
import logging

import reliable_ws

logging.getLogger("reliable_ws").setLevel(logging.ERROR)  # what is undelivered, the report says
room = reliable_ws.Group()  # when a member's outbox is full: wait, within limits


async def handler(conn: reliable_ws.Connection) -> None:
    room.join(conn, identity=await conn.recv())
    await conn.send("joined")
    async for _ in conn:
        pass


async def join(uri: str, name: str) -> reliable_ws.Connection:
    conn = await reliable_ws.connect(uri)
    await conn.send(name)
    await conn.recv()
    return conn


async def read(conn: reliable_ws.Connection, pause: float = 0.0) -> None:
    async for _ in conn:
        await asyncio.sleep(pause)


async def main() -> None:
    async with reliable_ws.serve(handler, "127.0.0.1", 0, drain_timeout=1) as server:
        uri = f"ws://127.0.0.1:{server.port}"
        names = ("fast", "slow", "dying")
        fast, slow, dying = [await join(uri, name) for name in names]
        reading = [asyncio.create_task(read(fast)), asyncio.create_task(read(slow, 0.5))]

        first = room.publish("first")  # returns at once, whoever is slow
        second = room.publish("second")
        await dying.recv()
        await dying.close()  # has taken the first, and leaves the second
        for word, publication in (("first", first), ("second", second)):
            for member in await publication.wait(timeout=0.2):
                print(f"{word}: {member.identity}: {member.fate.value}")

        async for member in second:  # as they come
            print(f"later: {member.identity}: {member.fate.value}")
        print("members now:", len(room))
        for conn in (fast, slow):
            await conn.close()
        await asyncio.gather(*reading)


if __name__ == "__main__":
    asyncio.run(main())
