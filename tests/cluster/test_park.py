"""Level "park": a node that drains leaves its sessions to others."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import reliable_ws
from reliable_ws import Backoff, Outcome, State
from reliable_ws.cluster.engine import Entry
from tests.support.inside import driver_of

from .audit import Load, check
from .local_nodes import nodes
from .processes import running
from .servers import RedisServer
from .test_relay import until


async def test_a_drained_session_goes_on_elsewhere_with_all_that_was_owed(
    engine: RedisServer,
) -> None:
    """RESUME-7: what had been handed over and was not confirmed comes again, flagged."""
    restored = []
    flagged = []
    waits = asyncio.Event()

    async def handler(conn: reliable_ws.Connection) -> None:
        if conn.restored is None:
            for number in range(5):
                await conn.send(f"news {number}")
            async for delivery in conn.deliveries():
                if delivery.number == 1:
                    delivery.confirm()
                else:  # 2 is handed over, and never confirmed here
                    waits.set()
                    await asyncio.sleep(60)
        restored.append(conn.restored)
        async for delivery in conn.deliveries():
            async with delivery as message:
                flagged.append((message, delivery.redelivered))
            if message == "end":
                break

    async with nodes(engine, "park", handler) as local:
        conn = await local.connect()
        first = await conn.send("one")
        await first
        await conn.send("two")
        await conn.send("three")
        await waits.wait()
        local.only(1)
        reports = await local.servers[0].drain(5, within=0.1)
        assert set(reports) == {conn.id}
        await (await conn.send("end"))
        got = [await conn.recv(timeout=5) for _ in range(5)]
        await conn.close()
    assert got == [f"news {number}" for number in range(5)]
    assert flagged[0] == ("two", True)
    assert [message for message, _flag in flagged] == ["two", "three", "end"]
    (found,) = restored
    assert found is not None
    assert local.clusters[0].stats.moved == 1
    assert local.clusters[1].stats.claimed == 1


async def test_messages_that_were_left_to_another_process_are_kept(engine: RedisServer) -> None:
    outcomes = []

    async def handler(conn: reliable_ws.Connection) -> None:
        receipt = await conn.send("not taken yet")
        try:
            await conn.wait_closed()
        finally:
            outcomes.append(receipt)
            if conn.restored is not None:
                await conn.close()

    async with nodes(engine, "park", handler) as local:
        conn = await local.connect()
        local.only(1)
        reports = await local.servers[0].drain(5, within=0.0)
        (report,) = reports.values()
        assert [one.outcome for one in report.undelivered] == [Outcome.KEPT]
        assert await conn.recv(timeout=5) == "not taken yet"
        await conn.close()


async def test_a_tombstone_outlives_its_node(engine: RedisServer) -> None:
    """TOMB-4: the end is told by a node that never had the session."""

    async def handler(conn: reliable_ws.Connection) -> None:
        await conn.recv()

    async with nodes(engine, "park", handler) as local:
        conn = await local.connect()
        local.balancer.ports.clear()
        local.balancer.choose = lambda _ports: 1  # nothing listens there
        there = local.owner_of(conn)
        assert there is not None
        await conn.send("last")
        await there.wait_closed()
        # Done is lost with the WebSocket, and the node goes.
        local.balancer.cut()
        await local.servers[0].drain(5)
        local.balancer.ports.append(local.servers[1].port)
        local.only(1)
        await conn.close()
        assert conn.report.confirmed == 1


async def test_a_peer_that_is_quicker_than_the_engine_is_told_to_come_again(
    engine: RedisServer,
) -> None:
    """REFUSE-7: the owner has left the session, and the engine does not have it yet."""
    async with nodes(engine, "park", _idle) as local:
        conn = await local.connect()
        with engine.client as client:  # a young engine says no 4404 anyway
            client.delete("reliable-ws:young")
        member = local.clusters[0]._members[0]
        restate = member._cluster.engine.restate
        arrived = asyncio.Event()

        async def late(entries: Iterable[Entry]) -> list[bytes]:
            before = local.balancer.connections
            local.move_to(1)
            # The third one comes when the second was answered.
            await until(lambda: conn.ended or local.balancer.connections >= before + 3)
            arrived.set()
            return await restate(entries)

        member._cluster.engine.restate = late  # type: ignore[method-assign]
        await local.servers[0].drain(5, within=0.0)
        assert arrived.is_set()
        await (await conn.send("goes on"))
        await conn.close()
        assert local.clusters[1].stats.claimed == 1


async def test_peers_come_back_spread_over_the_time_given(engine: RedisServer) -> None:
    """REFUSE-7: each peer is told a moment of its own, and comes no sooner.

    Those whose sessions the node has, and those that it passes on to others, share the time.
    """
    async with nodes(engine, "park", _idle) as local:
        loop = asyncio.get_running_loop()
        told: list[float] = []
        due: dict[bytes, float] = {}
        early: list[float] = []

        def note(event: reliable_ws.ConnectionEvent) -> None:
            conn = event.connection
            if event.name == "detached" and (retry := driver_of(conn).retry):
                told.append(retry)
                due[conn.id] = loop.time() + retry
            elif event.name == "resumed" and loop.time() < due.get(conn.id, 0.0):
                early.append(due[conn.id])

        async def connect() -> reliable_ws.Connection:
            return await local.connect(reconnect=Backoff(initial=0.01), on_event=note)

        clients = [await connect() for _ in range(20)]
        local.move_to(1)
        await until(lambda: all(client.stats.resumes for client in clients))
        clients += [await connect() for _ in range(20)]
        local.only(0)
        begun = loop.time()
        draining = asyncio.create_task(local.servers[1].drain(5, within=0.5))
        await until(lambda: len(told) == 40)
        late = loop.time() - begun  # a moment is given when its peer is told
        await draining
        await until(lambda: all(client.state is State.OPEN for client in clients))
        for number, retry in enumerate(sorted(told)):
            even = 0.2 + 0.5 * number / 40
            assert even - late <= retry + 0.001 <= even + 0.002  # whole milliseconds
        assert early == []
        for client in clients:
            await client.close()


async def _idle(conn: reliable_ws.Connection) -> None:
    async for _message in conn:
        pass


async def test_keeping_needs_a_level_that_moves_sessions(engine: RedisServer) -> None:
    async with nodes(engine, "relay", _idle, count=1) as local:
        with pytest.raises(ValueError, match="a cluster that moves sessions"):
            await local.servers[0].drain(1, sessions="keep")


async def test_every_node_is_restarted_and_nothing_is_lost_or_doubled(
    engine: RedisServer, tmp_path: Path
) -> None:
    """A rolling restart with SIGTERM, under load, with clients at random nodes."""
    async with running(tmp_path, engine, "park") as (ring, balancer):
        load = Load(balancer.uri, random.Random(7), pause=0.01)
        load.start(lasting=9, passing=3)
        for node in ring:
            await load.go_on(50)
            await node.stop()
            node.start()
            await node.ready()
        await load.go_on(50)
        await load.finish()
        check(ring, load.accounts)
        begins = [line for node in ring for line in node.read() if line.startswith("begin")]
        assert len(begins) > 12  # handlers have started anew


async def test_clients_of_others_sessions_are_asked_to_come_again_as_well(
    engine: RedisServer,
) -> None:
    """REFUSE-7: a node that drains passes on WebSockets, and their owners stay."""
    async with nodes(engine, "park", _idle) as local:
        events: list[reliable_ws.ConnectionEvent] = []
        backoff = Backoff(initial=0.01)
        clients = [
            await local.connect(reconnect=backoff, on_event=events.append) for _ in range(10)
        ]
        local.move_to(1)
        await until(lambda: all(client.stats.resumes == 1 for client in clients))
        events.clear()
        local.only(0)
        begun = asyncio.get_running_loop().time()
        await local.servers[1].drain(5, within=1.0)
        await until(lambda: all(client.stats.resumes == 2 for client in clients))
        codes = [(event.code, event.reason) for event in events if event.name == "detached"]
        assert codes == [(4503, "this process is going away")] * 10
        assert asyncio.get_running_loop().time() - begun > 0.9
        assert local.clusters[0].stats.claimed == 0  # their handlers live on
        for client in clients:
            await client.close()


async def test_a_websocket_that_is_on_its_way_to_its_owner_is_sent_away_as_well(
    engine: RedisServer,
) -> None:
    """REFUSE-7: the process that passes it on has begun to drain meanwhile."""
    async with nodes(engine, "park", _idle) as local:
        events: list[reliable_ws.ConnectionEvent] = []
        conn = await local.connect(on_event=events.append)
        reach, leave = local.clusters[1].reach, local.clusters[1].leave
        reached, may_go_on = asyncio.Event(), asyncio.Event()

        async def late(*args: Any) -> Any:
            inner = await reach(*args)
            reached.set()
            await may_go_on.wait()
            return inner

        async def leave_last(member: Any) -> None:  # all that are passed on have been asked to go
            may_go_on.set()
            await until(lambda: conn.stats.resumes)
            await leave(member)

        local.clusters[1].reach = late  # type: ignore[method-assign]
        local.clusters[1].leave = leave_last  # type: ignore[method-assign]
        local.move_to(1)
        await reached.wait()
        local.only(0)
        await local.servers[1].drain(5, within=0.0)
        (failed,) = [one for one in events if one.name == "attempt_failed"]
        assert "4503" in failed.reason
        await (await conn.send("goes on"))
        await conn.close()
