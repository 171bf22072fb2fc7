"""The steps of the engine, in a real one: who may write, and who is refused."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import pytest

from reliable_ws.cluster.engine import COMMANDS_AT_ONCE, Engine, EngineAway, Entry
from reliable_ws.cluster.records import Found

from .servers import RedisServer

SESSION = b"s" * 16
LIFE = 60.0


@pytest.fixture
async def pair(engine: RedisServer) -> AsyncIterator[tuple[Engine, Engine]]:
    """Two nodes: the first has registered a session, and its lease lives."""
    first = Engine.at(engine.url, b"node-a", 5.0, 2.0)
    second = Engine.at(engine.url, b"node-b", 5.0, 2.0)
    await first.settle(b"at a", b"secret a")
    await second.settle(b"at b", b"secret b")
    assert await first.find(SESSION, LIFE, fields(b"node-a", 1)) is True
    yield first, second
    await first.close()
    await second.close()


def fields(owner: bytes, attempt: int, **more: bytes) -> list[str | bytes]:
    values: list[str | bytes] = ["owner", owner, "attempt", str(attempt), "level", "log"]
    for name, value in more.items():
        values += [name, value]
    return values


def change(attempt: int, facts: bytes = b"facts") -> Entry:
    return Entry(SESSION, attempt, None, ["facts", facts], [])


async def append(node: Engine, entries: list[Entry]) -> list[int]:
    """Keep changes, by a node that knows which engine this is."""
    settled = await node.settle(b"here", b"secret")
    return await node.append(entries, settled.run)


async def test_the_first_node_to_register_a_session_owns_it(pair: tuple[Engine, Engine]) -> None:
    first, second = pair
    said = await second.find(SESSION, LIFE, fields(b"node-b", 1))
    assert said == Found(b"node-a", b"at a", {})
    # The node itself is told all: it may have lost the answer.
    again = await first.find(SESSION, LIFE, fields(b"node-a", 1))
    assert isinstance(again, Found)
    assert again.fields[b"owner"] == b"node-a"


async def test_a_session_is_made_only_for_a_hello_that_is_new(pair: tuple[Engine, Engine]) -> None:
    """HELLO-9"""
    assert await pair[0].find(b"t" * 16, LIFE, None) is False


async def test_a_living_owner_is_not_robbed(pair: tuple[Engine, Engine]) -> None:
    first, second = pair
    assert await second.claim(SESSION, b"node-a", 2, LIFE) is None
    assert await append(first, [change(1)]) == [0]


async def test_a_claim_fences_the_owner_and_other_claims(pair: tuple[Engine, Engine]) -> None:
    """RESUME-1: attempts only rise, whatever node writes them."""
    first, second = pair
    await append(first, [change(1, b"old")])
    await first.release()  # its lease is over
    taken = await second.claim(SESSION, b"node-a", 2, LIFE)
    assert taken is not None
    assert taken.fields[b"facts"] == b"old"
    assert await append(first, [change(1, b"zombie")]) == [1]
    assert await append(first, [change(9, b"zombie")]) == [1]
    assert await first.claim(SESSION, b"node-a", 3, LIFE) is None
    assert await append(second, [change(2, b"new")]) == [0]
    # The same claim again, after an answer that was lost, is the same claim.
    again = await second.claim(SESSION, b"node-a", 2, LIFE)
    assert again is not None
    assert again.fields[b"facts"] == b"new"


@pytest.mark.parametrize("attempt", [1, 0])
async def test_a_claim_that_is_not_above_every_attempt_is_refused(
    pair: tuple[Engine, Engine], attempt: int
) -> None:
    first, second = pair
    await first.release()
    assert await second.claim(SESSION, b"node-a", attempt, LIFE) is None


async def test_an_older_attempt_of_the_owner_itself_is_refused(pair: tuple[Engine, Engine]) -> None:
    first, _second = pair
    assert await append(first, [change(5)]) == [0]
    assert await append(first, [change(4)]) == [1]


async def test_each_session_of_a_step_is_judged_by_itself(pair: tuple[Engine, Engine]) -> None:
    first, second = pair
    other = b"t" * 16
    assert await second.find(other, LIFE, fields(b"node-b", 1)) is True
    entries = [
        change(1),
        Entry(other, 1, None, ["facts", b"x"], []),
        Entry(b"u" * 16, 1, None, ["facts", b"x"], []),
    ]
    assert await append(first, entries) == [0, 1, 2]


async def test_another_engine_takes_no_change_alone(pair: tuple[Engine, Engine]) -> None:
    """STORE-2, STORE-3: what it has may lack the last moments, and so has to be said whole."""
    first, _second = pair
    assert await first.append([change(1, b"old"), change(1)], b"an earlier run") == [3, 3]
    found = await first.find(SESSION, LIFE, None)
    assert isinstance(found, Found)
    assert b"facts" not in found.fields


async def test_what_is_confirmed_is_forgotten(pair: tuple[Engine, Engine]) -> None:
    """STORE-5"""
    first, _second = pair
    await append(first, [Entry(SESSION, 1, None, ["m1", b"a", "m2", b"b"], [])])
    await append(first, [Entry(SESSION, 1, None, ["facts", b"f"], ["m1"])])
    found = await first.find(SESSION, LIFE, None)
    assert isinstance(found, Found)
    assert b"m1" not in found.fields
    assert found.fields[b"m2"] == b"b"


async def test_who_says_all_again_does_not_undo_a_claim(pair: tuple[Engine, Engine]) -> None:
    first, second = pair
    await first.release()
    assert await second.claim(SESSION, b"node-a", 2, LIFE) is not None
    whole = Entry(SESSION, 1, LIFE, fields(b"node-a", 1), [])
    assert await first.restate([whole]) == [SESSION]
    # The engine is emptied, and the old owner is the quicker one: the higher attempt wins.
    await second._client.flushall()
    assert await first.restate([whole]) == []
    mine = Entry(SESSION, 2, LIFE, fields(b"node-b", 2), [])
    assert await second.restate([mine]) == []
    assert await append(first, [change(1)]) == [1]


async def test_an_engine_is_young_after_a_start_and_after_it_was_emptied(
    engine: RedisServer,
) -> None:
    node = Engine.at(engine.url, b"node-a", 0.2, 2.0)
    before = time.time()
    first = await node.settle(b"", b"secret")
    assert before - 0.01 < first.wall < time.time() + 0.01
    assert first.is_young
    assert first.secret == b"secret"
    with engine.client as client:
        while client.exists("reliable-ws:young"):
            pass
    again = await node.settle(b"", b"another")
    assert again == first._replace(is_young=False, wall=again.wall)
    await node._client.flushall()
    emptied = await node.settle(b"", b"secret")
    assert emptied.is_young
    assert emptied.run != first.run
    await node.close()


async def test_only_the_owner_makes_a_session_forgotten(pair: tuple[Engine, Engine]) -> None:
    first, second = pair
    await second.forget(SESSION)
    assert await first.find(SESSION, LIFE, None) is not False
    await first.forget(SESSION)
    assert await first.find(SESSION, LIFE, None) is False


async def test_what_others_can_go_on_with_is_not_forgotten(pair: tuple[Engine, Engine]) -> None:
    first, _second = pair
    await append(first, [change(1)])
    await first.forget(SESSION)
    assert await first.find(SESSION, LIFE, None) is not False


async def test_an_engine_that_is_away_is_one_error(engine: RedisServer) -> None:
    node = Engine.at(engine.url, b"node-a", 0.2, 0.5)
    engine.stop()
    for step in (
        node.settle(b"", b""),
        node.find(SESSION, LIFE, None),
        node.claim(SESSION, b"x", 1, LIFE),
        node.append([change(1)], b"run"),
        node.restate([change(1)]),
        node.forget(SESSION),
        node.release(),
        node.publish(b"x", b"y"),
        node.listen(),
    ):
        with pytest.raises(EngineAway):
            await step
    await node.close()


async def test_many_steps_at_once_take_few_connections(engine: RedisServer) -> None:
    """Thousands of clients may come back together: each is answered, and none finds it away."""
    node = Engine.at(engine.url, b"node-a", 5.0, 2.0)
    ids = [number.to_bytes(16, "big") for number in range(500)]
    assert await asyncio.gather(*(node.find(id_, LIFE, None) for id_ in ids)) == [False] * 500
    with engine.client as client:
        assert len(client.client_list()) <= COMMANDS_AT_ONCE + 1
    await node.close()


async def test_steps_that_wait_for_their_turn_fail_with_those_before(engine: RedisServer) -> None:
    """An engine that hangs keeps nobody waiting for longer than one step may take."""
    node = Engine.at(engine.url, b"node-a", 5.0, 1.0)
    assert engine.process is not None
    engine.process.send_signal(signal.SIGSTOP)
    ids = [number.to_bytes(16, "big") for number in range(10 * COMMANDS_AT_ONCE)]
    said = await asyncio.gather(
        *(node.find(id_, LIFE, None) for id_ in ids), return_exceptions=True
    )
    assert all(isinstance(one, EngineAway) for one in said)
    # The others have not asked it.
    assert sum("steps before this one" in str(one) for one in said) == 9 * COMMANDS_AT_ONCE
    engine.process.send_signal(signal.SIGCONT)
    assert await node.find(SESSION, LIFE, None) is False  # and the next ones are done
    await node.close()
