"""Paths that cut a WebSocket which is silent for too long: proxies, balancers, firewalls."""

from __future__ import annotations

import asyncio
import logging

import pytest

from reliable_ws import Config
from reliable_ws.protocol.deadline import NEVER
from tests.aio.memory_network import MemoryNetwork, now, on_virtual_clock, settle, start
from tests.support.inside import session_of

PROXIES = {
    "what either side says counts": max,  # nginx, haproxy, Apache, Varnish
    "each side must speak": min,  # lighttpd
    "the client must speak": lambda times: times[0],
    "the server must speak": lambda times: times[1],  # Caddy
}


class IdlePath(MemoryNetwork):
    """Cuts each WebSocket ``timeout`` seconds after the last thing said that counts."""

    def __init__(self, timeout, counts, **options):
        super().__init__(**options)
        self.timeout, self.counts = timeout, counts
        self.guards = []

    async def open(self):
        near = await super().open()
        self.guards.append(start(self.guard(near)))
        return near

    async def guard(self, near):
        """Note when each side speaks, and cut."""
        said = [now(), now()]
        for side, hearer in enumerate((near.peer, near)):

            def arrive(item, side=side, arrived=hearer._arrive):
                said[side] = now()
                arrived(item)

            hearer._arrive = arrive
        while (left := self.counts(said) + self.timeout - now()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)
        near.cut()

    def leave(self):
        for guard in self.guards:
            guard.cancel()


@on_virtual_clock
@pytest.mark.parametrize("counts", PROXIES.values(), ids=PROXIES)
@pytest.mark.parametrize("timeout", [1.5, 3.0, 6.0])
async def test_a_path_that_cuts_what_is_silent_cuts_three_times_and_never_again(
    timeout, counts, caplog
):
    caplog.set_level(logging.INFO, "reliable_ws")
    net = IdlePath(timeout, counts)
    client, server = await net.pair()
    await asyncio.sleep(4 * timeout + 2)
    assert client.stats.resumes == 3
    await asyncio.sleep(300)
    assert client.stats.resumes == server.stats.resumes == 3
    (words,) = [record.getMessage() for record in caplog.records]
    assert f"session {client.id.hex()[:8]}: " in words
    assert f"silent for {timeout:.1f} s" in words
    assert f"every {timeout / 3:.1f} s" in words
    await settle(client, server)
    net.leave()
    caplog.clear()


@on_virtual_clock
async def test_a_path_that_is_patient_enough_costs_nothing(caplog):
    caplog.set_level(logging.INFO, "reliable_ws")
    net = IdlePath(9.0, min, config=Config(idle_timeout=20))
    client, server = await net.pair()
    await asyncio.sleep(300)
    assert client.stats.resumes == 0
    assert not caplog.records
    await settle(client, server)
    net.leave()


@on_virtual_clock
async def test_cuts_at_any_time_teach_nothing():
    net = MemoryNetwork()
    client, server = await net.pair()
    for lifetime in (3, 5, 1.5, 6, 2, 3.5, 5.5, 2.5):
        await asyncio.sleep(lifetime)
        net.cut()
    await asyncio.sleep(1)
    assert client.stats.resumes == 8
    assert session_of(client).silence_limit == NEVER
    await settle(client, server)
