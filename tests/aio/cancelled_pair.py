"""The pair in which a coroutine is cancelled, and the ways in which it is."""

from __future__ import annotations

import functools
import math

import pytest

from tests.aio.memory_network import SEEDS, MemoryNetwork, disguise, settle, turns
from tests.support.cancel import cancel_everywhere
from tests.support.inside import driver_of

in_all_networks = pytest.mark.parametrize("network", ["good", "cut", "frozen"])


class CancelledPair:
    """A pair of connections; afterwards it checks what must hold whatever was cancelled."""

    def __init__(self, network="good", **options):
        self.network = network
        self.net = MemoryNetwork(**options)

    async def __aenter__(self):
        self.client, self.server = await self.net.pair()
        return self

    def strike(self):
        """Something happens to the network meanwhile."""
        if self.network == "cut":
            self.net.cut()
        elif self.network == "frozen":
            self.net.freeze()

    async def __aexit__(self, kind, value, tb):
        if kind is None:
            await settle(self.client, self.server)
        self.client.abort()
        self.server.abort()
        await turns()
        assert not driver_of(self.client).tasks
        assert not driver_of(self.server).tasks
        for conn in (self.client, self.server):  # nobody waits for ever
            assert not driver_of(conn).receiver.waiters.waiting
            waiters = driver_of(conn).sender._waiters
            assert waiters is None or not waiters.waiting
            waiting = driver_of(conn).sender._confirmations
            assert waiting is None or not waiting._waiting
            assert driver_of(conn).pump._timer is None


def cancelled_everywhere(test=None, *, fewest=1, most=math.inf):
    """Run ``test(attempt, …)`` for each suspension of what it attempts, cancelled there.

    In both moments, in several orders. There are ``fewest`` to ``most`` suspensions.
    """
    if test is None:
        return functools.partial(cancelled_everywhere, fewest=fewest, most=most)

    def run_it(at, seed, **arguments):
        cases = cancel_everywhere(functools.partial(test, **arguments), at=at, seed=seed)
        assert fewest <= len(cases) - 1 <= most

    disguise(run_it, test, takes=("at", "seed"), instead_of=("attempt",))
    return pytest.mark.parametrize("seed", SEEDS)(
        pytest.mark.parametrize("at", ["suspended", "completed"])(run_it)
    )
