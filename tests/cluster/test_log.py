"""Level "log": a node may die, or be out of reach, and its sessions go on elsewhere."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

import reliable_ws
from reliable_ws import SessionMoved

from .audit import Notes
from .engine_proxy import EngineProxy
from .local_nodes import BACKOFF, CONFIG, SHORT, LocalNodes, echo, nodes
from .processes import running
from .servers import RedisServer
from .test_relay import exchange, until


async def test_a_frozen_owner_is_refused_when_it_wakes_and_its_handler_sees_it(
    engine: RedisServer, tmp_path: Path
) -> None:
    """RESUME-1: the claim's attempt is above all that the old owner may append with."""
    async with running(tmp_path, engine, "log", count=2, lease=2.0) as (ring, balancer):
        owner, other = ring
        balancer.choose = lambda _ports: owner.port
        async with reliable_ws.connect(balancer.uri, reconnect=BACKOFF, config=CONFIG) as conn:
            await exchange_by_name(conn, "1", "n0")
            owner.signal(signal.SIGSTOP)
            balancer.choose = lambda _ports: other.port
            balancer.cut()
            await exchange_by_name(conn, "2", "n1")  # beyond the lease
            owner.signal(signal.SIGCONT)
            session = conn.id.hex()
            await until(lambda: any(line.startswith("closed") for line in owner.read()))
            closed = [line for line in owner.read() if line.startswith("closed")]
            assert closed == [f"closed {session} SessionMoved"]
            await exchange_by_name(conn, "3", "n1")
        fences = [int(line.split()[3]) for line in owner.read() if line.startswith("begin")]
        later = [int(line.split()[3]) for line in other.read() if line.startswith("begin")]
        assert max(fences) < min(later)
        takes = Notes(ring).taken[session]
        assert {take.message for take in takes} == {"1", "2", "3"}
        news = [take.message for take in takes if not take.is_flagged]
        assert len(news) == len(set(news))


async def exchange_by_name(conn: reliable_ws.Connection, message: str, name: str) -> None:
    await (await conn.send(message))
    assert (await conn.recv(timeout=20)).startswith(f"{name}:{message}:")


async def test_sends_wait_for_an_engine_that_is_away(engine: RedisServer) -> None:
    async with nodes(engine, "log", echo) as local, local.connect() as conn:
        await exchange(conn, 1)
        engine.stop()
        receipt = await conn.send(2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.7):
                await receipt
        engine.start()  # emptied: the owner says all of it again
        await receipt
        assert await conn.recv(timeout=10) == 2
        # And what it said again is enough to go on with elsewhere.
        local.only(1)
        await local.servers[0].drain(5, within=0.0)
        await exchange(conn, 3)
        assert local.clusters[1].stats.claimed == 1


async def test_an_emptied_engine_is_told_all_again(engine: RedisServer) -> None:
    async with nodes(engine, "log", echo) as local, local.connect() as conn:
        await exchange(conn, 1)
        with engine.client as client:
            client.flushall()
        await exchange(conn, 2)
        with engine.client as client:
            (key,) = client.keys("reliable-ws:s:*")
            fields = client.hgetall(key)
        assert fields[b"owner"] == local.clusters[0].id
        assert fields[b"level"] == b"log"
        assert b"facts" in fields


async def test_an_engine_that_comes_back_with_an_older_copy_is_told_the_rest(
    engine: RedisServer,
) -> None:
    """As a replica that is promoted without the last moments: the owners have them."""
    async with nodes(engine, "log", echo) as local, local.connect() as conn:
        await exchange(conn, 1)
        with engine.client as client:
            client.save()  # and everything behind this is lost
        for number in range(2, 6):
            await exchange(conn, number)
        async with local.connect() as later:
            await exchange(later, 1)
            engine.stop()
            engine.start()
            await exchange(conn, 6)
            await exchange(later, 2)
            local.only(1)
            await local.servers[0].drain(5, within=0.0)
            await exchange(conn, 7)
            await exchange(later, 3)
            assert local.clusters[1].stats.claimed == 2


async def test_a_session_that_another_node_has_ends_as_moved(engine: RedisServer) -> None:
    causes = []

    async def handler(conn: reliable_ws.Connection) -> None:
        try:
            async for message in conn:
                await conn.send(message)
        except reliable_ws.ConnectionClosed as error:
            causes.append(error.__cause__)
            raise

    async with nodes(engine, "log", handler) as local:
        conn = await local.connect()
        await exchange(conn, 1)
        with engine.client as client:
            (key,) = client.keys("reliable-ws:s:*")
            client.hset(key, mapping={"owner": b"another-node", "attempt": 50})
        await conn.send(2)
        await until(lambda: causes)
        assert isinstance(causes[0], SessionMoved)
        # The node itself goes on: only this session is another's.
        local.only(0)
        async with local.connect() as other:
            await exchange(other, 1)
        conn.abort()


async def test_an_engine_that_has_forgotten_the_last_moments_ends_the_session_as_lost(
    engine: RedisServer,
) -> None:
    """A log of another run of the engine may lack its end: nothing is guessed."""
    async with nodes(engine, "log", echo) as local:
        conn = await local.connect()
        await exchange(conn, 1)
        with engine.client as client:
            (key,) = client.keys("reliable-ws:s:*")
            client.hset(key, mapping={"owner": b"a-dead-node", "run": b"an earlier run"})
            client.delete("reliable-ws:young")  # its nodes have had the time to say all again
        local.servers[0].inner.close()
        local.move_to(1)
        receipt = await conn.send(2)
        with pytest.raises(reliable_ws.DeliveryError):
            await receipt
        assert conn.close_code == 4404


async def test_keys_need_a_store(engine: RedisServer) -> None:
    errors = []

    async def handler(conn: reliable_ws.Connection) -> None:
        for options in ({"key": "k"}, {"apply": print}):
            with pytest.raises(TypeError, match="need a store") as caught:
                await conn.send(1, **options)
            errors.append(caught.value)
        await conn.send("done")

    async with nodes(engine, "log", handler) as local, local.connect() as conn:
        assert await conn.recv(timeout=5) == "done"
    assert len(errors) == 2


async def test_peers_that_wait_for_the_engine_are_sent_to_other_nodes(engine: RedisServer) -> None:
    """REFUSE-7: a node that is cut off from the engine keeps no peer waiting, nor its sessions."""
    causes: list[BaseException | None] = []
    events: list[reliable_ws.ConnectionEvent] = []

    async def handler(conn: reliable_ws.Connection) -> None:
        try:
            await echo(conn)
        except reliable_ws.ConnectionClosed as error:
            causes.append(error.__cause__)
            raise

    local = LocalNodes(engine, "log", handler, lease=SHORT)
    async with EngineProxy("line", engine.port, print) as line, local.balancer:
        await local.add(line.url, engine_timeout=1.0)
        await local.add()
        local.only(0)
        async with local.connect(on_event=events.append) as idle, local.connect() as conn:
            await exchange(idle, 1)
            await exchange(conn, 1)
            line.cut()
            local.only(1)
            await (await conn.send(2))  # told 4503, and the other node has the session then
            assert await conn.recv(timeout=10) == 2
            assert local.clusters[1].stats.claimed == 1
            assert {event.name for event in events} == {"opened"}  # it waits for nothing
            line.mend()
            await until(lambda: causes)
            assert isinstance(causes[0], SessionMoved)
            await exchange(idle, 2)
            await exchange(conn, 3)
        for server in local.servers:
            await server.drain(1, sessions="close")


async def test_a_node_that_is_cut_off_takes_no_hello_of_its_own_sessions(
    engine: RedisServer,
) -> None:
    """STORE-1: the answer would have to be kept first."""
    events: list[reliable_ws.ConnectionEvent] = []
    async with (
        nodes(engine, "log", echo, lease=SHORT) as local,
        local.connect(on_event=events.append) as conn,
    ):
        await exchange(conn, 1)
        engine.stop()
        await until(lambda: local.clusters[0].stats.engine_away > 0)
        local.move_to(0)
        receipt = await conn.send(2)
        await until(lambda: local.balancer.connections >= 3)
        assert "resumed" not in {event.name for event in events}
        engine.start()
        await receipt
        assert await conn.recv(timeout=10) == 2
        assert "resumed" in {event.name for event in events}
