"""Every public coroutine cancelled at its every suspension: nothing is lost, nothing is left.

Each scenario runs once for each suspension, cancelled there, in two moments: when the coroutine
has just begun to wait, and when what it waits for is done but it has not been told. Afterwards
the pair goes on, and everything that was accepted arrives, each once, in order. The virtual loop
itself fails a run that leaves a task, an unretrieved exception or a call of its handler.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from reliable_ws import (
    Config,
    Connection,
    ConnectionClosed,
    DeliveryError,
    Sessions,
    State,
    wrap,
)
from reliable_ws.adapters.memory import pair
from reliable_ws.transport import TransportClosed
from tests.aio.stage import Stage, iterate, rest, settle, start, take, turns, until
from tests.support.cancel import cancel_everywhere

SEEDS = [None, 1, 2, 3]

everywhere = pytest.mark.parametrize("seed", SEEDS)
at_both_moments = pytest.mark.parametrize("at", ["suspended", "completed"])
in_all_networks = pytest.mark.parametrize("network", ["good", "cut", "frozen"])


class Scene:
    """A pair of connections; afterwards it checks what must hold whatever was cancelled."""

    def __init__(self, network="good", **options):
        self.network = network
        self.stage = Stage(**options)

    async def __aenter__(self):
        self.client, self.server = await self.stage.pair()
        return self

    def strike(self):
        """Something happens to the network meanwhile."""
        if self.network == "cut":
            self.stage.cut()
        elif self.network == "frozen":
            self.stage.freeze()

    async def __aexit__(self, kind, value, tb):
        if kind is None:
            await settle(self.client, self.server)
        self.client.abort()
        self.server.abort()
        await turns()
        assert not self.client._driver.tasks
        assert not self.server._driver.tasks
        for conn in (self.client, self.server):  # nobody waits for ever
            assert not conn._reader.line.waiting
            assert not conn._sender._room.waiting
            waiting = conn._sender._confirmations
            assert waiting is None or not waiting._waiting
            assert conn._pump._timer is None


def explore(scenario, at, seed, fewest=1):
    """Cancel everywhere; at least so many suspensions are there to be cancelled at."""
    cases = cancel_everywhere(scenario, at=at, seed=seed)
    assert len(cases) - 1 >= fewest
    return cases


# -- receiving -----------------------------------------------------------------------------------


@everywhere
@at_both_moments
@in_all_networks
@pytest.mark.parametrize("timeout", [None, 100])
def test_recv(at, seed, network, timeout):
    async def scenario(attempt):
        async with Scene(network) as scene:

            async def sender():
                await asyncio.sleep(0.01)
                scene.strike()
                for n in range(3):
                    await scene.client.send(n)

            sending = start(sender())
            outcome = await attempt.run(scene.server.recv(timeout=timeout))
            got = [outcome.value] if outcome.how == "returned" else []
            assert got == ([] if outcome.how == "cancelled" else [0])
            assert got + await take(scene.server, 3 - len(got)) == [0, 1, 2]
            await sending

    explore(scenario, at, seed)


@everywhere
@at_both_moments
def test_recv_in_a_long_row(at, seed):
    """Also at the yields that let others run."""

    async def scenario(attempt):
        async with Scene() as scene:
            got = []

            async def reader():
                while len(got) < 2500:
                    got.append(await scene.server.recv())

            for n in range(2500):
                await scene.client.send(n)
            await attempt.run(reader())
            got += await take(scene.server, 2500 - len(got))
            assert got == list(range(2500))

    explore(scenario, at, seed, fewest=2)


@everywhere
@at_both_moments
@pytest.mark.parametrize("way", ["async for", "deliveries", "recv"])
def test_one_of_several_readers(at, seed, way):
    async def scenario(attempt):
        async with Scene() as scene:
            mine, others = [], []
            server = scene.server

            async def reader():
                if way == "async for":
                    await iterate(server, mine)
                elif way == "deliveries":
                    async for delivery in server.deliveries():
                        mine.append(delivery.message)
                        delivery.confirm()
                else:
                    with contextlib.suppress(ConnectionClosed):
                        while True:
                            mine.append(await server.recv())

            async def other():
                await iterate(server, others)

            async def sender():
                for n in range(12):
                    await asyncio.sleep(0.001)
                    await scene.client.send(2 * n)
                    await scene.client.send(2 * n + 1)
                await scene.client.finish()

            working = [start(other()), start(sender()), start(other())]
            await attempt.run(reader())
            await asyncio.gather(*working)
            assert sorted(mine + others) == list(range(24))
            assert mine == sorted(mine)
            await scene.client.flush()

    explore(scenario, at, seed, fewest=4)


@everywhere
@at_both_moments
def test_waiting_for_the_last_delivery(at, seed):
    async def scenario(attempt):
        async with Scene() as scene:

            async def reader():
                return [d async for d in scene.server.deliveries()]

            await scene.client.send("x")
            closing = start(scene.client.close())
            outcome = await attempt.run(reader())
            if outcome.how == "returned":
                outcome.value[0].confirm()
                await closing
            else:
                scene.server.abort()
                await asyncio.gather(closing, return_exceptions=True)

    explore(scenario, at, seed)


# -- sending -------------------------------------------------------------------------------------


@everywhere
@at_both_moments
@in_all_networks
@pytest.mark.parametrize("timeout", [None, 100])
def test_send_waiting_for_room(at, seed, network, timeout):
    """Whenever send raises, nothing was accepted."""

    async def scenario(attempt):
        async with Scene(network, config=Config(outbox_messages=2)) as scene:
            client, server = scene.client, scene.server
            accepted = [0, 1, *range(10, 13), *range(20, 23)]

            async def neighbour(first):
                for n in range(first, first + 3):
                    await client.send(n)

            async def reader():
                await asyncio.sleep(0.01)
                scene.strike()
                return [await server.recv() for _ in range(len(accepted))]

            await client.send(0)
            await client.send(1)
            before = start(neighbour(10))
            await turns()
            mine = start(attempt.run(client.send("mine", timeout=timeout)))
            await turns()
            after = start(neighbour(20))
            reading = start(reader())
            outcome = await mine
            await asyncio.gather(before, after)
            if outcome.how == "returned":
                accepted.append("mine")
                assert outcome.value.number
            got = await reading
            while len(got) < len(accepted):
                got.append(await server.recv())
            assert sorted(map(str, got)) == sorted(map(str, accepted))
            assert client.stats.sent == len(accepted)
            for first in (10, 20):
                own = [n for n in got if n in range(first, first + 3)]
                assert own == list(range(first, first + 3))
            await client.flush()
            client.send_nowait("open again")
            assert await server.recv() == "open again"

    explore(scenario, at, seed)


@everywhere
@at_both_moments
def test_send_in_a_long_row(at, seed):
    """Also at the yields that let others run."""

    async def scenario(attempt):
        async with Scene() as scene:
            accepted = 0

            async def sender():
                nonlocal accepted
                for n in range(3000):
                    await scene.client.send(n)
                    accepted += 1

            await attempt.run(sender())
            await scene.client.send("end")
            got = await take(scene.server, accepted + 1)
            assert got == [*range(accepted), "end"]

    explore(scenario, at, seed, fewest=2)


@everywhere
@at_both_moments
@in_all_networks
@pytest.mark.parametrize("what", ["flush", "flush in time", "receipt"])
def test_waiting_for_confirmation(at, seed, network, what):
    async def scenario(attempt):
        async with Scene(network) as scene:
            receipts = [await scene.client.send(n) for n in range(3)]

            async def wait(receipt):
                await receipt

            async def reader():
                await asyncio.sleep(0.01)
                scene.strike()
                assert await take(scene.server, 3) == [0, 1, 2]

            coroutine = {
                "flush": scene.client.flush,
                "flush in time": lambda: scene.client.flush(timeout=100),
                "receipt": lambda: wait(receipts[1]),
            }[what]()
            others = [start(wait(receipts[1])), start(wait(receipts[2])), start(reader())]
            await attempt.run(coroutine)
            await asyncio.gather(*others)  # other waiters are not touched
            await receipts[0]
            await scene.client.flush()

    explore(scenario, at, seed)


# -- ending --------------------------------------------------------------------------------------


@everywhere
@at_both_moments
@in_all_networks
@pytest.mark.parametrize("timeout", [None, 100])
def test_close_goes_on_in_the_background(at, seed, network, timeout):
    async def scenario(attempt):
        async with Scene(network, config=Config(idle_timeout=9)) as scene:
            await scene.client.send("x")

            async def reader():
                await asyncio.sleep(0.01)
                scene.strike()
                assert await rest(scene.server) == ["x"]
                await scene.server.close()

            reading = start(reader())
            await attempt.run(scene.client.close(timeout=timeout))
            await reading
            await scene.client.wait_closed()
            assert scene.client.close_code == 1000
            await scene.client.close()  # joins, or sees that it is over
            assert scene.client.report.confirmed == 1

    explore(scenario, at, seed)


@everywhere
@at_both_moments
@pytest.mark.parametrize("who", ["both", "nobody else"])
def test_close_when_it_cannot_deliver(at, seed, who):
    async def scenario(attempt):
        config = Config(close_progress_timeout=2)
        async with Scene(config=config) as scene:
            await scene.client.send("x")
            closing = start(scene.server.close()) if who == "both" else None
            outcome = await attempt.run(scene.client.close())
            assert outcome.reached or isinstance(outcome.error, DeliveryError)
            await scene.client.wait_closed()
            with pytest.raises(DeliveryError):
                await scene.client.close()
            if closing is not None:
                await closing

    explore(scenario, at, seed)


@everywhere
@at_both_moments
def test_finish_never_waits(at, seed):
    async def scenario(attempt):
        async with Scene() as scene:
            await scene.client.send("x")
            await attempt.run(scene.client.finish())
            assert await rest(scene.server) == ["x"]

    assert len(cancel_everywhere(scenario, at=at, seed=seed)) == 1


@everywhere
@at_both_moments
def test_wait_closed(at, seed):
    async def scenario(attempt):
        async with Scene() as scene:

            async def closer():
                await asyncio.sleep(0.01)
                await asyncio.gather(scene.client.close(), scene.server.close())

            closing = start(closer())
            other = start(scene.client.wait_closed())
            await attempt.run(scene.client.wait_closed())
            await asyncio.gather(closing, other)

    explore(scenario, at, seed)


@everywhere
@at_both_moments
@pytest.mark.parametrize("error", [None, LookupError])
def test_leaving_the_block(at, seed, error):
    async def scenario(attempt):
        async with Scene() as scene:

            async def block():
                async with scene.client as conn:
                    await conn.send("x")
                    if error is not None:
                        raise error

            async def reader():
                got = []
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        got.append(await scene.server.recv())
                await scene.server.close()
                return got

            reading = start(reader())
            await attempt.run(block())
            assert await reading == ["x"]
            await scene.client.wait_closed()

    explore(scenario, at, seed)


@everywhere
@at_both_moments
def test_a_cancelled_block_aborts(at, seed):
    async def scenario(attempt):
        async with Scene() as scene:

            async def block():
                async with scene.client as conn:
                    await conn.recv()
                    await asyncio.sleep(1)

            async def sender():
                await asyncio.sleep(0.01)
                with contextlib.suppress(ConnectionClosed):
                    await scene.server.send("x")

            sending = start(sender())
            outcome = await attempt.run(block())
            await sending
            if outcome.how == "cancelled" and "recv" in attempt.place:
                assert scene.client.state is State.CLOSED

    explore(scenario, at, seed, fewest=2)


# -- opening -------------------------------------------------------------------------------------


@everywhere
@at_both_moments
@pytest.mark.parametrize("resume_within", [None, 50])
@pytest.mark.parametrize("role", ["initiator", "acceptor"])
def test_wrap(at, seed, role, resume_within):
    """Cancelled, it leaves nothing: no session, no task, and the WebSocket closed."""

    async def scenario(attempt):
        near, far = pair()
        ours, theirs = (near, far) if role == "initiator" else (far, near)

        async def peer():
            await asyncio.sleep(0.01)
            async with asyncio.timeout(40):
                with contextlib.suppress(ConnectionError, DeliveryError):
                    conn = await wrap(theirs, resume_within=5)
                    async for message in conn:
                        await conn.send(message)
                    await conn.close()

        async def opening():
            return await wrap(ours, resume_within=resume_within)

        serving = start(peer())
        outcome = await attempt.run(opening())
        if outcome.how == "returned":
            conn = outcome.value
            await conn.send("x")
            assert await conn.recv() == "x"
            await conn.close()
        else:
            await turns()
            with pytest.raises(TransportClosed):
                await ours.send(b"")
            timers = asyncio.get_running_loop().timers()
            connections = [getattr(timer._callback, "__self__", None) for timer in timers]
            assert role not in [c._session.role for c in connections if isinstance(c, Connection)]
        await serving

    explore(scenario, at, seed)


@everywhere
@at_both_moments
def test_entering_the_block_of_wrap(at, seed):
    async def scenario(attempt):
        near, far = pair()

        async def peer():
            with contextlib.suppress(ConnectionError, DeliveryError):
                async with wrap(far) as conn:
                    async for message in conn:
                        await conn.send(message)

        async def body():
            async with wrap(near) as conn:
                await conn.send("x")
                assert await conn.recv() == "x"

        serving = start(peer())
        await attempt.run(body())
        await serving
        assert near._gone

    explore(scenario, at, seed, fewest=3)


@everywhere
@at_both_moments
@pytest.mark.parametrize("role", ["initiator", "acceptor"])
def test_resume(at, seed, role):
    async def scenario(attempt):
        near, far = pair()
        client, server = await asyncio.gather(
            wrap(near, resume_within=60), wrap(far, resume_within=60)
        )
        await client.send("one")
        near.cut()
        await turns()
        near, far = pair()
        mine, other = (client, server) if role == "initiator" else (server, client)
        ours, theirs = (near, far) if role == "initiator" else (far, near)

        async def resume_other():
            await asyncio.sleep(0.01)
            with contextlib.suppress(ConnectionError):
                await other.resume(theirs)

        resuming = start(resume_other())
        outcome = await attempt.run(mine.resume(ours))
        await resuming
        if outcome.how != "returned":  # whatever became of that one, the next brings it on
            near, far = pair()
            await asyncio.gather(client.resume(near), server.resume(far))
        await client.send("two")
        assert await take(server, 2) == ["one", "two"]
        await settle(client, server)

    explore(scenario, at, seed)


@everywhere
@at_both_moments
def test_handle(at, seed):
    """A framework cancels its endpoint: the session goes on over the next WebSocket."""

    async def scenario(attempt):
        sessions, wires, attempts = Sessions(), [], []

        async def handler(conn):
            async for message in conn:
                await conn.send(message)

        async def reopen():
            near, far = pair()
            wires.append(near)
            endpoint = sessions.handle(far, handler)
            first = not attempts
            attempts.append(start(attempt.run(endpoint) if first else endpoint))
            return near

        near = await reopen()
        try:
            client = await wrap(near, reopen=reopen)
        except ConnectionError:
            client = await wrap(await reopen(), reopen=reopen)
        for n in range(3):
            await client.send(n)
            assert await client.recv() == n
        await client.close()
        await asyncio.gather(*attempts)
        async with asyncio.timeout(130):
            await until(lambda: not len(sessions))

    explore(scenario, at, seed, fewest=2)


@everywhere
@at_both_moments
@pytest.mark.parametrize("peers", ["closing", "stubborn"])
def test_drain(at, seed, peers):
    async def scenario(attempt):
        sessions = Sessions()

        async def handler(conn):
            await conn.send("x")
            async for _ in conn:
                pass

        near, far = pair()
        handling = start(sessions.handle(far, handler))
        client = await wrap(near, resume_within=5)

        async def leave():
            assert await rest(client) == ["x"]
            await client.close()

        leaving = start(leave()) if peers == "closing" else None
        await attempt.run(sessions.drain(2))
        reports = await sessions.drain(2)  # joins, or begins again
        assert set(reports) == {client.id}
        if leaving is not None:
            await leaving
        client.abort()
        await handling

    explore(scenario, at, seed)
