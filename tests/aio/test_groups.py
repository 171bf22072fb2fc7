"""Reliable broadcast: the fate of each publication at each member, and nobody delays another."""

from __future__ import annotations

import asyncio
import collections
import random

import pytest

from reliable_ws import (
    Backoff,
    Config,
    ConnectionClosed,
    Fate,
    Group,
    NotSerializable,
    PayloadError,
    Sessions,
    connect,
    serve,
    wrap,
)
from reliable_ws.adapters.memory import pair
from reliable_ws.testing import ChaosProxy
from tests.aio.stage import Stage, now, on_stage, rest, settle, start, take, turns, until
from tests.support.cancel import cancel_everywhere

TIGHT = Config(window_messages=4, outbox_messages=4)


class Room:
    """A server's connections in a group, and their clients."""

    def __init__(self, count: int, *, config: Config | None = None, **options) -> None:
        self.count = count
        self.stages = [Stage(config=config) for _ in range(count)]
        self.group = Group(**options)
        self.clients: list = []
        self.members: list = []

    async def __aenter__(self):
        for number, stage in enumerate(self.stages):
            client, server = await stage.pair(reconnect=Backoff(0.1, 1, 0.1))
            self.clients.append(client)
            self.members.append(server)
            self.group.join(server, number)
        return self

    async def __aexit__(self, kind, value, tb):
        if kind is None:
            await settle(*self.clients, *self.members)
        for conn in (*self.clients, *self.members):
            conn.abort()


def fates(recipients):
    return {recipient.identity: recipient.fate for recipient in recipients}


def counted(recipients):
    return collections.Counter(recipient.fate for recipient in recipients)


# -- publishing ------------------------------------------------------------------------------------


@on_stage
async def test_every_member_gets_everything_in_order_and_says_so():
    async with Room(5) as room:
        publications = [room.group.publish(n) for n in range(500)]
        assert len(room.group) == 5
        got = await asyncio.gather(*(take(client, 500) for client in room.clients))
        assert got == [list(range(500))] * 5
        outcomes = await publications[-1].wait(1)
        assert fates(outcomes) == dict.fromkeys(range(5), Fate.CONFIRMED)
        assert [r.session for r in outcomes] == [m.id for m in room.members]
        assert all(p.done for p in publications)


@on_stage
async def test_publish_returns_at_once_and_wait_is_bounded():
    async with Room(3) as room:
        publication = room.group.publish("x")
        assert not publication.done
        assert fates(publication.outcomes) == dict.fromkeys(range(3), Fate.PENDING)
        assert await room.clients[1].recv() == "x"
        began = now()
        assert fates(await publication.wait(2)) == {
            0: Fate.PENDING,
            1: Fate.CONFIRMED,
            2: Fate.PENDING,
        }
        assert now() == began + 2
        for client in (room.clients[0], room.clients[2]):
            assert await client.recv() == "x"
        assert counted(await publication.wait()) == {Fate.CONFIRMED: 3}


@on_stage
async def test_waiting_costs_one_round_trip():
    """No ack delay: members are asked to say at once."""
    async with Room(3) as room:
        reading = [start(take(client, 10)) for client in room.clients]
        await turns()
        began = now()
        for n in range(10):
            assert counted(await room.group.publish(n).wait()) == {Fate.CONFIRMED: 3}
        assert now() == began
        await asyncio.gather(*reading)


@on_stage
async def test_outcomes_one_by_one_as_they_come():
    async with Room(4) as room:
        publication = room.group.publish("x")
        got = []

        async def watch():
            got.extend([recipient.identity async for recipient in publication])

        watchers = [start(watch()), start(watch())]
        for number in (2, 0, 3, 1):
            await room.clients[number].recv()
            await asyncio.sleep(1)
        await asyncio.gather(*watchers)
        assert got == [2, 0, 3, 1] * 2
        assert sorted([r.identity async for r in publication]) == [0, 1, 2, 3]
        assert not publication._listeners


@on_stage
async def test_nobody_there():
    group = Group()
    publication = group.publish("x")
    assert publication.done
    assert await publication.wait() == []
    assert [r async for r in publication] == []


@on_stage(seeds=(None,))
async def test_what_cannot_be_sent_reaches_nobody():
    async with Room(2) as room:
        with pytest.raises(NotSerializable):
            room.group.publish(object())
        for member in room.members:
            assert member.stats.sent == 0


@on_stage(seeds=(None,))
@pytest.mark.parametrize("message", [b"bytes" * 1000, "text", "tüxt", {"a": [1]}])
async def test_a_message_is_packed_once_and_shared(message):
    packed = []

    class Counting:
        def dumps(self, value):
            packed.append(value)
            return repr(value).encode()

        def loads(self, data):
            return data

    async with Room(3, payload_codec=Counting()) as room:
        room.group.publish(message)
        assert room.members[0].report.undelivered[0].message
        payloads = {id(m._session.outbox.payload(1)) for m in room.members}
        assert len(payloads) == 1
        assert len(packed) == (not isinstance(message, str | bytes))
        for client in room.clients:
            if packed:  # the members have another codec
                with pytest.raises(PayloadError):
                    await client.recv()
            else:
                assert await client.recv() == message


@on_stage(seeds=(None,))
async def test_a_message_that_one_member_cannot_take_is_skipped_there():
    stage = Stage(server_config=Config(), config=Config(max_message=100))
    small, server = await stage.pair()
    async with Room(1) as room:
        room.group.join(server, "small")
        publication = room.group.publish(bytes(101))
        assert len(await room.clients[0].recv()) == 101
        assert fates(await publication.wait(1)) == {0: Fate.CONFIRMED, "small": Fate.SKIPPED}
        await settle(small, server)


# -- members ---------------------------------------------------------------------------------------


@on_stage
async def test_joining_and_leaving():
    async with Room(3) as room:
        first, second, _third = room.members
        with pytest.raises(ValueError, match="already"):
            room.group.join(first)
        assert first in room.group
        before = room.group.publish("before")
        room.group.leave(second)
        room.group.leave(second)  # no effect
        assert second not in room.group
        assert set(room.group) == set(room.members) - {second}
        after = room.group.publish("after")
        assert await take(room.clients[1], 1) == ["before"]
        for client in (room.clients[0], room.clients[2]):
            assert await take(client, 2) == ["before", "after"]
        assert counted(await before.wait(1)) == {Fate.CONFIRMED: 3}
        assert set(fates(await after.wait(1))) == {0, 2}
        room.group.join(second, "again")
        assert "again" in fates(room.group.publish("x").outcomes)
        for client in room.clients:
            await client.recv()


@on_stage
async def test_leaving_leaves_nothing_behind():
    async with Room(1) as room:
        for n in range(100):
            room.group.leave(room.members[0])
            room.group.join(room.members[0], n)
            room.group.publish(n)
        assert await take(room.clients[0], 100) == list(range(100))
        await room.members[0].flush()
        assert len(room.members[0]._sender.watchers) == 1
        room.group.leave(room.members[0])
        assert room.members[0]._sender.watchers == ()


@on_stage
async def test_one_connection_in_several_groups():
    async with Room(2) as room:
        other = Group()
        other.join(room.members[0], "other")
        first, second = room.group.publish("a"), other.publish("b")
        assert await take(room.clients[0], 2) == ["a", "b"]
        assert await take(room.clients[1], 1) == ["a"]
        assert counted(await first.wait(1)) == {Fate.CONFIRMED: 2}
        assert fates(await second.wait(1)) == {"other": Fate.CONFIRMED}


@on_stage
async def test_a_member_whose_session_ends_leaves_by_itself():
    async with Room(3) as room:
        publication = room.group.publish("x")
        assert await room.clients[0].recv() == "x"
        await room.clients[1].close()  # has not taken it
        room.members[2].abort()
        assert fates(await publication.wait(10)) == {
            0: Fate.CONFIRMED,
            1: Fate.NOT_TAKEN,
            2: Fate.UNKNOWN,
        }
        assert set(room.group) == {room.members[0]}
        await until(lambda: room.members[1].close_code)
        with pytest.raises(ConnectionClosed):
            room.group.join(room.members[1])


@on_stage
async def test_a_member_that_closes_while_publications_wait_for_it():
    async with Room(1, config=TIGHT) as room:
        publications = [room.group.publish(n) for n in range(10)]
        assert await take(room.clients[0], 2) == [0, 1]
        await room.clients[0].close()
        got = [fates(await p.wait(10))[0] for p in publications]
        assert got == [Fate.CONFIRMED] * 2 + [Fate.NOT_TAKEN] * 8
        assert len(room.group) == 0


@on_stage
async def test_a_member_that_we_finished_with():
    async with Room(1) as room:
        await room.members[0].finish()
        assert fates(room.group.publish("x").outcomes) == {0: Fate.NOT_TAKEN}
        with pytest.raises(ConnectionClosed):
            Group().join(room.members[0])


@on_stage
async def test_a_member_that_stopped_while_its_last_messages_are_unread():
    """What is published to it then is not taken, and said to be, at once."""
    async with Room(1) as room:
        await room.clients[0].send("unread")
        closing = start(room.clients[0].close())
        await until(lambda: room.members[0]._session.outbox.muted)
        publication = room.group.publish("x")
        assert publication.done
        assert [r.fate async for r in publication] in ([Fate.NOT_TAKEN], [])
        assert await rest(room.members[0]) == ["unread"]
        await closing


# -- slow, stalled, full, detached, dying ----------------------------------------------------------


@on_stage
async def test_a_slow_member_delays_nobody_and_gets_everything():
    async with Room(3, config=TIGHT) as room:
        began = now()
        publications = [room.group.publish(n) for n in range(100)]
        for client in room.clients[:2]:
            assert await take(client, 100) == list(range(100))
        assert now() - began < 1
        assert fates(await publications[-1].wait(1))[2] is Fate.PENDING
        assert await take(room.clients[2], 100) == list(range(100))
        assert counted(await publications[-1].wait(1)) == {Fate.CONFIRMED: 3}


@on_stage
async def test_wait_has_a_limit_then_the_member_is_dropped():
    async with Room(2, config=TIGHT, limit=10) as room:
        fast = start(take(room.clients[1], 30))
        publications = []
        for n in range(30):
            publications.append(room.group.publish(n))
            await asyncio.sleep(0.1)
        assert await fast == list(range(30))
        got = [fates(p.outcomes).get(0) for p in publications]
        assert got == [Fate.PENDING] * 4 + [Fate.DROPPED] * 11 + [None] * 15
        assert set(room.group) == {room.members[1]}
        assert await take(room.clients[0], 4) == [0, 1, 2, 3]  # what it was sent it gets
        await room.members[0].flush()
        assert [fates(p.outcomes)[0] for p in publications[:4]] == [Fate.CONFIRMED] * 4
        assert room.members[0].stats.sent == 4
        assert room.members[0]._sender.watchers == ()


@on_stage
async def test_wait_has_a_limit_in_bytes():
    async with Room(1, config=TIGHT, limit_bytes=10_000) as room:
        publications = [room.group.publish(bytes(4000)) for _ in range(8)]
        got = [fates(p.outcomes).get(0) for p in publications]
        assert got == [Fate.PENDING] * 4 + [Fate.DROPPED] * 3 + [None]


@on_stage
async def test_skip_leaves_gaps_and_keeps_the_member():
    async with Room(2, config=TIGHT, when_full="skip") as room:
        first = [room.group.publish(n) for n in range(6)]
        for client in room.clients:
            assert await take(client, 4) == [0, 1, 2, 3]
        await asyncio.gather(*(m.flush() for m in room.members))
        assert [counted(p.outcomes) for p in first[4:]] == [{Fate.SKIPPED: 2}] * 2
        assert first[5].done
        room.group.publish("next")
        for client in room.clients:
            assert await client.recv() == "next"


@on_stage
async def test_drop_drops_at_once():
    async with Room(2, config=TIGHT, when_full="drop") as room:
        publications = [room.group.publish(n) for n in range(4)]
        assert await take(room.clients[1], 4) == [0, 1, 2, 3]
        await room.members[1].flush()
        last = room.group.publish("x")
        assert fates(last.outcomes) == {0: Fate.DROPPED, 1: Fate.PENDING}
        assert set(room.group) == {room.members[1]}
        assert await room.clients[1].recv() == "x"
        assert await take(room.clients[0], 4) == [0, 1, 2, 3]
        assert counted(await publications[0].wait(1)) == {Fate.CONFIRMED: 2}


@pytest.mark.parametrize(
    "options", [{"when_full": "never"}, {"limit": 0}, {"limit_bytes": 0}, {"limit": -1}]
)
def test_a_group_that_makes_no_sense(options):
    with pytest.raises(ValueError, match="must be"):
        Group(**options)


@on_stage
async def test_a_member_that_reconnects_gets_everything_in_order():
    async with Room(3, config=TIGHT, limit=1000) as room:
        stage = room.stages[1]
        stage.closed = True
        stage.cut()
        publications = [room.group.publish(n) for n in range(200)]
        for client in (room.clients[0], room.clients[2]):
            assert await take(client, 200) == list(range(200))
        await asyncio.sleep(30)
        assert fates(publications[0].outcomes)[1] is Fate.PENDING
        stage.closed = False
        assert await take(room.clients[1], 200) == list(range(200))
        assert counted(await publications[-1].wait(5)) == {Fate.CONFIRMED: 3}


@on_stage
async def test_a_member_that_never_comes_back_is_unknown_or_not_taken():
    config = Config(session_ttl=10, window_messages=4, outbox_messages=4)
    async with Room(2, config=config) as room:
        publications = [room.group.publish(n) for n in range(8)]
        await turns()
        room.stages[0].closed = True
        room.stages[0].cut()
        assert await take(room.clients[1], 8) == list(range(8))
        late = room.group.publish("late")
        assert await room.clients[1].recv() == "late"
        got = [fates(await p.wait(60))[0] for p in (*publications, late)]
        assert got == [Fate.UNKNOWN] * 4 + [Fate.NOT_TAKEN] * 5
        assert set(room.group) == {room.members[1]}


@on_stage
async def test_publications_and_sends_keep_their_order():
    async with Room(1) as room:
        for n in range(0, 300, 3):
            await room.members[0].send(n)
            room.group.publish(n + 1)
            room.members[0].send_nowait(n + 2)
        assert await take(room.clients[0], 300) == list(range(300))


def test_waiting_for_a_publication_cancelled_at_every_suspension():
    for at in ("suspended", "completed"):

        async def scenario(attempt):
            async with Room(2) as room:
                publication = room.group.publish("x")
                reading = [start(take(client, 1)) for client in room.clients]
                outcome = await attempt.run(publication.wait(60))
                assert outcome.how == ("cancelled" if outcome.reached else "returned")
                await asyncio.gather(*reading)
                assert counted(await publication.wait(1)) == {Fate.CONFIRMED: 2}

        assert len(cancel_everywhere(scenario, at=at)) == 2


def test_watching_outcomes_cancelled_at_every_suspension():
    for at in ("suspended", "completed"):

        async def scenario(attempt):
            async with Room(3) as room:
                publication = room.group.publish("x")

                async def watch():
                    return [recipient async for recipient in publication]

                async def read():
                    for client in room.clients:
                        await asyncio.sleep(1)
                        await client.recv()

                reading = start(read())
                outcome = await attempt.run(watch())
                assert outcome.how == ("cancelled" if outcome.reached else "returned")
                await reading
                assert counted(await publication.wait(1)) == {Fate.CONFIRMED: 3}
                await turns()
                assert not publication._listeners

        assert len(cancel_everywhere(scenario, at=at)) == 4


# -- the truth of a thousand reports ---------------------------------------------------------------


@on_stage(seeds=(None,), limit=1000)
async def test_a_thousand_members_with_cuts_and_stalls_every_report_is_true():  # noqa: C901
    """50 are cut at random and come back, 20 of which never; 20 stall; the books are compared."""
    chance = random.Random(1000)
    config = Config(session_ttl=20, idle_timeout=10, window_messages=16, outbox_messages=16)
    sessions = Sessions(config=config)
    group = Group(limit=8)
    taken: dict[int, list[int]] = {number: [] for number in range(1000)}
    wires, gone, clients = {}, set(), {}

    async def opening(number):
        if number in gone:
            raise ConnectionRefusedError
        near, far = pair()
        wires[number] = near
        accepting.add(start(accept(far, number)))
        return near

    async def accept(far, number):
        connection = await wrap(far, sessions=sessions)
        if connection not in group and number not in joined:
            joined.add(number)
            group.join(connection, number)

    async def read(number, client):
        stalled_at = 5 if number in stalled else None
        try:
            async for message in client:
                taken[number].append(message)
                if len(taken[number]) == stalled_at:
                    await over.wait()
        except ConnectionClosed:
            pass

    accepting: set = set()
    joined: set = set()
    over = asyncio.Event()
    numbers = list(range(1000))
    chance.shuffle(numbers)
    cut, stalled = numbers[:50], set(numbers[50:70])
    for number in range(1000):
        client = await wrap(
            await opening(number),
            reopen=lambda number=number: opening(number),
            config=config,
            reconnect=Backoff(0.1, 1, 1),
        )
        clients[number] = client
    await until(lambda: len(group) == 1000)
    readers = [start(read(number, client)) for number, client in clients.items()]
    publications = []
    for n in range(40):
        publications.append(group.publish(n))
        if n % 10 == 9:
            for number in chance.sample(cut, 10):
                wires[number].cut()
            if n == 19:
                gone.update(cut[:20])
                for number in cut[:20]:
                    wires[number].cut()
        await asyncio.sleep(0.05)
    await publications[10].wait(60)  # the stalled hold it; longer than a dead session lasts
    reports = [await p.wait(0) for p in publications]
    healthy = set(numbers) - stalled - gone
    tally: collections.Counter[Fate] = collections.Counter()
    for n, report in enumerate(reports):
        for recipient in report:
            tally[recipient.fate] += 1
            number = recipient.identity
            assert recipient.session == clients[number].id
            if number in healthy:
                assert recipient.fate is Fate.CONFIRMED
            if recipient.fate is Fate.CONFIRMED:
                assert n in taken[number]
            elif recipient.fate is not Fate.UNKNOWN and recipient.fate is not Fate.PENDING:
                assert n not in taken[number]
    for number, messages in taken.items():
        assert messages == list(range(len(messages)))  # in order, none twice, no gap
        assert len(messages) == 40 or number in stalled | gone
    assert tally[Fate.CONFIRMED] > 38_000
    assert tally[Fate.DROPPED] > 0
    assert tally[Fate.UNKNOWN] > 0
    assert tally[Fate.PENDING] > 0  # at the members that stall and live
    over.set()  # they read on
    last = [(n, r) for n, p in enumerate(publications) for r in await p.wait(30)]
    assert Fate.PENDING not in counted(r for _, r in last)
    assert all(n in taken[r.identity] for n, r in last if r.fate is Fate.CONFIRMED)
    for client in clients.values():
        client.abort()
    await asyncio.gather(*readers, *accepting, return_exceptions=True)
    for connection in sessions.connections:
        connection.abort()


@pytest.mark.transport
async def test_over_sockets_with_members_that_are_cut():
    group = Group()

    async def handler(conn):
        group.join(conn, await conn.recv())
        async for _ in conn:
            pass

    async with (
        asyncio.timeout(30),
        serve(handler, "127.0.0.1", 0) as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
    ):
        direct, shaky = f"ws://127.0.0.1:{server.port}", proxy.uri()
        clients = [
            await connect(uri, reconnect=Backoff(0.01, longest=0.1), proxy=None)
            for uri in [direct, shaky] * 5
        ]
        for number, client in enumerate(clients):
            await client.send(number)
        while len(group) < 10:  # noqa: ASYNC110 - bounded above
            await asyncio.sleep(0.01)
        taking = [start(take(client, 500)) for client in clients]
        publications = []
        for n in range(500):
            publications.append(group.publish(n))
            if n % 100 == 50:
                proxy.reset()
            if n % 10 == 0:
                await publications[-1].wait(20)
        assert await asyncio.gather(*taking) == [list(range(500))] * 10
        for publication in publications:
            assert counted(await publication.wait(10)) == {Fate.CONFIRMED: 10}
        assert sum(client.stats.resumes for client in clients) >= 5
        await asyncio.gather(*(client.close() for client in clients))
