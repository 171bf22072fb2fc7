"""Engines that fail over, with a replica that lacks the last moments; clocks that are wrong."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis.asyncio

import reliable_ws
from reliable_ws.cluster.durability import Durability
from tests.support.ports import HOST

from .audit import Notes
from .local_nodes import BACKOFF, CONFIG, LocalNodes, echo
from .processes import Node, running
from .sentinel import NAME as SENTINEL_NAME
from .sentinel import Sentinel
from .servers import RedisServer
from .test_relay import exchange, until


@pytest.fixture
def replica(engine: RedisServer, tmp_path: Path) -> Iterator[RedisServer]:
    """A second engine, which has what the first one has."""
    folder = tmp_path / "replica"
    folder.mkdir()
    server = RedisServer(folder, "--replicaof", "127.0.0.1", str(engine.port))
    yield server
    server.stop()


async def follow(engine: RedisServer, replica: RedisServer) -> None:
    """Return when the replica has all that the engine has."""
    with engine.client as client:
        await until(lambda: client.wait(1, 1000) == 1)
    with replica.client as client:
        await until(lambda: client.info("replication")["master_link_status"] == "up")


def fail_over(engine: RedisServer, replica: RedisServer, ring: list[Node]) -> None:
    """Let the engine die, and lead the nodes to what the replica has."""
    engine.stop()
    for node in ring:
        node.line.lead_to(replica.port)


async def send(conn: reliable_ws.Connection, *messages: str) -> None:
    for message in messages:
        await (await conn.send(message))
        assert (await conn.recv(timeout=10)).split(":")[1] == message


async def test_owners_tell_a_replica_what_it_lacks(
    engine: RedisServer, replica: RedisServer, tmp_path: Path
) -> None:
    """The replica is promoted without the last moments, and the owner lives: nothing is lost."""
    async with running(tmp_path, engine, "log", count=2, lease=1.0) as (ring, balancer):
        balancer.choose = lambda _ports: ring[0].port
        async with reliable_ws.connect(balancer.uri, reconnect=BACKOFF, config=CONFIG) as conn:
            await send(conn, "1")
            await follow(engine, replica)
            with replica.client as client:
                client.replicaof("NO", "ONE")  # from here on it lacks everything
            await send(conn, "2", "3")
            fail_over(engine, replica, ring)
            await send(conn, "4")
            # What was confirmed is there with all that was before: the owner may die as well.
            ring[0].kill()
            balancer.choose = lambda _ports: ring[1].port
            await send(conn, "5")
            takes = Notes(ring).taken[conn.id.hex()]
    assert [take.message for take in takes] == ["1", "2", "3", "4", "5"]


async def test_a_session_is_said_to_be_lost_if_replica_and_owner_are_not_enough(
    engine: RedisServer, replica: RedisServer, tmp_path: Path
) -> None:
    """The owner dies, and the replica lacks what it had said last: nothing is guessed."""
    async with running(tmp_path, engine, "log", count=2, lease=1.0) as (ring, balancer):
        balancer.choose = lambda _ports: ring[0].port
        conn = await reliable_ws.connect(balancer.uri, reconnect=BACKOFF, config=CONFIG)
        await send(conn, "1")
        await follow(engine, replica)
        with replica.client as client:
            client.replicaof("NO", "ONE")
        await send(conn, "2")
        ring[0].kill()
        fail_over(engine, replica, ring)
        balancer.choose = lambda _ports: ring[1].port
        receipt = await conn.send("3")
        with pytest.raises(reliable_ws.DeliveryError):
            await receipt
        assert conn.close_code == 4404
        report = conn.report
        assert report.confirmed == 2
        assert [one.message for one in report.undelivered] == ["3"]
        takes = Notes(ring).taken[conn.id.hex()]
    assert [take.message for take in takes] == ["1", "2"]


@pytest.mark.parametrize("level", ["park", pytest.param("log", marks=pytest.mark.slow)])
async def test_clocks_of_nodes_may_be_wrong(
    engine: RedisServer, tmp_path: Path, level: str
) -> None:
    """A node whose clock is an hour ahead passes WebSockets on, and takes sessions over."""
    async with (
        running(tmp_path, engine, level, count=1) as ((right,), balancer),
        running(tmp_path, engine, level, count=1, first=1, ahead=3600.0) as ((wrong,), _balancer),
    ):
        balancer.choose = lambda _ports: right.port
        async with reliable_ws.connect(balancer.uri, reconnect=BACKOFF, config=CONFIG) as conn:
            await send(conn, "1")
            balancer.choose = lambda _ports: wrong.port
            balancer.cut()
            await send(conn, "2")  # passed on: the ticket is good
            assert not Notes([wrong]).taken
            await right.stop()
            await send(conn, "3")  # taken over, and not for expired
            right.start()
            await right.ready()
            balancer.choose = lambda _ports: right.port
            balancer.cut()
            await send(conn, "4")  # the other way round
            await wrong.stop()
            await send(conn, "5")
        session = conn.id.hex()
        for node, messages in ((right, ["1", "2", "5"]), (wrong, ["3", "4"])):
            assert [take.message for take in Notes([node]).taken[session]] == messages


REFUSED = [
    ("fsync", (), "appendonly yes"),
    ("fsync", ("--appendonly", "yes"), "appendfsync always"),
    ("replicated", (), "no replica"),
]


@pytest.mark.parametrize(("durability", "options", "words"), REFUSED)
async def test_an_engine_that_keeps_less_than_is_asked_for_is_refused(
    tmp_path: Path, durability: Durability, options: tuple[str, ...], words: str
) -> None:
    engine = RedisServer(tmp_path, *options)
    try:
        cluster = reliable_ws.Cluster(engine.url, durability=durability)
        with pytest.raises(ValueError, match=words):
            await reliable_ws.serve(echo, HOST, 0, cluster=cluster, level="log")
    finally:
        engine.stop()


async def test_an_engine_that_tells_nothing_of_its_disk_is_refused(tmp_path: Path) -> None:
    engine = RedisServer(tmp_path, "--appendonly", "yes", "--rename-command", "CONFIG", "")
    try:
        cluster = reliable_ws.Cluster(engine.url, durability="fsync")
        with pytest.raises(ValueError, match="CONFIG GET"):
            await cluster.start()
    finally:
        engine.stop()


async def test_with_fsync_and_replicas_sessions_are_served(tmp_path: Path) -> None:
    engine = RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    try:
        local = LocalNodes(engine, "log", echo)
        async with local.balancer:
            await local.add(durability="fsync")
            local.only(0)
            async with local.connect() as conn:
                await exchange(conn, 1)
            await local.servers[0].drain(1)
    finally:
        engine.stop()


async def test_a_change_is_kept_when_a_replica_has_it(
    engine: RedisServer, replica: RedisServer
) -> None:
    """STORE-2, STORE-3: without a replica nothing is said, and with it all goes on."""
    await follow(engine, replica)
    local = LocalNodes(engine, "log", echo)
    async with local.balancer:
        await local.add(durability="replicated", engine_timeout=0.5)
        local.only(0)
        async with local.connect() as conn:
            await exchange(conn, 1)
            assert replica.process is not None
            replica.process.send_signal(signal.SIGSTOP)
            receipt = await conn.send(2)
            await until(lambda: local.clusters[0].stats.engine_away > 0)
            assert receipt.outcome is reliable_ws.Outcome.PENDING
            replica.process.send_signal(signal.SIGCONT)
            await receipt
            assert await conn.recv(timeout=10) == 2
        await local.servers[0].drain(1)


async def test_an_engine_that_keeps_less_later_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    cluster = reliable_ws.Cluster(engine.url, durability="fsync", lease=0.3)
    try:
        await cluster.start()
        engine.stop()
        engine.options = ()
        engine.start()
        await until(lambda: "durability='fsync' does not hold now" in caplog.text)
    finally:
        await cluster.close()
        engine.stop()


async def test_clients_send_while_a_sentinel_fails_over(
    engine: RedisServer, replica: RedisServer, tmp_path: Path
) -> None:
    """The engine is killed under load, and its replica is promoted: all goes on by itself."""
    await follow(engine, replica)
    sentinel = Sentinel(tmp_path, engine.port)
    try:
        await asyncio.to_thread(sentinel.wait_for_replica)
        watcher = redis.asyncio.Sentinel([(HOST, sentinel.port)], socket_timeout=1.0)
        client = watcher.master_for(SENTINEL_NAME, socket_timeout=1.0)
        local = LocalNodes(engine, "log", echo)
        async with local.balancer, client:
            for _ in range(2):
                await local.add(client)
            local.balancer.choose = random.Random(1).choice
            load = [local.connect() for _ in range(5)]
            async with contextlib.AsyncExitStack() as stack:
                conns = [await stack.enter_async_context(connecting) for connecting in load]
                for number in range(60):
                    await asyncio.gather(*(exchange(conn, number) for conn in conns))
                    if number == 20:
                        engine.stop()
                with replica.client as promoted:
                    assert promoted.info("replication")["role"] == "master"
                assert [conn.stats.confirmed for conn in conns] == [60] * 5
            for server in local.servers:
                await server.drain(1, sessions="close")
        for watched in watcher.sentinels:
            await watched.aclose()
    finally:
        sentinel.stop()
