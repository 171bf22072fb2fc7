"""A small application, and the proof that it survives: each fault, at each message.

Run it with pytest, or by itself.
"""

import logging
from collections.abc import Callable

import reliable_ws
from reliable_ws.testing import Network, sweep

ORDERS = ["order 1: apples", "order 2: pears", "order 3: plums"]


class Shop:
    """The server. What it has packed is in its database, and outlives its process."""

    def __init__(self) -> None:
        self.packed: list[str] = []

    async def handler(self, conn: reliable_ws.Connection) -> None:
        async for delivery in conn.deliveries():
            async with delivery as order:
                if order not in self.packed:  # else a process has packed it, and died
                    self.packed.append(order)


async def buy(connect: Callable[[str], reliable_ws.connect] = reliable_ws.connect) -> None:
    """The client: what a dead server has not confirmed goes to the next one."""
    left = ORDERS
    async for conn in connect("ws://127.0.0.1:8765"):
        try:
            for order in left:
                await (await conn.send(order))
            await conn.close()
            return
        except (reliable_ws.SessionLost, reliable_ws.DeliveryError):
            left = left[conn.report.confirmed :]


async def scenario(network: Network) -> None:
    shop = Shop()
    async with network.serve(shop.handler):
        await buy(network.connect)
    assert shop.packed == ORDERS


def test_every_order_is_packed_once() -> None:
    runs = sweep(scenario, faults=("cut", "reset", "kill_server", "drain"))
    runs += sweep(scenario, faults=("stall", "half_open"), first=3)  # once it is greeted
    print(sum(run.strike is not None for run in runs), "faults survived")
    longest = max(runs, key=lambda run: run.seconds)
    print(f"the longest took {longest.seconds:.0f} s on the virtual clock: {longest.strike}")


if __name__ == "__main__":
    logging.getLogger("reliable_ws").setLevel(logging.ERROR)  # else it tells of each lost session
    test_every_order_is_packed_once()
