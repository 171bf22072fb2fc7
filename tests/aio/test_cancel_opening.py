"""Every coroutine that opens or serves cancelled at its every suspension (see test_cancel.py)."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from reliable_ws import Connection, DeliveryError, Sessions, wrap
from reliable_ws.testing.memory import pair
from reliable_ws.transport import TransportClosed
from tests.aio.cancelled_pair import cancelled_everywhere
from tests.aio.memory_network import rest, settle, start, take, turns, until
from tests.support.inside import session_of


@cancelled_everywhere
@pytest.mark.parametrize("resume_within", [None, 50])
@pytest.mark.parametrize("role", ["initiator", "acceptor"])
async def test_wrap(attempt, role, resume_within):
    """Cancelled, it leaves nothing: no session, no task, and the WebSocket closed."""
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
        assert role not in [session_of(c).role for c in connections if isinstance(c, Connection)]
    await serving


@cancelled_everywhere(fewest=3)
async def test_entering_the_block_of_wrap(attempt):
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


@cancelled_everywhere
@pytest.mark.parametrize("role", ["initiator", "acceptor"])
async def test_resume(attempt, role):
    near, far = pair()
    client, server = await asyncio.gather(wrap(near, resume_within=60), wrap(far, resume_within=60))
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


@cancelled_everywhere(fewest=2)
async def test_handle(attempt):
    """A framework cancels its endpoint: the session goes on over the next WebSocket."""
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


@cancelled_everywhere
@pytest.mark.parametrize("peers", ["closing", "stubborn"])
async def test_drain(attempt, peers):
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

    close_action = start(leave()) if peers == "closing" else None
    await attempt.run(sessions.drain(2))
    reports = await sessions.drain(2)  # joins, or begins again
    assert set(reports) == {client.id}
    if close_action is not None:
        await close_action
    client.abort()
    await handling
