"""The network goes away in the middle of a transfer and comes back: nothing is lost or doubled."""

import asyncio

import reliable_ws
from reliable_ws.testing import ChaosProxy

COUNT = 20_000


async def main() -> None:
    received: list[int] = []
    some = asyncio.Event()

    async def handler(conn: reliable_ws.Connection) -> None:
        async for number in conn:
            received.append(number)
            if len(received) >= COUNT // 2:
                some.set()

    def on_event(event: reliable_ws.ConnectionEvent) -> None:
        again = f", {event.replayed} sent again" if event.name == "resumed" else ""
        print(f"client: {event.name}{again}")

    async def restart_the_network(proxy: ChaosProxy) -> None:
        await some.wait()
        proxy.refuse()
        print(f"the network is gone ({proxy.reset()} connection reset)")
        await asyncio.sleep(1.0)
        print("the network is back")
        proxy.accept()

    async with (
        reliable_ws.serve(handler, "127.0.0.1", 0) as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(restart_the_network(proxy))
        backoff = reliable_ws.Backoff(initial=0.1, longest=1.0)
        async with reliable_ws.connect(proxy.uri(), reconnect=backoff, on_event=on_event) as conn:
            for number in range(COUNT):
                await conn.send(number)  # waits only when the outbox is full
        print("client:", conn.report)
    print("server:", len(received), "received, in order:", received == list(range(COUNT)))


if __name__ == "__main__":
    asyncio.run(main())
