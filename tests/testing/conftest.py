"""What the tests of the proxy share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.sockets import open_sockets

from .streams import HOST, Network


def cancel_all() -> None:
    """A test that hangs fails."""
    for task in asyncio.all_tasks():
        task.cancel("30 seconds are over")


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    network = Network()
    server = await asyncio.start_server(network._accept, HOST, 0)
    network.port = server.sockets[0].getsockname()[1]
    guard = asyncio.get_running_loop().call_later(30, cancel_all)
    yield network
    guard.cancel()
    server.close()
    for _, writer in network.streams:
        writer.transport.abort()
    for _, writer in network.streams:
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    before = open_sockets()
    yield
    assert open_sockets() <= before
