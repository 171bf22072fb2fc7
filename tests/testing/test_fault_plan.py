"""The chaos proxy with a plan: where it strikes, and that it replays."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Any, NamedTuple

import pytest

from reliable_ws.testing import ChaosProxy, Fault, FaultPlan, Strike

from .streams import HOST, Network, Stream, round_trip


class Run(NamedTuple):
    faults: list[Fault]
    received: list[int]
    """Bytes that reached the server, connection by connection."""


async def stream_until_broken(
    network: Network, plan: FaultPlan, connections: int, data: bytes = bytes(1000)
) -> Run:
    """One client sends, and connects again whenever the plan has broken its connection."""
    faults: list[Fault] = []
    received: list[int] = []
    broken = asyncio.Event()

    def on_fault(fault: Fault) -> None:
        faults.append(fault)
        if fault.name != "stall":
            broken.set()

    async def count(server: Stream) -> None:
        total = 0
        with contextlib.suppress(ConnectionResetError):
            while data := await server.reader.read(65536):
                total += len(data)
        received.append(total)

    async with ChaosProxy(HOST, network.port, plan=plan, on_fault=on_fault) as proxy:
        for _ in range(connections):
            broken.clear()
            client = await network.open(proxy)
            counting = asyncio.create_task(count(await network.accepted.get()))
            while not broken.is_set():
                with contextlib.suppress(ConnectionError):
                    await client.send(data)
                await asyncio.sleep(0)
            client.writer.transport.abort()
            if faults[-1].name != "half_open":
                await counting
            else:
                network.streams[-1].writer.transport.abort()
                await counting
    assert proxy.faults.total() == len(faults)
    return Run(faults, received)


async def test_a_plan_strikes_and_replays(network: Network) -> None:
    plan = FaultPlan(seed=3, every_bytes=(1, 20_000), stall_for=(0, 0.001))
    first = await stream_until_broken(network, plan, 20)
    again = await stream_until_broken(network, plan, 20)
    assert first.faults == again.faults
    assert {fault.name for fault in first.faults} == {"cut", "reset", "stall", "half_open"}
    assert all(fault.planned for fault in first.faults)
    other = await stream_until_broken(
        network, FaultPlan(seed=4, every_bytes=(1, 20_000), stall_for=(0, 0.001)), 20
    )
    assert other.faults != first.faults


async def test_cuts_fall_where_the_plan_says_in_the_middle_of_frames(network: Network) -> None:
    plan = FaultPlan(seed=1, faults=("cut",), every_bytes=(1, 5000))
    run = await stream_until_broken(network, plan, 20)
    assert run.received == [fault.carried for fault in run.faults]
    assert all(1 <= count <= 5000 for count in run.received)
    assert sum(count % 1000 != 0 for count in run.received) > 15


async def test_a_planned_stall_ends_by_itself_and_loses_nothing(network: Network) -> None:
    plan = FaultPlan(faults=("stall",), every_bytes=(100, 200), stall_for=(0, 0.002))
    async with ChaosProxy(HOST, network.port, plan=plan) as proxy:
        client, server = await network.pair(proxy)
        data = os.urandom(5000)
        await client.send(data)
        assert await server.recv(5000) == data
        assert proxy.faults["stall"] >= 25


async def test_without_its_plan_a_proxy_carries_on(network: Network) -> None:
    plan = FaultPlan(faults=("reset",), every_bytes=(10, 10))
    async with ChaosProxy(HOST, network.port, plan=plan) as proxy:
        client, server = await network.pair(proxy)
        proxy.plan = None
        for _ in range(100):
            await round_trip(client, server)
        assert not proxy.faults


@pytest.mark.parametrize(
    "wrong",
    [
        {"faults": ()},
        {"faults": ("cut", "burn")},
        {"every_bytes": (0, 5)},
        {"every_bytes": (5, 4)},
        {"every_messages": (0, 0)},
        {"faults": ("kill_server",)},
        {"stall_for": (-1, 5)},
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FaultPlan(**wrong)


def test_a_proxy_cannot_strike_at_a_message() -> None:
    strikes: Any = [Strike("cut", at=1)]
    with pytest.raises(TypeError, match="FaultPlan"):
        ChaosProxy(HOST, 1, plan=strikes)
