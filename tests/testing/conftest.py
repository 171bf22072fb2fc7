"""What the tests of the proxy share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

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


def open_sockets() -> int:
    """How many sockets this process has; 0 where the system does not tell."""
    count = 0
    fds = Path("/proc/self/fd")
    for fd in fds.iterdir() if fds.is_dir() else ():
        with contextlib.suppress(OSError):  # the one that lists them
            count += str(fd.readlink()).startswith("socket:")
    return count


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    before = open_sockets()
    yield
    assert open_sockets() <= before
