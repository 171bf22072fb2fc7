"""The pair in which a coroutine is cancelled, and the ways in which it is."""

from __future__ import annotations

import pytest

from tests.aio.stage import Stage, settle, turns
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
