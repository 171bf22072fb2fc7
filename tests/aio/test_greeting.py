"""Who is at the other end: peers that speak no protocol, or another version, or say no."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import (
    Config,
    Connection,
    ConnectionClosed,
    DeliveryError,
    NotReliablePeer,
    ServerBusy,
    SessionLost,
    Sessions,
    wrap,
)
from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.frames import Code, Hello, Refuse, Welcome
from reliable_ws.protocol.session import Session
from reliable_ws.testing import Network, Strike
from reliable_ws.testing.memory import pair
from reliable_ws.transport import TransportClosed
from tests.aio.memory_network import (
    MemoryNetwork,
    now,
    on_virtual_clock,
    second_holder,
    settle,
    start,
    turns,
)

QUICK = Config(open_timeout=3)
GRACE = 5 + 1
"""Seconds in which a peer that was told to leave may still do so."""


async def _echo(end):
    while True:
        await end.send(await end.recv())


async def _garbage(end):
    await end.recv()
    await end.send(b"\xc1 what?")
    await _silence(end)


async def _text(end):
    end.inject("hello, how are you?")
    await _silence(end)


async def _empty(end):
    end.inject(b"")
    await _silence(end)


async def _nonsense(end):
    """Well-formed frames that are no greeting."""
    end.inject(encode([]))
    end.inject(b"\x91\x93\x41\x00\x00")
    await _silence(end)


async def _silence(end):
    while True:
        await end.recv()


async def _hangs_up(end):
    await end.close(1000)


async def _gone(end):
    end.cut()


async def _flood(end):
    while True:
        end.inject(bytes(1000))
        await asyncio.sleep(0.01)


STRANGERS = [_echo, _garbage, _text, _empty, _nonsense, _silence, _hangs_up, _flood]


async def _play(stranger, end):
    try:
        await stranger(end)
    except TransportClosed:
        pass


@on_virtual_clock
@pytest.mark.parametrize("resume_within", [None, 60])
@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("role", ["initiator", "acceptor"])
async def test_a_stranger_is_found_out_in_time(role, stranger, resume_within):
    near, far = pair()
    ours, theirs = (near, far) if role == "initiator" else (far, near)
    playing = start(_play(stranger, theirs))
    began = now()
    with pytest.raises(NotReliablePeer):
        await wrap(ours, config=QUICK, resume_within=resume_within)
    assert now() - began <= 3 + GRACE
    await turns()
    with pytest.raises(TransportClosed):
        await ours.send(b"")  # the WebSocket is closed
    playing.cancel()


@on_virtual_clock(seeds=(None,))
@pytest.mark.parametrize(
    ("stranger", "words"),
    [
        (_silence, r"no Welcome: nothing heard in time$"),
        (_hangs_up, r"no Welcome: WebSocket closed \(code 1000, reason ''\)$"),
        (_text, r"a text message; frames are binary \(4400\)$"),
    ],
)
async def test_a_client_is_told_what_the_stranger_did(stranger, words):
    near, far = pair()
    playing = start(_play(stranger, far))
    with pytest.raises(NotReliablePeer, match=words):
        await wrap(near, config=QUICK)
    playing.cancel()


@on_virtual_clock
@pytest.mark.parametrize("options", [{}, {"resume_within": 60}, {"reopen": MemoryNetwork().open}])
async def test_a_network_that_is_lost_in_the_first_greeting_is_no_stranger(options):
    near, far = pair()
    events = []
    playing = start(_play(_gone, far))
    with pytest.raises(SessionLost, match="the network was lost before the peer had greeted") as it:
        await wrap(near, on_event=events.append, **options)
    assert it.value.code == 1006
    assert isinstance(it.value.__cause__, TransportClosed)
    await turns()
    assert events == []
    with pytest.raises(TransportClosed):
        await near.send(b"")
    await playing


@on_virtual_clock(seeds=(None,))
async def test_an_acceptor_that_loses_its_peer_before_hello_is_told():
    near, far = pair()
    near.cut()
    with pytest.raises(NotReliablePeer):
        await wrap(far)


@on_virtual_clock
@pytest.mark.parametrize("role", ["initiator", "acceptor"])
async def test_a_stranger_that_hangs_the_network_is_found_out_in_time(role):
    near, far = pair()
    near.freeze()
    far.freeze()
    with pytest.raises(NotReliablePeer):
        await wrap(near if role == "initiator" else far, config=QUICK)
    assert now() <= 3 + GRACE + 10
    near.cut()


@on_virtual_clock
async def test_two_acceptors_and_two_initiators_find_out():
    for role in ("initiator", "acceptor"):
        ends = pair()
        results = await asyncio.gather(
            *(wrap(end, role=role, config=QUICK)._open() for end in ends), return_exceptions=True
        )
        assert [type(result) for result in results] == [NotReliablePeer] * 2


@on_virtual_clock
async def test_a_client_of_another_version_is_refused():
    near, far = pair()
    sent = Hello(2, 9, bytes(16), bytes(32), 1, 0, *_position_and_limits())
    await near.send(encode([sent]))
    with pytest.raises(NotReliablePeer):
        await wrap(far)
    [refuse] = decode(await near.recv(), 2**20)
    assert refuse.code == Code.VERSION


def _position_and_limits():
    session = Session("initiator", bytes(16), bytes(32), 0)
    [hello] = decode(session.dial(0).transmit(0), 2**20)
    return hello.position, hello.limits


@on_virtual_clock
async def test_a_server_of_another_version_refuses():
    near, far = pair()
    opening = start(wrap(near)._open())
    await far.recv()
    await far.send(encode([Refuse(Code.VERSION, "this side speaks version 7", 0, None)]))
    with pytest.raises(NotReliablePeer, match="version 7"):
        await opening


@on_virtual_clock
async def test_a_server_that_answers_in_another_version():
    near, far = pair()
    opening = start(wrap(near)._open())
    await far.recv()
    position, limits = _position_and_limits()
    await far.send(encode([Welcome(2, False, 1, position, limits)]))
    with pytest.raises(NotReliablePeer, match="version 2"):
        await opening


@on_virtual_clock
@pytest.mark.parametrize("resumable", [True, False])
async def test_a_server_that_is_full_or_leaving_says_so(resumable):
    """REFUSE-5"""
    net = MemoryNetwork(server_config=Config(max_sessions=1))
    client, server = await net.pair()
    options = {} if resumable else {"reopen": None}
    with pytest.raises(ServerBusy) as caught:
        await net.connect(**options)
    assert caught.value.code == Code.BUSY
    assert caught.value.retry_after == 1
    assert isinstance(caught.value, SessionLost)
    assert "too many sessions" in str(caught.value.reason)
    refused = f"refused ({Code.BUSY}, 'too many sessions')"
    assert str(caught.value.report.ending) == refused
    assert str(caught.value) == (
        f"the peer takes no new session now: {refused}; try again later, after 1 s "
        "(`async for conn in connect(…)` does)"
    )
    await settle(client, server)

    await net.sessions.drain()
    with pytest.raises(ConnectionClosed) as caught:
        await net.connect(**options)
    assert caught.value.code == Code.BUSY
    assert "going away" in str(caught.value.reason)


@on_virtual_clock(seeds=(None,))
async def test_wrap_says_what_it_cannot_take():
    near, far = pair()
    with pytest.raises(TypeError, match="no adapter"):
        wrap(object())
    with pytest.raises(ValueError, match="which side"):
        wrap(near, role="client")
    with pytest.raises(ValueError, match="reopen"):
        wrap(far, reopen=MemoryNetwork().open)
    with pytest.raises(ValueError, match="sessions"):
        wrap(near, sessions=Sessions())


@on_virtual_clock
async def test_a_session_that_is_refused_at_once_says_so():
    net = MemoryNetwork()
    client, server = await net.pair()
    late = second_holder(client)
    late.session.attempt = 0
    with pytest.raises(SessionLost) as caught:
        await late.start(await net.open())
    assert caught.value.code == Code.SUPERSEDED
    await settle(client, server)


@on_virtual_clock(seeds=range(10))
async def test_a_websocket_that_is_gone_right_after_welcome_is_replaced():
    net = MemoryNetwork()
    near = await net.open()

    def arrive(item):
        type(near)._arrive(near, item)
        near.cut()

    near._arrive = arrive
    client = await wrap(near, reopen=net.open)
    assert len(net.wires) == 1
    await client.send("x")
    await net.reopened()
    assert await net.accepted[0].recv() == "x"
    await settle(client, *net.accepted)


@on_virtual_clock
@pytest.mark.parametrize("fault", ["cut", "reset", "half_open", "kill_server"])
@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("at", [1, 2])
async def test_iterating_survives_a_network_that_breaks_in_the_greeting(fault, lost, at):
    network = Network(plan=[Strike(fault, at, lost=lost, keep="server")])
    taken = []

    async def handler(conn):
        taken.extend([message async for message in conn])

    async with network.serve(handler):
        async for conn in network.connect():
            try:
                await conn.send("x")
                await conn.close()
                break
            except (SessionLost, DeliveryError):
                assert not taken
    assert taken == ["x"]
    assert network.struck == 1


@on_virtual_clock
async def test_iterating_takes_silence_for_a_stranger_but_not_of_a_server_it_knows():
    network = Network(plan=[Strike("stall", at=1)])
    async with network.serve(Connection.wait_closed):
        with pytest.raises(NotReliablePeer):
            await anext(aiter(network.connect()))
        ids = set()
        async for conn in network.connect():
            ids.add(conn.id)
            if len(ids) == 2:
                break
            await conn.close()
            network.plan = [Strike("stall", at=1)]
        assert network.struck == 2
