"""A group that has members in several nodes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

import reliable_ws
from reliable_ws import Cluster, EngineUnavailable, Fate, Group, GroupFull
from reliable_ws.cluster.engine import EngineAway
from reliable_ws.cluster.links import cancel_all

from .local_nodes import LEASE, LocalNodes, nodes
from .servers import RedisServer
from .test_relay import until

MENDED = 4.0
"""Seconds of a lease in half of which each node registers again, whatever the engine has lost."""

STEPS = ("_read", "_publish", "_register", "_tell", "_look")


class Room:
    """One group in each node of a local, and clients that are its members."""

    def __init__(self, local: LocalNodes, **options: Any) -> None:
        self.local = local
        self.groups = [Group("room", cluster=cluster, **options) for cluster in local.clusters]
        self.clients: list[reliable_ws.Connection] = []

    async def enter(self, number: int, name: str) -> reliable_ws.Connection:
        """Connect to a node, and be a member there."""
        self.local.only(number)
        client = await self.local.connect()
        await until(lambda: self.local.owner_of(client) is not None)
        member = self.local.owner_of(client)
        assert member is not None
        await self.groups[number].join(member, name)
        self.clients.append(client)
        return client

    async def leave(self) -> None:
        for client in self.clients:
            client.abort()
        for server in self.local.servers:
            for conn in server.connections:
                conn.abort()


async def stay(conn: reliable_ws.Connection) -> None:
    await conn.wait_closed()


def has_told(cluster: Cluster) -> bool:
    """Whether a node has told everything that it has heard, and knows what became of that."""
    groups = cluster._groups
    return not groups._heard and not groups._reports and not groups._tell_now.is_set()


@contextlib.asynccontextmanager
async def room(
    engine: RedisServer,
    level: Any = "relay",
    count: int = 3,
    lease: float = LEASE,
    **options: Any,
) -> AsyncIterator[Room]:
    async with nodes(engine, level, stay, count, lease=lease) as local:
        here = Room(local, **options)
        try:
            yield here
        finally:
            await here.leave()


@contextlib.asynccontextmanager
async def without(cluster: Cluster, step: str) -> AsyncIterator[None]:
    """Let one of the steps of a node's groups rest, for as long as the block lasts."""
    groups, place = cluster._groups, STEPS.index(step)
    await cancel_all([groups._tasks[place]])
    try:
        yield
    finally:
        groups._tasks[place] = asyncio.create_task(groups._run(getattr(groups, step)))


async def named(publication: reliable_ws.Publication) -> None:
    """Return when each process has said who gets this."""
    await publication.published(30)
    await until(lambda: all(one.session for one in publication.outcomes))


async def take(client: reliable_ws.Connection, count: int) -> list[Any]:
    return [await client.recv(timeout=10) for _ in range(count)]


async def test_all_members_get_the_same_publications_in_one_order(engine: RedisServer) -> None:
    async with room(engine) as here:
        clients = [await here.enter(number % 3, f"m{number}") for number in range(6)]
        publications = []
        for number in range(100):
            publications.append(here.groups[number % 3].publish(number))
            if number % 7 == 0:
                await asyncio.sleep(0)
        got = await asyncio.gather(*(take(client, 100) for client in clients))
        assert sorted(got[0]) == list(range(100))
        assert all(one == got[0] for one in got)
        for publication in publications:
            outcomes = await publication.wait(10)
            assert sorted((r.identity, r.node, r.fate) for r in outcomes) == [
                (f"m{number}", f"node-{number % 3}", Fate.CONFIRMED) for number in range(6)
            ]
            assert {r.session for r in outcomes} == {client.id for client in clients}


async def test_who_has_joined_misses_nothing(engine: RedisServer) -> None:
    """Publications that begin after ``await join()`` are got, whoever publishes them."""
    async with room(engine) as here:
        stop = asyncio.Event()
        published = 0

        async def publish() -> None:
            nonlocal published
            while not stop.is_set():
                published += 1
                await here.groups[0].publish(published).published()

        publishing = asyncio.create_task(publish())
        for number in range(1, 9):
            client = await here.enter(number % 3, f"m{number}")
            before = published
            first = await client.recv(timeout=10)
            assert first <= before + 1
            assert await take(client, 5) == list(range(first + 1, first + 6))
        stop.set()
        await publishing


async def test_outcomes_come_one_by_one_and_a_wait_is_bounded(engine: RedisServer) -> None:
    async with room(engine) as here:
        clients = [await here.enter(number, f"m{number}") for number in range(3)]
        publication = here.groups[1].publish({"price": 17})
        await named(publication)
        assert not publication.done
        outcomes = await publication.wait(0.01)
        assert {(r.identity, r.fate) for r in outcomes} == {
            (f"m{number}", Fate.PENDING) for number in range(3)
        }
        got = []
        for number, recipient in enumerate([2, 0, 1]):
            assert await clients[recipient].recv(timeout=5) == {"price": 17}
            async for one in publication:
                if one.identity not in got:
                    got.append(one.identity)
                if len(got) > number:
                    break
        assert got == ["m2", "m0", "m1"]
        assert publication.done
        assert sorted([one.identity async for one in publication]) == ["m0", "m1", "m2"]


async def test_who_leaves_gets_nothing_more_and_is_no_recipient(engine: RedisServer) -> None:
    async with room(engine, count=2) as here:
        client = await here.enter(1, "m1")
        await here.enter(0, "m0")
        member = here.local.owner_of(client)
        assert member is not None
        assert member in here.groups[1]
        first = here.groups[0].publish("first")
        assert await client.recv(timeout=5) == "first"
        here.groups[1].leave(member)
        assert member not in here.groups[1]
        second = here.groups[0].publish("second")
        await here.clients[1].recv(timeout=5)
        await here.clients[1].recv(timeout=5)
        assert {r.identity for r in await first.wait(5)} == {"m0", "m1"}
        assert {r.identity for r in await second.wait(5)} == {"m0"}


async def test_a_process_without_members_publishes(engine: RedisServer) -> None:
    async with room(engine, count=2) as here:
        client = await here.enter(1, "m1")
        cluster = Cluster(engine.url, node="backend", lease=LEASE)
        backend = Group("room", cluster=cluster)
        publication = backend.publish("news")
        assert await client.recv(timeout=5) == "news"
        assert [(r.identity, r.node) for r in await publication.wait(5)] == [("m1", "node-1")]
        assert await Group("empty", cluster=cluster).publish("x").wait(5) == []
        await cluster.close()


async def test_mistakes_are_told_at_the_call(engine: RedisServer) -> None:
    async with room(engine, count=1) as here:
        client = await here.enter(0, "m0")
        member = here.local.owner_of(client)
        assert member is not None
        cluster = here.local.clusters[0]
        with pytest.raises(ValueError, match="has a group 'room' already"):
            Group("room", cluster=cluster)
        with pytest.raises(TypeError, match="needs a name"):
            Group(cluster=cluster)
        other = Group("other", cluster=cluster)
        with pytest.raises(TypeError, match="msgpack can pack"):
            other.join(member, identity=object())
        assert member not in other
        del other
        again = Group("other", cluster=cluster)  # the first one is gone
        with pytest.raises(reliable_ws.NotSerializable):
            again.publish(object())


async def test_a_burst_that_has_no_room_is_refused_at_the_call(engine: RedisServer) -> None:
    async with room(engine, count=2, limit=10) as here:
        client = await here.enter(1, "m1")
        publications = [here.groups[0].publish(number) for number in range(10)]
        with pytest.raises(GroupFull, match="await published"):
            here.groups[0].publish(10)
        assert await take(client, 10) == list(range(10))
        await publications[-1].published(5)
        here.groups[0].publish("there is room again")
        assert await client.recv(timeout=5) == "there is room again"


async def test_a_process_that_does_not_read_fills_the_group(engine: RedisServer) -> None:
    """Publications wait for it; none is lost, and none overtakes another."""
    async with room(engine, count=2, limit=5) as here:
        client = await here.enter(1, "m1")
        group = here.groups[0]
        async with without(here.local.clusters[1], "_read"):
            for number in range(5):
                await group.publish(number).published(5)
            late: Any = group.publish("late")
            late.by = 0.0  # its lease is over before there is room
            with pytest.raises(GroupFull, match="'node-1' has not read"):
                await late.wait()
            assert late.outcomes == []
            publications = [group.publish(number) for number in range(5, 10)]
            with pytest.raises(TimeoutError):
                await publications[0].published(0.1)
            with pytest.raises(GroupFull, match="5 publications of this process wait"):
                group.publish(10)
        assert await take(client, 10) == list(range(10))


async def test_a_publication_that_is_appended_twice_is_handed_out_once(
    engine: RedisServer,
) -> None:
    """Its publisher did not hear of the first time, and the engine has forgotten it."""
    async with room(engine, count=2) as here:
        clients = [await here.enter(number, f"m{number}") for number in range(2)]
        group, node = here.groups[0], here.local.clusters[0]._groups
        await group.publish("first").published(5)
        publish_all = node._node.engine.publish_all

        async def twice(batch: bytes, publications: Any) -> Any:
            await publish_all(b"lost " + batch, publications)
            return await publish_all(batch, publications)

        node._node.engine.publish_all = twice  # type: ignore[method-assign]
        doubled = group.publish("doubled")
        await doubled.published(5)
        node._node.engine.publish_all = publish_all  # type: ignore[method-assign]
        group.publish("last")
        for client in clients:
            assert await take(client, 3) == ["first", "doubled", "last"]
        assert [r.fate for r in await doubled.wait(5)] == [Fate.CONFIRMED] * 2


async def test_while_the_engine_is_away_nothing_can_be_published(engine: RedisServer) -> None:
    async with room(engine, count=2, lease=MENDED) as here:
        client = await here.enter(1, "m1")
        engine.stop()
        late: Any = here.groups[0].publish("nobody knows")
        late.by = 0.0  # its lease is over
        with pytest.raises(EngineUnavailable, match="not known"):
            await late.published(10)
        with pytest.raises(EngineUnavailable):
            await late.wait()
        with pytest.raises(EngineUnavailable, match="publish later"):
            here.groups[0].publish("refused")
        engine.start()
        await until(lambda: not here.local.clusters[0].is_away)
        # The engine has lost the group. Nothing was published that some have and others have not.
        await until(lambda: _publishes(here.groups[0]))
        assert await client.recv(timeout=30) == "here we are"


def _publishes(group: Group) -> bool:
    with contextlib.suppress(EngineUnavailable):
        group.publish("here we are")
        return True
    return False


async def test_a_join_without_the_engine_says_so_and_is_made_good(engine: RedisServer) -> None:
    async with room(engine, count=2, lease=2.0) as here:
        client = await here.enter(1, "m1")
        member = here.local.owner_of(client)
        assert member is not None
        other = Group("other", cluster=here.local.clusters[1])
        engine.stop()
        with pytest.raises(EngineUnavailable):
            await other.join(member)
        assert member in other
        engine.start()
        far = Group("other", cluster=here.local.clusters[0])

        async def heard() -> bool:
            with contextlib.suppress(EngineUnavailable):
                return bool(await far.publish("x").wait(1))
            return False

        async with asyncio.timeout(30):
            while not await heard():  # noqa: ASYNC110 - the engine's own time
                await asyncio.sleep(0.05)


async def test_a_lost_box_drops_members_only_if_something_was_missed(engine: RedisServer) -> None:
    """As after a lease for which a process was frozen."""
    async with room(engine) as here:
        clients = [await here.enter(number, f"m{number}") for number in range(3)]
        box = b"reliable-ws:box:" + here.local.clusters[2].id
        with engine.client as redis:
            redis.delete(box)
            await until(lambda: redis.exists(box))
            here.groups[0].publish("one")
            assert [await client.recv(timeout=5) for client in clients] == ["one"] * 3
            async with without(here.local.clusters[2], "_look"):  # which makes a new box
                redis.delete(box)
                missed = here.groups[0].publish("two")
                assert [await client.recv(timeout=5) for client in clients[:2]] == ["two"] * 2
            with pytest.raises(reliable_ws.ConnectionClosedError) as caught:
                await clients[2].recv(timeout=5)
            assert caught.value.ending.code == 1013
            assert {r.identity for r in await missed.wait(5)} == {"m0", "m1"}


async def test_an_emptied_engine_drops_nobody_who_has_missed_nothing(engine: RedisServer) -> None:
    async with room(engine, lease=MENDED) as here:
        clients = [await here.enter(number, f"m{number}") for number in range(3)]
        for number in range(5):
            publication = here.groups[0].publish(number)
            for client in clients:
                assert await client.recv(timeout=5) == number
            assert len(await publication.wait(5)) == 3
        with engine.client as redis:
            redis.flushall()
        behind = here.groups[0].publish("behind it")  # waits until the nodes have registered again
        assert [await client.recv(timeout=10) for client in clients] == ["behind it"] * 3
        assert [r.fate for r in await behind.wait(5)] == [Fate.CONFIRMED] * 3


async def test_an_emptied_engine_drops_those_who_have_missed_something(
    engine: RedisServer,
) -> None:
    """One node has read what the other one had not read yet when the engine was emptied."""
    async with room(engine, count=2, lease=MENDED) as here:
        clients = [await here.enter(number, f"m{number}") for number in range(2)]
        async with without(here.local.clusters[1], "_read"):
            publication = here.groups[0].publish("one has it")
            assert await clients[0].recv(timeout=5) == "one has it"
            with engine.client as redis:
                redis.flushall()
        with pytest.raises(reliable_ws.ConnectionClosedError) as caught:
            await clients[1].recv(timeout=10)
        assert caught.value.ending.code == 1013
        assert {r.identity for r in await publication.wait(10)} == {"m0"}
        here.groups[0].publish("next")
        assert await clients[0].recv(timeout=10) == "next"  # the other one is still there


async def test_a_session_that_moves_tells_its_outcome_where_it_goes(engine: RedisServer) -> None:
    """The publisher waits for the taker, and knows the member by its name."""
    async with room(engine, level="park") as here:
        client = await here.enter(1, "m1")
        publication = here.groups[0].publish("news")
        await named(publication)
        here.local.only(2)
        await here.local.servers[1].drain(5, within=0.1)
        assert await client.recv(timeout=10) == "news"
        outcomes = await publication.wait(10)
        assert [(r.identity, r.node, r.fate) for r in outcomes] == [
            ("m1", "node-1", Fate.CONFIRMED)
        ]


async def test_a_session_that_has_moved_and_ended_tells_its_outcome_as_well(
    engine: RedisServer,
) -> None:
    """It has ended where it went before the publisher looked for it."""
    async with room(engine, level="log") as here:
        client = await here.enter(1, "m1")
        publication = here.groups[0].publish("news")
        await named(publication)
        async with without(here.local.clusters[0], "_look"):
            here.local.only(2)
            await here.local.servers[1].drain(5, within=0.1)
            assert await client.recv(timeout=10) == "news"
            await client.close()
            assert [one.fate for one in publication.outcomes] == [Fate.PENDING]
        outcomes = await publication.wait(10)
        assert [(r.identity, r.node, r.fate) for r in outcomes] == [
            ("m1", "node-1", Fate.CONFIRMED)
        ]


async def test_a_report_that_does_not_get_to_the_engine_is_told_again(engine: RedisServer) -> None:
    """Nothing else comes behind it that would have to be told."""
    async with room(engine, count=2) as here:
        client = await here.enter(1, "m1")
        groups = here.local.clusters[1]._groups
        send, failures = groups._node.engine.send, 0

        async def fails(_messages: Any) -> list[bool]:
            nonlocal failures
            failures += 1
            raise EngineAway("no answer")

        publication = here.groups[0].publish("news")
        await named(publication)
        groups._node.engine.send = fails  # type: ignore[method-assign]
        assert await client.recv(timeout=5) == "news"
        # The last report is known, and the engine has not taken it.
        await until(lambda: not groups._heard and not groups._reports)
        before = failures
        await until(lambda: failures > before)
        groups._node.engine.send = send  # type: ignore[method-assign]
        outcomes = await publication.wait(10)
        assert [(r.identity, r.fate) for r in outcomes] == [("m1", Fate.CONFIRMED)]


@pytest.mark.parametrize("is_kept", [True, False])
async def test_a_report_that_finds_a_full_box_is_told_again(
    engine: RedisServer, monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    """Also if it was forgotten meanwhile: then the outcome is unknown, and nobody waits for it."""
    async with room(engine, count=2) as here:
        client = await here.enter(1, "m1")
        groups = here.local.clusters[1]._groups
        publication = here.groups[0].publish("news")
        await named(publication)
        monkeypatch.setattr("reliable_ws.cluster.engine.LONGEST_BOX", 0)
        if not is_kept:
            monkeypatch.setattr("reliable_ws.cluster.groups.KEPT_REPORTS", 0)
        assert await client.recv(timeout=5) == "news"
        await until(lambda: groups._untold and not groups._heard)
        assert not publication.done
        monkeypatch.setattr("reliable_ws.cluster.engine.LONGEST_BOX", 1000)
        outcomes = await publication.wait(10)
        fate = Fate.CONFIRMED if is_kept else Fate.UNKNOWN
        assert [(r.identity, r.fate) for r in outcomes] == [("m1", fate)]


class Question(NamedTuple):
    """What a publisher has to ask another node, since it has not heard the outcome."""

    publisher: Cluster
    other: Cluster
    "It has the member."
    boxes: list[bytes]
    "Of both, in the engine."
    client: reliable_ws.Connection

    async def raise_it(self) -> None:
        """Let the member take the publication while its outcome reaches nobody."""
        assert await self.client.recv(timeout=5) == "news"
        await until(lambda: has_told(self.other))


@contextlib.asynccontextmanager
async def question(engine: RedisServer) -> AsyncIterator[Question]:
    """The block loses the outcome, and the question too: it has to be answered all the same."""
    async with room(engine, count=2) as here:
        client = await here.enter(1, "m1")
        publisher, other = here.local.clusters
        publication = here.groups[0].publish("news")
        await named(publication)
        boxes = [b"reliable-ws:box:" + node.id for node in (publisher, other)]
        async with without(other, "_look"):  # it makes a new box
            yield Question(publisher, other, boxes, client)
            assert not publication.done
        assert [r.fate for r in await publication.wait(10)] == [Fate.CONFIRMED]


async def test_a_question_that_finds_no_box_is_asked_again(engine: RedisServer) -> None:
    """The engine was emptied, and the publisher is the first one that has a box again."""
    async with question(engine) as one:
        with engine.client as redis:
            async with without(one.publisher, "_look"):
                redis.delete(*one.boxes)
                await one.raise_it()
            await until(lambda: redis.exists(one.boxes[0]))
            await until(lambda: one.publisher._groups._unasked)


async def test_a_question_that_is_lost_with_a_box_is_answered_all_the_same(
    engine: RedisServer,
) -> None:
    async with question(engine) as one, without(one.other, "_read"):
        with engine.client as redis:
            async with without(one.publisher, "_look"):
                redis.delete(one.boxes[0])
                await one.raise_it()
            before = redis.xlen(one.boxes[1])
            await until(lambda: redis.xlen(one.boxes[1]) > before)  # the question
            redis.delete(one.boxes[1])


@pytest.mark.parametrize("level", ["park", "log"])
async def test_who_moves_is_told_whether_publications_went_by(
    engine: RedisServer, level: Any
) -> None:
    missed: dict[str, bool] = {}
    rooms: dict[int, Group] = {}

    async def handler(conn: reliable_ws.Connection) -> None:
        here = next(n for n, server in enumerate(local.servers) if conn in server.connections)
        goes_on = asyncio.Event()
        waiting[conn.id] = goes_on
        if conn.restored is not None:
            await goes_on.wait()
        missed[f"{conn.id.hex()} {here}"] = await rooms[here].join(conn)
        await conn.wait_closed()

    waiting: dict[bytes, asyncio.Event] = {}
    async with nodes(engine, level, handler, 2) as local:
        rooms.update(enumerate(Group("room", cluster=cluster) for cluster in local.clusters))
        ann, bob = await local.connect(), await local.connect()
        await until(lambda: len(missed) == 2)
        await rooms[1].publish("before").published(5)
        for client in (ann, bob):
            assert await client.recv(timeout=5) == "before"
        local.only(1)
        waiting.clear()  # what the handlers of the first node wrote there
        await local.servers[0].drain(5, within=0.0)
        await until(lambda: len(waiting) == 2)
        waiting[ann.id].set()
        await until(lambda: len(missed) == 3)
        await rooms[1].publish("between").published(5)
        assert await ann.recv(timeout=5) == "between"
        waiting[bob.id].set()
        await until(lambda: len(missed) == 4)
        assert missed == {
            f"{ann.id.hex()} 0": False,
            f"{bob.id.hex()} 0": False,
            f"{ann.id.hex()} 1": False,
            f"{bob.id.hex()} 1": True,
        }
        for client in (ann, bob):
            client.abort()
