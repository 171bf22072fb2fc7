"""Plans of a network: faults at the message, repeated, lasting, and by chance."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from reliable_ws import Config, Connection
from reliable_ws.testing import Fault, FaultPlan, Network, Pair, Strike, pair, run, virtual_clock


async def exchange(pair: Pair, count: int) -> None:
    """Three messages of the network each: it, the wish for an ack, the ack."""
    for number in range(count):
        await pair.client.send(number)
        assert await pair.server.recv() == number
        await pair.client.flush()


@virtual_clock
async def test_a_strike_comes_at_its_message() -> None:
    faults: list[Fault] = []
    network = Network(on_fault=faults.append)
    async with pair(network=network, plan=[Strike("cut", at=7)]) as p:
        assert network.messages == {"client": 1, "server": 1}
        await exchange(p, 2)
        assert network.messages == {"client": 5, "server": 3}
        assert not faults
        await exchange(p, 1)
        assert faults == [Fault("cut", 1, 9, planned=True)]
        await exchange(p, 10)
        assert (network.faults, network.connections) == ({"cut": 1}, 2)


@virtual_clock
async def test_messages_of_one_side_may_count_alone() -> None:
    async with pair(plan=[Strike("cut", at=5, sender="client")]) as p:
        await exchange(p, 2)
        await p.server.send("x")
        assert await p.client.recv() == "x"
        assert not p.network.faults
        await exchange(p, 1)
        assert p.network.faults == {"cut": 1}


@virtual_clock
async def test_the_message_arrives_or_is_lost() -> None:
    needed = []
    for lost in (False, True):
        async with pair(plan=[Strike("cut", at=1, lost=lost)]) as p:
            await exchange(p, 1)
            assert p.network.faults == {"cut": 1}
            needed.append(p.network.messages["client"])
    assert needed[1] > needed[0]  # it was sent again


@virtual_clock
async def test_a_strike_may_repeat() -> None:
    async with pair(plan=[Strike("reset", at=10, times=3)]) as p:
        await exchange(p, 100)
        assert p.network.faults == {"reset": 3}
        assert p.client.stats.resumes == 3


@virtual_clock
async def test_trouble_may_last() -> None:
    loop = asyncio.get_running_loop()
    async with pair(plan=[Strike("cut", at=1, lost=True, seconds=30)]) as p:
        await exchange(p, 1)
        assert 30 < loop.time() < 31
        assert p.network.refused > 10
    began = loop.time()
    async with pair(plan=[Strike("stall", at=1, seconds=5)]) as p:
        await exchange(p, 1)
        assert loop.time() == pytest.approx(began + 5)
        assert p.client.stats.resumes == 0
        p.network.plan = [Strike("stall", at=1, seconds=5)]
        await p.client.send("x")
        await asyncio.sleep(1)
        p.network.stall()  # by command: until the command
        with pytest.raises(TimeoutError):
            await p.client.flush(timeout=10)


@virtual_clock
async def test_half_open_as_planned() -> None:
    async with pair(plan=[Strike("half_open", at=1, keep="server")]) as p:
        await exchange(p, 1)
        assert asyncio.get_running_loop().time() < 1  # the client noticed at once
        assert p.network.faults == {"half_open": 1}


@virtual_clock
async def test_a_plan_that_is_set_counts_anew() -> None:
    async with pair(plan=[Strike("cut", at=4)]) as p:
        await exchange(p, 1)
        p.network.plan = [Strike("cut", at=4)]
        await exchange(p, 1)
        assert not p.network.faults
        p.network.plan = None
        await exchange(p, 10)
        assert not p.network.faults


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"fault": "burn"}, "fault"),
        ({"at": 0}, "at"),
        ({"times": 0}, "times"),
        ({"sender": "both"}, "sender"),
        ({"keep": "none"}, "keep"),
        ({"seconds": -1}, "seconds"),
        ({"fault": "stall", "lost": True}, "lost"),
    ],
)
def test_a_strike_that_cannot_be_carried_out_is_refused(wrong: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Strike(**{"fault": "cut", "at": 1} | wrong)


# ------------------------------------------------------------------ by chance


async def busy(network: Network) -> tuple[list[object], float]:
    """Both sides send, all the time; what each got."""

    async def work(conn: Connection) -> list[object]:
        async def send() -> None:
            for number in range(100):
                await conn.send(number)
                await asyncio.sleep(0.5)
            await conn.finish()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            return [message async for message in conn]

    config = Config(idle_timeout=5)
    async with pair(network=network, config=config) as (client, server, _):
        got = await asyncio.gather(work(client), work(server))
        return got, asyncio.get_running_loop().time()


@pytest.mark.parametrize("seed", range(8))
def test_a_plan_of_chance_strikes_replays_and_is_survived(seed: int) -> None:
    runs = []
    for _ in range(2):
        faults: list[Fault] = []
        plan = FaultPlan(seed=seed, every_messages=(5, 40))
        got, seconds = run(busy(Network(plan=plan, on_fault=faults.append)), seed=seed)
        assert got == [[*range(100)]] * 2
        runs.append((faults, seconds))
    assert runs[0] == runs[1]
    assert len(runs[0][0]) > 3
