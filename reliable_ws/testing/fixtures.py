"""Fixtures for pytest: put ``pytest_plugins = ["reliable_ws.testing.fixtures"]`` into conftest.py.

They are plain functions, so that they go with every plugin that runs ``async def`` tests
(pytest-asyncio in either mode, anyio), and with :func:`reliable_ws.testing.virtual_clock`, which
needs none. What has to be opened and closed is handed over unopened::

    async def test_orders(reliable_pair):
        async with reliable_pair(handler) as (client, server, network):
            ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import pytest

from .network import Network
from .pair import Pair, pair
from .plan import FaultPlan, Strike
from .proxy import ChaosProxy

__all__ = ["chaos_proxy", "fault_plan", "reliable_network", "reliable_pair"]


@pytest.fixture
def fault_plan() -> Sequence[Strike] | FaultPlan | None:
    """The plan of the other fixtures: none. Override it, or parametrise it by its name."""
    return None


@pytest.fixture
def reliable_network(fault_plan: Sequence[Strike] | FaultPlan | None) -> Network:
    """A :class:`~reliable_ws.testing.Network` of the test's own."""
    return Network(plan=fault_plan)


@pytest.fixture
def reliable_pair(
    reliable_network: Network,
) -> Callable[..., AbstractAsyncContextManager[Pair]]:
    """:func:`~reliable_ws.testing.pair` over ``reliable_network``, with its other arguments."""
    return functools.partial(pair, network=reliable_network)


@pytest.fixture
def chaos_proxy(fault_plan: FaultPlan | None) -> Callable[..., ChaosProxy]:
    """:class:`~reliable_ws.testing.ChaosProxy`, with its other arguments; needs a FaultPlan."""
    return functools.partial(ChaosProxy, plan=fault_plan)
