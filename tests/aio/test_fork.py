"""A child process has copies of its parent's connections, and must not use them."""

from __future__ import annotations

import asyncio
import json
import os
import warnings
from collections.abc import Callable
from functools import partial

import pytest

import reliable_ws.sync
from reliable_ws import ConnectionClosed, connect, serve
from tests.aio.memory_network import registry, take, until

pytestmark = [
    pytest.mark.transport,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here"),
]


def in_a_child(*uses: Callable[[], object]) -> list[str]:
    """What each use raises in a forked process, in words."""
    ear, mouth = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks where there are threads
        child = os.fork()
    if child == 0:
        said = []
        try:
            for use in uses:
                try:
                    said.append(f"returned {use()!r}")
                except BaseException as error:
                    said.append(f"{type(error).__name__}: {error}")
            os.write(mouth, json.dumps(said).encode())
        finally:
            os._exit(0)
    os.close(mouth)
    with os.fdopen(ear, "rb") as pipe:
        said = json.load(pipe)
    os.waitpid(child, 0)
    return said


def first_step(coroutine):
    """Run a coroutine as far as it goes without the event loop."""
    return lambda: coroutine().send(None)


async def test_every_use_raises_and_the_parent_goes_on():
    accepted = asyncio.get_running_loop().create_future()
    gate = asyncio.Event()

    handlers = []

    async def wait():
        handlers.append(asyncio.current_task())
        await gate.wait()
        return "answered by the parent"

    async def handler(conn):
        accepted.set_result(conn)
        await conn.wait_closed()

    async with (
        asyncio.timeout(60),
        serve(handler, "127.0.0.1", 0, methods=registry(wait)) as server,
        connect(f"ws://127.0.0.1:{server.port}", proxy=None) as client,
    ):
        served = await accepted
        asking = asyncio.ensure_future(client.request("wait"))
        await client.send(1)
        assert await served.recv() == 1
        await served.send("unread, and the parent's")
        await client.send(2)
        for conn in (client, served):
            said = in_a_child(
                partial(conn.send_nowait, "from the child"),
                first_step(partial(conn.send, "from the child")),
                first_step(partial(conn.request, "wait")),
                first_step(conn.recv),
            )
            assert all("this is a forked process" in words for words in said), said
        await until(lambda: handlers)
        said = in_a_child(lambda: [task.cancelling() for task in handlers])
        assert said == ["returned [1]"]  # nobody in the child could be answered
        await client.send(3)
        assert await take(served, 2) == [2, 3]
        assert await client.recv() == "unread, and the parent's"
        gate.set()
        assert await asking == "answered by the parent"
        assert client.stats.resumes == 0


def test_with_threads_too():
    def echo(conn):
        for message in conn:
            conn.send(message)

    with reliable_ws.sync.serve(echo, "127.0.0.1", 0) as server:
        uri = f"ws://127.0.0.1:{server.port}"
        with reliable_ws.sync.connect(uri, proxy=None) as client:
            client.send(1)
            assert client.recv(timeout=20) == 1
            said = in_a_child(lambda: client.send("from the child"), client.recv)
            assert all("this is a forked process" in words for words in said), said
            client.send(2)
            assert client.recv(timeout=20) == 2
            assert client.stats.resumes == 0
        with pytest.raises(ConnectionClosed):
            client.send(3)
