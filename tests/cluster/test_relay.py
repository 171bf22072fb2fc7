"""Level "relay": a WebSocket that reaches another node is passed on to the owner."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import redis

import reliable_ws
from reliable_ws import Cluster, DeliveryError, Outcome, ServerBusy, SessionLost
from reliable_ws.cluster import relay
from reliable_ws.cluster.spread import Spread
from reliable_ws.protocol.codec import decode
from reliable_ws.protocol.frames import Refuse
from tests.support.ports import HOST

from .local_nodes import CONFIG, SHORT, LocalNodes, echo, nodes
from .servers import Balancer, RedisServer

OTHER = "127.0.0.2"
"""Another address of this machine."""


async def until(true: Any) -> None:
    """Return when something has become true; the test's own limit is a minute."""
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - processes and engines tell nothing of it
            await asyncio.sleep(0.01)


async def exchange(conn: reliable_ws.Connection, message: Any) -> None:
    """Send a message, have it confirmed, and get it back."""
    await (await conn.send(message))
    assert await conn.recv(timeout=10) == message


async def test_a_session_resumes_on_any_node_and_its_handler_lives_on(engine: RedisServer) -> None:
    handlers = []

    async def handler(conn: reliable_ws.Connection) -> None:
        handlers.append(conn)
        await echo(conn)

    async with nodes(engine, "relay", handler, count=3) as local, local.connect() as conn:
        await exchange(conn, 0)
        for number in (1, 2, 0, 2):
            local.move_to(number)
            await exchange(conn, number)
        assert len(handlers) == 1
        assert local.clusters[2].stats.relayed == 1
        assert local.clusters[0].stats.served == 1
        assert conn.stats.resumes == 4


async def test_what_was_sent_while_cut_arrives_once_and_in_order(engine: RedisServer) -> None:
    got: list[int] = []

    async def handler(conn: reliable_ws.Connection) -> None:
        got.extend([message async for message in conn])

    async with nodes(engine, "relay", handler) as local, local.connect() as conn:
        for number in range(3000):
            await conn.send(number)
            if number % 500 == 499:
                local.move_to(number // 500 % 2)
                await asyncio.sleep(0)
        await conn.flush(timeout=30)
    assert got == list(range(3000))


async def test_the_owner_is_shown_the_clients_own_websocket(engine: RedisServer) -> None:
    async with (
        nodes(engine, "relay", echo) as local,
        local.connect(additional_headers={"X-Tenant": "blue"}) as conn,
    ):
        await exchange(conn, 1)
        local.move_to(1)
        await exchange(conn, 2)
        there = local.owner_of(conn)
        assert there is not None
        assert there.websocket.request.headers["x-tenant"] == "blue"
        assert there.websocket.request.path == "/"
        assert there.remote_address[0] == HOST
        # The client's port at the edge, and not that of the inner WebSocket.
        assert there.local_address[1] == local.servers[1].port


async def test_only_the_same_principal_resumes_through_another_node(engine: RedisServer) -> None:
    """HELLO-5: the edge says who the peer is, and the owner compares."""

    def who(websocket: Any) -> str:
        return str(websocket.request.headers["x-user"])

    users = iter(["ann", "bob", "bob", "bob", "bob"])

    def headers() -> dict[str, str]:
        return {"X-User": next(users)}

    async with (
        nodes(engine, "relay", echo, principal=who) as local,
        local.connect(additional_headers=headers) as conn,
    ):
        await exchange(conn, 1)
        local.move_to(1)
        with pytest.raises(SessionLost) as caught:
            await conn.recv(timeout=10)
        assert caught.value.code == 4404
        there = local.owner_of(conn)
        assert there is not None  # it touched nothing: HELLO-12
        assert there.principal == "ann"


async def test_an_end_is_told_through_another_node(engine: RedisServer) -> None:
    """TOMB-4: the owner's tombstone answers."""

    async def handler(conn: reliable_ws.Connection) -> None:
        await conn.recv()
        await conn.send("last")

    async with nodes(engine, "relay", handler) as local:
        conn = await local.connect()
        await (await conn.send("go"))
        assert await conn.recv(timeout=5) == "last"
        local.move_to(1)
        await conn.close()
        assert conn.report.confirmed == conn.report.sent == 1


async def test_4503_and_never_4404_while_the_engine_cannot_be_asked(engine: RedisServer) -> None:
    """REFUSE-7. AWX #15030: and after an outage of the engine all goes on by itself."""
    events: list[reliable_ws.ConnectionEvent] = []
    async with (
        nodes(engine, "relay", echo, lease=SHORT) as local,
        local.connect(on_event=events.append) as conn,
    ):
        await exchange(conn, 1)
        engine.stop()
        await exchange(conn, 2)  # the link does not notice
        local.move_to(0)
        await exchange(conn, 3)  # nor does a resume at the owner
        with pytest.raises(ServerBusy) as caught:
            await local.connect()
        assert caught.value.code == 4503
        assert caught.value.retry_after == 1.0
        local.move_to(1)
        receipt = await conn.send(4)
        await until(lambda: any(event.name == "attempt_failed" for event in events))
        engine.start()  # and it has lost everything
        await receipt
        assert await conn.recv(timeout=10) == 4
        await until(lambda: local.clusters[1].stats.engine_away == 0)
        async with local.connect() as other:
            await exchange(other, 5)


async def test_the_application_is_told_of_an_engine_that_is_away(
    engine: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []

    def note(event: reliable_ws.ClusterEvent) -> None:
        told.append(f"{event.node} {event.name}")
        raise RuntimeError(event.reason)

    async with nodes(engine, "relay", echo, count=1, lease=SHORT) as local:
        await local.add(on_event=note)
        async with local.connect() as conn:
            await exchange(conn, 1)
            engine.stop()
            await until(lambda: told)
            engine.start()  # and it has lost everything
            await until(lambda: len(told) >= 3)
            await exchange(conn, 2)
    assert told == ["node-1 engine_away", "node-1 engine_back", "node-1 engine_changed"]
    assert "on_event raised" in caplog.text


async def test_an_engine_that_was_emptied_is_told_again(engine: RedisServer) -> None:
    async with nodes(engine, "relay", echo, lease=SHORT) as local, local.connect() as conn:
        await exchange(conn, 1)
        with engine.client as client:
            client.flushall()
        local.move_to(1)  # before the owner has noticed
        await exchange(conn, 2)


async def test_a_dead_owner_loses_its_sessions_truthfully(engine: RedisServer) -> None:
    async with nodes(engine, "relay", echo, lease=SHORT) as local:
        conn = await local.connect()
        await exchange(conn, 1)
        await _die(local, 0)
        local.move_to(1)
        receipt = await conn.send(2)
        with pytest.raises(DeliveryError):
            await receipt
        assert conn.close_code == 4404
        assert [one.outcome for one in conn.report.undelivered] == [Outcome.UNKNOWN]


async def _die(local: LocalNodes, number: int) -> None:
    """Let a node do nothing more, as if it had been killed."""
    cluster, server = local.clusters[number], local.servers[number]
    for task in (cluster._renewing, cluster._restating):
        if task is not None:
            task.cancel()
    assert cluster._listener is not None
    assert cluster._links is not None
    await cluster._listener.close()
    await cluster._links.close()
    server.inner.close()


async def test_an_owner_that_cannot_be_reached_is_no_reason_to_lose_a_session(
    engine: RedisServer,
) -> None:
    async with nodes(engine, "relay", echo) as local, local.connect() as conn:
        await exchange(conn, 1)
        listener, links = local.clusters[0]._listener, local.clusters[0]._links
        assert listener is not None
        assert links is not None
        await listener.close()  # its lease lives
        await links.close()
        local.move_to(1)
        receipt = await conn.send(2)
        await until(lambda: local.balancer.connections >= 3)
        assert not conn.ended
        local.move_to(0)  # the next one reaches the owner by chance
        await receipt


async def test_where_nodes_cannot_reach_each_other_the_engine_carries_the_link(
    engine: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = iter(["one", "two"])
    monkeypatch.setattr("reliable_ws.cluster.cluster.this_machine", lambda: next(machines))
    async with nodes(engine, "relay", echo) as local, local.connect() as conn:
        await exchange(conn, 1)
        local.move_to(1)
        await exchange(conn, 2)
        await exchange(conn, b"x" * 300_000)
        there = local.owner_of(conn)
        assert there is not None
        assert there.remote_address[0] == HOST
        links = local.clusters[0]._links
        assert links is not None
        (link,) = links._links.values()
        # What the engine drops ends the link, and leaves nothing out.
        link._received -= 1
        receipts = [await conn.send(number) for number in range(5)]
        for number in range(5):
            await receipts[number]
            assert await conn.recv(timeout=10) == number
        assert conn.stats.resumes == 2


async def test_nodes_on_other_machines_are_reached_by_their_address(
    engine: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines = iter(["one", "two"])
    monkeypatch.setattr("reliable_ws.cluster.cluster.this_machine", lambda: next(machines))
    local = LocalNodes(engine, "relay", echo)
    async with local.balancer:
        for _ in range(2):
            await local.add(advertise=f"ws://{HOST}", secret="s" * 32)
        local.only(0)
        async with local.connect() as conn:
            await exchange(conn, 1)
            local.move_to(1)
            await exchange(conn, 2)
            address = local.clusters[0]._address
            assert address is not None
            assert address.uri is not None
            assert local.clusters[1].stats.relayed == 1
        for server in local.servers:
            await server.drain(1)


async def test_cuts_between_nodes_lose_nothing(
    engine: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line between two nodes is cut again and again, and then stays cut for a while."""
    machines = iter(["one", "two"])
    monkeypatch.setattr("reliable_ws.cluster.cluster.this_machine", lambda: next(machines))
    got: list[int] = []

    async def handler(conn: reliable_ws.Connection) -> None:
        got.extend([message async for message in conn])

    local = LocalNodes(engine, "relay", handler)
    line = Balancer([], to=OTHER)
    async with local.balancer, line:
        # The first node is known by the port of the line, and listens behind it.
        line.ports.append(line.port)
        await local.add(advertise=f"ws://{HOST}:{line.port}", listen=OTHER)
        await local.add(advertise=f"ws://{HOST}")
        local.only(0)
        async with local.connect() as conn:
            await (await conn.send(0))
            local.move_to(1)
            for number in range(1, 6):
                for _ in range(50):
                    await conn.send(number)
                await (await conn.send(number))
                line.cut()
            line.ports.clear()
            line.cut()
            receipt = await conn.send(6)
            resumes = local.balancer.connections
            await until(lambda: local.balancer.connections >= resumes + 2)
            assert not conn.ended  # told 4503, to come again
            line.ports.append(line.port)
            await receipt
        for server in local.servers:
            await server.drain(1)
    assert line.connections >= 6
    assert got == [0, *(number for number in range(1, 6) for _ in range(51)), 6]


async def test_a_node_with_another_secret_is_not_believed(engine: RedisServer) -> None:
    local = LocalNodes(engine, "relay", echo)
    async with local.balancer:
        await local.add(secret="right")
        await local.add(secret="wrong")
        local.only(0)
        async with local.connect() as conn:
            await exchange(conn, 1)
            local.move_to(1)
            receipt = await conn.send(2)
            await until(lambda: local.balancer.connections >= 3)
            assert local.clusters[0].stats.served == 0
            assert not conn.ended
            local.move_to(0)
            await receipt
        for server in local.servers:
            await server.drain(1)


async def test_a_client_that_does_not_listen_keeps_no_node_from_leaving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last word of the node cannot be written, and both WebSockets are dropped."""
    monkeypatch.setattr(relay, "LAST_WORD", 0.05)
    client, inner = Deaf(), Deaf()
    ended: list[relay.PipedRelay] = []
    piped = relay.PipedRelay(inner, ended.append)
    carrying = asyncio.create_task(piped.carry(client))
    async with asyncio.timeout(5):
        piped.leave("going", Spread(0.0, 1))
        await piped.ended()
        await carrying
    assert ended == [piped]
    assert client.is_gone
    assert inner.is_gone


async def test_a_client_is_given_its_moment_when_it_is_told() -> None:
    """REFUSE-7: others are told meanwhile, and it is not to come together with them."""
    client, spread = Deaf(), Spread(100.0, 2)
    piped = relay.PipedRelay(Deaf(), lambda _piped: None)
    piped.leave("going", spread)
    spread.retry(asyncio.get_running_loop().time())  # another one, which is told sooner
    carrying = asyncio.create_task(piped.carry(client))
    await client.is_asked.wait()
    (refuse,) = decode(client.asked, 1000)
    assert isinstance(refuse, Refuse)
    assert 10_000 < refuse.retry_ms <= 50_200
    carrying.cancel()


class Deaf:
    """A transport that nothing comes from, and that takes nothing."""

    websocket = role = max_frame = None
    is_gone = False

    def __init__(self) -> None:
        self.asked = b""
        self.is_asked = asyncio.Event()

    async def recv(self) -> bytes:
        return await asyncio.get_running_loop().create_future()

    async def send(self, data: bytes) -> None:
        self.asked = data
        self.is_asked.set()
        await asyncio.Event().wait()

    def send_now(self, data: bytes) -> bool:
        return False

    async def close(self, code: int = 1000, reason: str = "") -> None:
        raise NotImplementedError

    def abort(self) -> None:
        self.is_gone = True


async def test_a_refused_session_leaves_no_record(engine: RedisServer) -> None:
    async with nodes(engine, "relay", echo) as local:
        local.servers[0].sessions._registry.draining = True
        with pytest.raises(ServerBusy):
            await local.connect()
        with engine.client as client:
            await until(lambda: not client.keys("reliable-ws:s:*"))


def test_what_a_caller_does_wrong_is_refused_at_the_call() -> None:
    with pytest.raises(ValueError, match="advertise="):
        Cluster("redis://x", advertise="http://10.0.0.7:1/path")
    with pytest.raises(ValueError, match="advertise="):
        Cluster("redis://x", advertise="ws://10.0.0.7:99999")
    with pytest.raises(ValueError, match="listen= needs advertise="):
        Cluster("redis://x", listen="0.0.0.0")
    with pytest.raises(TypeError, match="engine must be"):
        Cluster(7)
    with pytest.raises(TypeError, match="engine must be"):
        Cluster(redis.Redis())  # that of threads
    with pytest.raises(ValueError, match="must give bytes"):
        Cluster("redis://x?decode_responses=True")
    with pytest.raises(ValueError, match="like redis://cache:6379") as caught:
        Cluster("http://user:password@x")
    assert "password" not in str(caught.value)
    with pytest.raises(TypeError, match="lease= must be a number"):
        Cluster("redis://x", lease="10")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="secret="):
        Cluster("redis://x", secret="")
    with pytest.raises(ValueError, match="level='park' needs a cluster"):
        reliable_ws.Sessions(level="park")
    with pytest.raises(TypeError, match="cluster= must be"):
        reliable_ws.Group("room", cluster="redis://x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be above 0"):
        Cluster("redis://x", lease=0)
    with pytest.raises(ValueError, match="level= must be one of"):
        reliable_ws.Sessions(cluster=Cluster("redis://x"), level="all")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cluster= must be"):
        reliable_ws.Sessions(cluster=object())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="do not go together"):
        reliable_ws.Sessions(
            cluster=Cluster("redis://x"), store=reliable_ws.SQLiteStore("never-made.db")
        )


def test_sockets_of_killed_processes_are_removed_and_no_others(tmp_path: Path) -> None:
    old = time.time() - 2 * relay.YOUNG
    paths = {name: tmp_path / f"{name}.sock" for name in ("dead", "starting", "lives")}
    for path in paths.values():
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    paths["lives"].unlink()
    with socket.socket(socket.AF_UNIX) as lives:
        lives.bind(str(paths["lives"]))
        lives.listen()
        for name in ("dead", "lives"):
            os.utime(paths[name], (old, old))
        relay.remove_dead(tmp_path, time.time())
    assert {name for name, path in paths.items() if path.exists()} == {"starting", "lives"}


def test_the_folder_of_sockets_is_this_users_alone() -> None:
    folder = relay.private_folder()
    assert folder.stat().st_mode & 0o077 == 0
    assert CONFIG.open_timeout == 5
