"""What an error says: what is wrong, where, and what to do. Both drivers have these texts."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import (
    ASGIApp,
    Config,
    ConfirmTooLate,
    Group,
    Methods,
    NotSerializable,
    OutboxFull,
)
from reliable_ws.testing import ChaosProxy, Network
from tests.aio.memory_network import on_virtual_clock, paired, start, turns


@on_virtual_clock(seeds=(None,))
async def test_a_full_outbox_says_how_much_waits_and_who_would_wait():
    async with paired(config=Config(outbox_messages=2)) as (_, client, _server):
        client.send_nowait("one")
        client.send_nowait("two")
        with pytest.raises(OutboxFull) as full:
            client.send_nowait("three")
        assert str(full.value) == (
            "the outbox is full: 2 messages, 18 bytes wait for the peer; send() waits for room "
            "(Config.outbox_messages, Config.outbox_bytes)"
        )
        waiting = [start(client.send(text)) for text in ("three", "four")]
        await turns(1)
        with pytest.raises(OutboxFull) as full:
            client.send_nowait("five")
        assert str(full.value) == (
            "2 callers of send() wait for room and are before this message: send() waits for its "
            "turn"
        )
        for task in waiting:
            task.cancel()


@on_virtual_clock(seeds=(None,))
async def test_a_late_confirmation_says_why():
    async with paired() as (_, client, server):
        await client.send("x")
        delivery = await anext(aiter(server.deliveries()))
        closing = start(server.close())
        await turns()
        with pytest.raises(
            ConfirmTooLate, match="message 1 cannot be confirmed any more: the sess"
        ):
            delivery.confirm()
        client.abort()
        await asyncio.wait((closing,))
        assert closing.exception() is None


@on_virtual_clock(seeds=(None,))
async def test_a_value_above_a_limit_names_the_limit():
    async with paired() as (_, client, _server):
        with pytest.raises(
            NotSerializable, match=r"too many items: more than .*max_items=100000\)"
        ):
            await client.send([[[]] * 50_001] * 2)


@on_virtual_clock(seeds=(None,))
async def test_a_long_name_of_a_method_is_named():
    async with paired() as (_, client, _server):
        with pytest.raises(
            ValueError, match="at most 255 bytes, and 'xxxxxxxxxxxxxxxxxxxx'… has 300"
        ):
            await client.request("x" * 300)


def test_a_second_method_of_a_name():
    methods = Methods()
    methods.register(len)
    with pytest.raises(ValueError, match="there is a method 'len' already: use another name="):
        methods.register(len)


@pytest.mark.parametrize("limits", [{"limit": 0}, {"limit_bytes": 6}])
def test_limits_of_a_group(limits):
    given = {"limit": 1024, "limit_bytes": 4 * 1024 * 1024} | limits
    words = "not {limit} and {limit_bytes}".format(**given)
    with pytest.raises(
        ValueError, match=f"limit= must be above 0, and limit_bytes= above 6, {words}"
    ):
        Group(**limits)


@on_virtual_clock(seeds=(None,))
async def test_a_second_membership():
    async with paired() as (_, client, _server):
        group = Group()
        group.join(client)
        with pytest.raises(ValueError, match="is a member of this group already"):
            group.join(client)


@on_virtual_clock(seeds=(None,))
async def test_a_scope_that_is_none():
    async def nothing(_conn):
        """Do nothing."""

    with pytest.raises(ValueError, match=r"'ftp' \(websocket, http and lifespan are\)"):
        await ASGIApp(nothing)({"type": "ftp"}, None, None)


@on_virtual_clock(seeds=(None,))
async def test_a_network_for_tests():
    network = Network()
    with pytest.raises(OSError, match=r"nothing listens in this network \(serve\(\) does\)"):
        await network.connect()
    async with network.serve(print):
        with pytest.raises(RuntimeError, match="or make another Network"):
            await network.serve(print)
    for one in (network, ChaosProxy("127.0.0.1", 1)):
        with pytest.raises(ValueError, match="no negative seconds, but this is -1"):
            one.delay(-1)
