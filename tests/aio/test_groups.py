"""Reliable broadcast: the fate of each publication at each member, and nobody delays another."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import Config, ConnectionClosed, Fate, Group, NotSerializable, PayloadError
from reliable_ws.protocol.frames import MAX_NUMBER
from tests.aio.grouped_pairs import TIGHT, GroupedPairs, counted, fates
from tests.aio.memory_network import (
    MemoryNetwork,
    now,
    on_virtual_clock,
    rest,
    settle,
    start,
    take,
    turns,
    until,
)
from tests.support.inside import driver_of, session_of

# -- publishing ------------------------------------------------------------------------------------


@on_virtual_clock
async def test_every_member_gets_everything_in_order_and_says_so():
    async with GroupedPairs(5) as pairs:
        publications = [pairs.group.publish(n) for n in range(500)]
        assert len(pairs.group) == 5
        got = await asyncio.gather(*(take(client, 500) for client in pairs.clients))
        assert got == [list(range(500))] * 5
        outcomes = await publications[-1].wait(1)
        assert fates(outcomes) == dict.fromkeys(range(5), Fate.CONFIRMED)
        assert [r.session for r in outcomes] == [m.id for m in pairs.members]
        assert all(p.done for p in publications)


@on_virtual_clock
async def test_publish_returns_at_once_and_wait_is_bounded():
    async with GroupedPairs(3) as pairs:
        publication = pairs.group.publish("x")
        assert not publication.done
        assert fates(publication.outcomes) == dict.fromkeys(range(3), Fate.PENDING)
        assert await pairs.clients[1].recv() == "x"
        began = now()
        assert fates(await publication.wait(2)) == {
            0: Fate.PENDING,
            1: Fate.CONFIRMED,
            2: Fate.PENDING,
        }
        assert now() == began + 2
        for client in (pairs.clients[0], pairs.clients[2]):
            assert await client.recv() == "x"
        assert counted(await publication.wait()) == {Fate.CONFIRMED: 3}


@on_virtual_clock
async def test_waiting_costs_one_round_trip():
    """No ack delay: members are asked to say at once."""
    async with GroupedPairs(3) as pairs:
        reading = [start(take(client, 10)) for client in pairs.clients]
        await turns()
        began = now()
        for n in range(10):
            assert counted(await pairs.group.publish(n).wait()) == {Fate.CONFIRMED: 3}
        assert now() == began
        await asyncio.gather(*reading)


@on_virtual_clock
async def test_outcomes_one_by_one_as_they_come():
    async with GroupedPairs(4) as pairs:
        publication = pairs.group.publish("x")
        got = []

        async def watch():
            got.extend([recipient.identity async for recipient in publication])

        watchers = [start(watch()), start(watch())]
        for number in (2, 0, 3, 1):
            await pairs.clients[number].recv()
            await asyncio.sleep(1)
        await asyncio.gather(*watchers)
        assert got == [2, 0, 3, 1] * 2
        assert sorted([r.identity async for r in publication]) == [0, 1, 2, 3]
        assert not publication._listeners


@on_virtual_clock
async def test_nobody_there():
    group = Group()
    publication = group.publish("x")
    assert publication.done
    assert await publication.wait() == []
    assert [r async for r in publication] == []


@on_virtual_clock(seeds=(None,))
async def test_what_cannot_be_sent_reaches_nobody():
    async with GroupedPairs(2) as pairs:
        with pytest.raises(NotSerializable):
            pairs.group.publish(object())
        for member in pairs.members:
            assert member.stats.sent == 0


@on_virtual_clock(seeds=(None,))
@pytest.mark.parametrize("message", [b"bytes" * 1000, "text", "tüxt", {"a": [1]}])
async def test_a_message_is_packed_once_and_shared(message):
    packed = []

    class Counting:
        name = "msgpack"

        def dumps(self, value):
            packed.append(value)
            return repr(value).encode()

        def loads(self, data):
            return data

    async with GroupedPairs(3, payload_codec=Counting()) as pairs:
        packed.clear()  # it was tried before it was taken
        pairs.group.publish(message)
        assert pairs.members[0].report.undelivered[0].message
        payloads = {id(session_of(m).outbox.payload(1)) for m in pairs.members}
        assert len(payloads) == 1
        assert len(packed) == (not isinstance(message, str | bytes))
        for client in pairs.clients:
            if packed:  # the members' codec has only the same name
                with pytest.raises(PayloadError):
                    await client.recv()
            else:
                assert await client.recv() == message


@on_virtual_clock(seeds=(None,))
async def test_a_message_that_one_member_cannot_take_is_skipped_there():
    one = Config(outbox_messages=1)
    net = MemoryNetwork(server_config=one, config=Config(max_message=1000))
    small, server = await net.pair()
    async with GroupedPairs(1) as pairs:
        pairs.group.join(server, "small")
        for _ in range(3):  # also if there is no room for it, and if another waits
            publication = pairs.group.publish(bytes(1001))
            assert len(await pairs.clients[0].recv()) == 1001
            assert fates(await publication.wait(1)) == {0: Fate.CONFIRMED, "small": Fate.SKIPPED}
            pairs.group.publish("next")
            assert await pairs.clients[0].recv() == "next"
        assert await take(small, 3) == ["next"] * 3
        await settle(small, server)


# -- members ---------------------------------------------------------------------------------------


@on_virtual_clock
async def test_joining_and_leaving():
    async with GroupedPairs(3) as pairs:
        first, second, _third = pairs.members
        with pytest.raises(ValueError, match="already"):
            pairs.group.join(first)
        assert first in pairs.group
        before = pairs.group.publish("before")
        pairs.group.leave(second)
        pairs.group.leave(second)  # no effect
        assert second not in pairs.group
        assert set(pairs.group) == set(pairs.members) - {second}
        after = pairs.group.publish("after")
        assert await take(pairs.clients[1], 1) == ["before"]
        for client in (pairs.clients[0], pairs.clients[2]):
            assert await take(client, 2) == ["before", "after"]
        assert counted(await before.wait(1)) == {Fate.CONFIRMED: 3}
        assert set(fates(await after.wait(1))) == {0, 2}
        pairs.group.join(second, "again")
        assert "again" in fates(pairs.group.publish("x").outcomes)
        for client in pairs.clients:
            await client.recv()


@on_virtual_clock
async def test_leaving_leaves_nothing_behind():
    async with GroupedPairs(1) as pairs:
        for n in range(100):
            pairs.group.leave(pairs.members[0])
            pairs.group.join(pairs.members[0], n)
            pairs.group.publish(n)
        assert await take(pairs.clients[0], 100) == list(range(100))
        await pairs.members[0].flush()
        assert len(driver_of(pairs.members[0]).sender.watchers) == 1
        pairs.group.leave(pairs.members[0])
        assert driver_of(pairs.members[0]).sender.watchers == ()


@on_virtual_clock
async def test_one_connection_in_several_groups():
    async with GroupedPairs(2) as pairs:
        other = Group()
        other.join(pairs.members[0], "other")
        first, second = pairs.group.publish("a"), other.publish("b")
        assert await take(pairs.clients[0], 2) == ["a", "b"]
        assert await take(pairs.clients[1], 1) == ["a"]
        assert counted(await first.wait(1)) == {Fate.CONFIRMED: 2}
        assert fates(await second.wait(1)) == {"other": Fate.CONFIRMED}


@on_virtual_clock
async def test_a_member_whose_session_ends_leaves_by_itself():
    async with GroupedPairs(3) as pairs:
        publication = pairs.group.publish("x")
        assert await pairs.clients[0].recv() == "x"
        await pairs.clients[1].close()  # has not taken it
        pairs.members[2].abort()
        assert fates(await publication.wait(10)) == {
            0: Fate.CONFIRMED,
            1: Fate.NOT_TAKEN,
            2: Fate.UNKNOWN,
        }
        assert set(pairs.group) == {pairs.members[0]}
        await until(lambda: pairs.members[1].close_code)
        with pytest.raises(ConnectionClosed):
            pairs.group.join(pairs.members[1])


@on_virtual_clock
async def test_a_member_that_closes_while_publications_wait_for_it():
    async with GroupedPairs(1, config=TIGHT) as pairs:
        publications = [pairs.group.publish(n) for n in range(10)]
        assert await take(pairs.clients[0], 2) == [0, 1]
        await pairs.clients[0].close()
        got = [fates(await p.wait(10))[0] for p in publications]
        assert got == [Fate.CONFIRMED] * 2 + [Fate.NOT_TAKEN] * 8
        assert len(pairs.group) == 0


@on_virtual_clock
async def test_a_member_that_we_finished_with():
    async with GroupedPairs(1) as pairs:
        await pairs.members[0].finish()
        assert fates(pairs.group.publish("x").outcomes) == {0: Fate.NOT_TAKEN}
        with pytest.raises(ConnectionClosed):
            Group().join(pairs.members[0])


@on_virtual_clock
async def test_a_member_that_stopped_while_its_last_messages_are_unread():
    """What is published to it then is not taken, and said to be, at once."""
    async with GroupedPairs(1) as pairs:
        await pairs.clients[0].send("unread")
        closing = start(pairs.clients[0].close())
        await until(lambda: session_of(pairs.members[0]).outbox.blocked)
        publication = pairs.group.publish("x")
        assert publication.done
        assert [r.fate async for r in publication] in ([Fate.NOT_TAKEN], [])
        assert await rest(pairs.members[0]) == ["unread"]
        await closing


@on_virtual_clock
async def test_a_member_at_its_last_number_is_dropped_and_the_others_get_everything(caplog):
    """NUM-3"""
    async with GroupedPairs(3) as pairs:
        box = session_of(pairs.members[1]).outbox
        box.restore(MAX_NUMBER - 1, [])
        publication = pairs.group.publish("x")
        assert fates(publication.outcomes)[1] is Fate.DROPPED
        assert [await pairs.clients[n].recv() for n in (0, 2)] == ["x", "x"]
        assert pairs.members[1] not in pairs.group
        assert (box.finish.number, box.finish.code) == (MAX_NUMBER, 1013)
        assert "a member was dropped from its group" in caplog.text
        assert counted(await publication.wait()) == {Fate.CONFIRMED: 2, Fate.DROPPED: 1}


@on_virtual_clock
async def test_without_a_cluster_there_is_nothing_to_wait_for():
    async with GroupedPairs(1) as pairs:
        group = Group("a name changes nothing")
        await group.join(pairs.members[0], "ann")
        began = now()
        publication = group.publish("x")
        await publication.published()
        assert now() == began
        assert await pairs.clients[0].recv() == "x"
        assert [(r.identity, r.fate, r.node) for r in await publication.wait(1)] == [
            ("ann", Fate.CONFIRMED, "")
        ]
        assert repr(group) == "<Group 'a name changes nothing', 1 members, when_full='wait'>"
        with pytest.raises(TypeError, match="timeout"):
            await publication.published("soon")
