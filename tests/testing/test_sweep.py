"""A scenario at each message: that none is left out, and that what does not survive is found."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from reliable_ws import Connection, ReliableWSError
from reliable_ws.testing import Network, Run, Strike, pair, sweep


async def echo(conn: Connection) -> None:
    async for message in conn:
        await conn.send(message)


async def three_round_trips(network: Network) -> list[object]:
    got = []
    async with pair(echo, network=network) as (client, _, _):
        for number in range(3):
            await client.send(number)
            got.append(await client.recv())
        await client.close()
    return got


def test_every_message_is_struck_once() -> None:
    runs = sweep(three_round_trips, faults=("cut", "stall"))
    struck = [(run.strike.fault, run.strike.at, run.strike.lost) for run in runs if run.strike]
    count = len(struck) // 3
    assert count > 6
    assert struck == [
        *(("cut", at, False) for at in range(1, count + 1)),
        *(("cut", at, True) for at in range(1, count + 1)),
        *(("stall", at, False) for at in range(1, count + 1)),
    ]
    assert runs[0].strike is None
    assert [run.strike for run in runs[1:]].count(None) == 3  # the end of each round
    assert {tuple(run.result) for run in runs} == {(0, 1, 2)}


@pytest.mark.parametrize("fault", ["cut", "reset", "half_open", "stall"])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_what_the_library_promises_holds_at_every_message(fault: Any, seed: int | None) -> None:
    runs = sweep(three_round_trips, faults=(fault,), seed=seed)
    assert {tuple(run.result) for run in runs} == {(0, 1, 2)}
    for run in runs:
        assert run.seconds < (1 if run.strike is None else 60)


def test_a_deploy_at_every_message_loses_nothing() -> None:
    """A client that goes on in a new session, when the server goes away."""

    async def scenario(network: Network) -> list[object]:
        taken: list[object] = []

        async def keep(conn: Connection) -> None:
            async for message in conn:
                taken.append(message)
                await conn.flush()

        async with network.serve(keep):
            left = list(range(4))
            async for conn in network.connect():
                try:
                    while left:
                        await (await conn.send(left[0]))
                        del left[0]
                    await conn.close()
                    return taken
                except ReliableWSError:
                    assert conn.peer_finished == (1001, "going away")
        raise AssertionError

    runs = sweep(scenario, faults=("drain",))
    assert len(runs) > 8
    assert not any(run.strike.lost for run in runs if run.strike)
    assert {tuple(run.result) for run in runs} == {(0, 1, 2, 3)}
    assert max(run.seconds for run in runs) < 5


def test_a_report_is_true_whichever_process_dies_and_when() -> None:
    taken: list[object] = []

    async def keep(conn: Connection) -> None:
        async for message in conn:
            taken.append(message)  # noqa: PERF401 - it dies in between

    async def scenario(network: Network) -> None:
        taken.clear()
        async with pair(keep, network=network) as (client, _, _):
            try:
                for number in range(4):
                    await client.send(number)
                    await client.flush()
                await client.close()
            except ReliableWSError:
                pass
            report = client.report
            assert taken[: report.confirmed] == [*range(report.confirmed)]
            unknown = [e.message for e in report.undelivered if e.outcome.value == "unknown"]
            not_taken = [e.message for e in report.undelivered if e.outcome.value == "not taken"]
            assert not set(not_taken) & set(taken)
            assert set(taken[report.confirmed :]) <= set(unknown)

    runs = sweep(scenario, faults=("kill_server", "kill_client"))
    assert len(runs) > 30


def test_only_what_is_asked_for() -> None:
    runs = sweep(three_round_trips, first=3, seconds=30)
    struck = [run for run in runs if run.strike]
    assert struck[0].strike == Strike("cut", 3, seconds=30)
    assert max(run.seconds for run in struck) > 30
    assert runs[-1] == Run(None, [0, 1, 2], 0.0)


async def self_made(network: Network) -> None:
    """One that breaks its network itself."""
    async with pair(echo, network=network) as (client, _, _):
        await client.send("x")
        network.cut()
        await client.recv()


def test_faults_of_the_scenario_itself_are_not_counted() -> None:
    assert sweep(self_made)[-1].strike is None


async def forgetful(network: Network) -> None:
    """An application that does not live with a reconnect."""
    async with pair(echo, network=network) as (client, _, _):
        await client.send("who I am")
        await client.recv()
        await asyncio.sleep(1)
        assert client.stats.resumes == 0, "what I knew is gone"


async def hanging(network: Network) -> None:
    """One that waits for what never comes."""
    async with pair(network=network) as (client, server, _):
        client.send_nowait("x")
        await asyncio.sleep(1)
        if server.stats.resumes:
            await client.recv()


@pytest.mark.parametrize(
    ("scenario", "words"), [(forgetful, "what I knew is gone"), (hanging, "endless: past 500")]
)
def test_what_does_not_survive_is_told_with_how_to_replay(
    scenario: Callable[[Network], Coroutine[Any, Any, None]], words: str
) -> None:
    with pytest.raises(AssertionError, match=words) as caught:
        sweep(scenario, limit=500.0)
    assert "Strike('cut', at=" in "".join(caught.value.__notes__)


def test_what_fails_by_itself_is_not_blamed_on_a_fault() -> None:
    async def mistaken(network: Network) -> None:
        async with pair(echo, network=network) as (client, _, _):
            await client.send(1)
            assert await client.recv() == 2

    with pytest.raises(AssertionError) as caught:
        sweep(mistaken)
    assert "Network(plan=[])" in caught.value.__notes__[-1]


def test_a_scenario_that_is_too_long_or_too_short_is_refused() -> None:
    with pytest.raises(AssertionError, match="goes on after 5 messages"):
        sweep(three_round_trips, most=5)
    with pytest.raises(AssertionError, match="ends before message 100"):
        sweep(three_round_trips, first=100)
