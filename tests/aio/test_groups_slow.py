"""Members that are slow, stalled, full, detached or dying: nobody delays another."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import Config, ConnectionClosedError, Fate, Group, State
from tests.aio.grouped_pairs import TIGHT, GroupedPairs, counted, fates
from tests.aio.memory_network import iterate, now, on_virtual_clock, start, take, turns
from tests.support.cancel import cancel_everywhere
from tests.support.inside import driver_of


@on_virtual_clock
async def test_a_slow_member_delays_nobody_and_gets_everything():
    async with GroupedPairs(3, config=TIGHT) as pairs:
        began = now()
        publications = [pairs.group.publish(n) for n in range(100)]
        for client in pairs.clients[:2]:
            assert await take(client, 100) == list(range(100))
        assert now() - began < 1
        assert fates(await publications[-1].wait(1))[2] is Fate.PENDING
        assert await take(pairs.clients[2], 100) == list(range(100))
        assert counted(await publications[-1].wait(1)) == {Fate.CONFIRMED: 3}


@on_virtual_clock
async def test_wait_has_a_limit_then_the_member_is_dropped():
    async with GroupedPairs(2, config=TIGHT, limit=10) as pairs:
        fast = start(take(pairs.clients[1], 30))
        publications = []
        for n in range(30):
            publications.append(pairs.group.publish(n))
            await asyncio.sleep(0.1)
        assert await fast == list(range(30))
        got = [fates(p.outcomes).get(0) for p in publications]
        assert got == [Fate.PENDING] * 4 + [Fate.DROPPED] * 11 + [None] * 15
        assert set(pairs.group) == {pairs.members[1]}
        assert await take(pairs.clients[0], 4) == [0, 1, 2, 3]  # what it was sent it gets
        await pairs.members[0].flush()
        assert [fates(p.outcomes)[0] for p in publications[:4]] == [Fate.CONFIRMED] * 4
        assert pairs.members[0].stats.sent == 4
        assert driver_of(pairs.members[0]).sender.watchers == ()


@pytest.mark.parametrize("when_full", ["wait", "drop"])
@on_virtual_clock
async def test_a_member_that_is_dropped_is_told_so_behind_what_it_was_sent(when_full, caplog):
    """Else it would stay connected, and never notice that it gets nothing more."""
    async with GroupedPairs(2, config=TIGHT, when_full=when_full, limit=3) as pairs:
        fast = start(take(pairs.clients[1], 12))
        for n in range(12):
            pairs.group.publish(n)
            await asyncio.sleep(0.1)
        got = []
        with pytest.raises(ConnectionClosedError, match="dropped from its group") as caught:
            await iterate(pairs.clients[0], got)
        assert got == [0, 1, 2, 3]
        assert caught.value.code == 1013
        assert await fast == list(range(12))
        await pairs.clients[0].close()
        await pairs.members[0].wait_closed()
        assert pairs.members[0].close_code == 1013
        assert pairs.members[1].state is State.OPEN
        assert caplog.text.count("dropped from its group") == 1
        assert "identity 0" in caplog.text


@on_virtual_clock
async def test_a_member_that_is_dropped_and_reads_nothing_ends_in_time():
    async with GroupedPairs(1, config=TIGHT, when_full="drop") as pairs:
        for n in range(5):
            pairs.group.publish(n)
        began = now()
        await pairs.members[0].wait_closed()
        assert now() - began < TIGHT.close_progress_timeout + 1
        with pytest.raises(ConnectionClosedError):
            await iterate(pairs.clients[0], [])


@on_virtual_clock
async def test_the_application_decides_what_becomes_of_a_dropped_member(caplog):
    dropped = []
    async with GroupedPairs(2, config=TIGHT, when_full="drop", on_dropped=dropped.append) as pairs:
        for n in range(6):
            pairs.group.publish(n)
        assert dropped == pairs.members
        assert [member.state for member in dropped] == [State.OPEN] * 2
        pairs.group.leave(pairs.members[0])  # no member any more
        for client, member in zip(pairs.clients, pairs.members, strict=True):
            assert await take(client, 4) == [0, 1, 2, 3]
            await member.send("catch up")
            pairs.group.join(member)
            assert await client.recv() == "catch up"
        assert "dropped from its group" in caplog.text


@on_virtual_clock
async def test_what_on_dropped_raises_reaches_no_publisher(caplog):
    async with GroupedPairs(2, config=TIGHT, when_full="drop", on_dropped=[].pop) as pairs:
        publications = [pairs.group.publish(n) for n in range(5)]
        assert fates(publications[-1].outcomes) == {0: Fate.DROPPED, 1: Fate.DROPPED}
        assert caplog.text.count("on_dropped raised") == 2


@on_virtual_clock
async def test_a_member_that_leaves_by_itself_stays_connected(caplog):
    async with GroupedPairs(1, config=TIGHT) as pairs:
        publications = [pairs.group.publish(n) for n in range(6)]
        pairs.group.leave(pairs.members[0])
        assert fates(publications[-1].outcomes) == {0: Fate.DROPPED}
        assert pairs.members[0].state is State.OPEN
        assert await take(pairs.clients[0], 4) == [0, 1, 2, 3]
        assert not caplog.text


@on_virtual_clock
async def test_wait_has_a_limit_in_bytes():
    async with GroupedPairs(1, config=TIGHT, limit_bytes=10_000) as pairs:
        publications = [pairs.group.publish(bytes(4000)) for _ in range(8)]
        got = [fates(p.outcomes).get(0) for p in publications]
        assert got == [Fate.PENDING] * 4 + [Fate.DROPPED] * 3 + [None]


@on_virtual_clock
async def test_one_above_the_limit_in_bytes_waits_alone():
    async with GroupedPairs(1, config=TIGHT, limit_bytes=10_000) as pairs:
        before = [pairs.group.publish(n) for n in range(4)]
        large = pairs.group.publish(bytes(20_000))
        assert counted(p.outcomes[0] for p in (*before, large)) == {Fate.PENDING: 5}
        assert await take(pairs.clients[0], 5) == [0, 1, 2, 3, bytes(20_000)]
        assert fates(await large.wait(1)) == {0: Fate.CONFIRMED}
        for n in range(4):
            pairs.group.publish(n)
        large = pairs.group.publish(bytes(20_000))
        last = pairs.group.publish("x")
        assert fates(last.outcomes) == fates(large.outcomes) == {0: Fate.DROPPED}


@on_virtual_clock
async def test_skip_leaves_gaps_and_keeps_the_member():
    async with GroupedPairs(2, config=TIGHT, when_full="skip") as pairs:
        first = [pairs.group.publish(n) for n in range(6)]
        for client in pairs.clients:
            assert await take(client, 4) == [0, 1, 2, 3]
        await asyncio.gather(*(m.flush() for m in pairs.members))
        assert [counted(p.outcomes) for p in first[4:]] == [{Fate.SKIPPED: 2}] * 2
        assert first[5].done
        pairs.group.publish("next")
        for client in pairs.clients:
            assert await client.recv() == "next"


@on_virtual_clock
async def test_drop_drops_at_once():
    async with GroupedPairs(2, config=TIGHT, when_full="drop") as pairs:
        publications = [pairs.group.publish(n) for n in range(4)]
        assert await take(pairs.clients[1], 4) == [0, 1, 2, 3]
        await pairs.members[1].flush()
        last = pairs.group.publish("x")
        assert fates(last.outcomes) == {0: Fate.DROPPED, 1: Fate.PENDING}
        assert set(pairs.group) == {pairs.members[1]}
        assert await pairs.clients[1].recv() == "x"
        assert await take(pairs.clients[0], 4) == [0, 1, 2, 3]
        assert counted(await publications[0].wait(1)) == {Fate.CONFIRMED: 2}


@pytest.mark.parametrize(
    "options", [{"when_full": "never"}, {"limit": 0}, {"limit_bytes": 0}, {"limit": -1}]
)
def test_a_group_that_makes_no_sense(options):
    with pytest.raises(ValueError, match="must be"):
        Group(**options)


@on_virtual_clock
async def test_a_member_that_reconnects_gets_everything_in_order():
    async with GroupedPairs(3, config=TIGHT, limit=1000) as pairs:
        net = pairs.nets[1]
        net.closed = True
        net.cut()
        publications = [pairs.group.publish(n) for n in range(200)]
        for client in (pairs.clients[0], pairs.clients[2]):
            assert await take(client, 200) == list(range(200))
        await asyncio.sleep(30)
        assert fates(publications[0].outcomes)[1] is Fate.PENDING
        net.closed = False
        assert await take(pairs.clients[1], 200) == list(range(200))
        assert counted(await publications[-1].wait(5)) == {Fate.CONFIRMED: 3}


@on_virtual_clock
async def test_a_member_that_never_comes_back_is_unknown_or_not_taken():
    config = Config(session_ttl=10, window_messages=4, outbox_messages=4)
    async with GroupedPairs(2, config=config) as pairs:
        publications = [pairs.group.publish(n) for n in range(8)]
        await turns()
        pairs.nets[0].closed = True
        pairs.nets[0].cut()
        assert await take(pairs.clients[1], 8) == list(range(8))
        late = pairs.group.publish("late")
        assert await pairs.clients[1].recv() == "late"
        got = [fates(await p.wait(60))[0] for p in (*publications, late)]
        assert got == [Fate.UNKNOWN] * 4 + [Fate.NOT_TAKEN] * 5
        assert set(pairs.group) == {pairs.members[1]}


@on_virtual_clock
async def test_publications_and_sends_keep_their_order():
    async with GroupedPairs(1) as pairs:
        for n in range(0, 300, 3):
            await pairs.members[0].send(n)
            pairs.group.publish(n + 1)
            pairs.members[0].send_nowait(n + 2)
        assert await take(pairs.clients[0], 300) == list(range(300))


def test_waiting_for_a_publication_cancelled_at_every_suspension():
    for at in ("suspended", "completed"):

        async def scenario(attempt):
            async with GroupedPairs(2) as pairs:
                publication = pairs.group.publish("x")
                reading = [start(take(client, 1)) for client in pairs.clients]
                outcome = await attempt.run(publication.wait(60))
                assert outcome.how == ("cancelled" if outcome.reached else "returned")
                await asyncio.gather(*reading)
                assert counted(await publication.wait(1)) == {Fate.CONFIRMED: 2}

        assert len(cancel_everywhere(scenario, at=at)) == 2


def test_watching_outcomes_cancelled_at_every_suspension():
    for at in ("suspended", "completed"):

        async def scenario(attempt):
            async with GroupedPairs(3) as pairs:
                publication = pairs.group.publish("x")

                async def watch():
                    return [recipient async for recipient in publication]

                async def read():
                    for client in pairs.clients:
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
