"""Calls in both directions of one connection: an answer, a stream, an error, a timeout."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import reliable_ws

shop, customer = reliable_ws.Methods(), reliable_ws.Methods()  # what each side answers
STOCK = {"pears": 3, "plums": 0}


@shop.register
async def order(conn: reliable_ws.Connection, item: str, count: int = 1) -> int:
    if count > STOCK[item]:
        raise reliable_ws.RemoteError("sold-out", f"no {count} {item} left", {"left": STOCK[item]})
    if await conn.request("confirm", [f"{count} {item}"]):  # asks back
        STOCK[item] -= count
    return STOCK[item]


@shop.register
async def ticks(pause: float) -> AsyncIterator[int]:  # a stream
    for number in range(1_000):
        await asyncio.sleep(pause)
        yield number


@customer.register
def confirm(question: str) -> bool:  # not a coroutine: runs in a thread
    print(f"customer: {question}? yes")
    return True


async def main() -> None:
    serving = reliable_ws.serve(lambda conn: conn.wait_closed(), "127.0.0.1", 0, methods=shop)
    async with (
        serving as server,
        reliable_ws.connect(f"ws://127.0.0.1:{server.port}", methods=customer) as conn,
    ):
        print("left:", await conn.request("order", ["pears", 2]))
        try:
            await conn.request("order", {"item": "plums"})
        except reliable_ws.RemoteError as error:
            print("error:", error.code, error.message, error.data)
        async with aclosing(conn.stream("ticks", [0])) as stream:
            async for number in stream:
                print("tick", number)
                if number == 2:
                    break  # the handler's generator is closed
        try:
            await anext(conn.stream("ticks", [3600], timeout=0.2))
        except reliable_ws.RequestTimeout as error:
            print("timeout:", error)


if __name__ == "__main__":
    asyncio.run(main())
