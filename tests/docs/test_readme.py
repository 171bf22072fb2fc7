"""README.md and docs/broadcast.md are run: each Python block for real; outputs are compared.

A hidden comment ``<!-- run: name -->`` stands above each Python block and names the test here that
runs it; blocks of one name run together, in their order. Where a block says port 8765, a free one
is used. A comment behind a ``print`` is what it has to print.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets
import websockets.asyncio.client
import websockets.asyncio.server

import reliable_ws
from reliable_ws.testing import ChaosProxy
from tests.support.asgi_server import running
from tests.support.ports import free_port

from .readme import BLOCKS, PORT, SECONDS, Block, blocks
from .test_examples import ROOT

# ------------------------------------------------------------------ running


async def run(block: Block, port: int | None = None, **names: Any) -> tuple[dict[str, Any], str]:
    """Run a block in this event loop; return the names that it made, and what it printed."""
    printed: list[str] = []
    namespace = {
        "reliable_ws": reliable_ws,
        "print": lambda *values: printed.append(" ".join(map(str, values))),
        **names,
    }
    source = "\n" * block.line + (block.text if port is None else block.on(port))
    code = compile(source, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    async with asyncio.timeout(SECONDS):
        result = eval(code, namespace)
        if inspect.isawaitable(result):
            await result
    return namespace, "\n".join(printed)


@contextlib.asynccontextmanager
async def plain_server(handler: Any) -> AsyncIterator[int]:
    async with websockets.asyncio.server.serve(handler, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def program(source: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", source],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "no_proxy": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# ------------------------------------------------------------------ the blocks


def test_every_block_is_run():
    named = {block.name for block in BLOCKS}
    tests = {name.removeprefix("test_run_") for name in globals() if name.startswith("test_run_")}
    assert named == tests


def test_run_serve():
    """Two programs in two processes, as a reader would run them."""
    server_block, client_block = blocks("serve")
    server = program(server_block.text.replace(PORT, "0"))
    too_long = threading.Timer(SECONDS, server.kill)
    too_long.start()
    try:
        assert server.stdout is not None
        port = re.fullmatch(r"listening on port (\d+)\n", server.stdout.readline())
        assert port is not None
        client = program(client_block.on(int(port[1])))
        try:
            out, errors = client.communicate(timeout=SECONDS)
        finally:
            client.kill()
        assert (client.returncode, errors) == (0, "")
        assert out.splitlines() == client_block.promised()
    finally:
        too_long.cancel()
        server.kill()
        server.communicate()


async def test_run_wrap():
    server_block, client_block = blocks("wrap")
    made, _ = await run(server_block)
    async with plain_server(made["handler"]) as port:
        _, printed = await run(client_block, port, websockets=websockets)
    assert printed.splitlines() == client_block.promised() == ["HELLO"]


async def test_run_wrap_sessions():
    (block,) = blocks("wrap_sessions")
    made, _ = await run(block)
    async with (
        plain_server(made["endpoint"]) as port,
        ChaosProxy("127.0.0.1", port) as proxy,
        reliable_ws.connect(proxy.uri()) as conn,
    ):
        await conn.send("hello")
        assert await conn.recv() == "HELLO"
        proxy.reset()
        await conn.send("again")
        assert await conn.recv() == "AGAIN"


async def test_run_threads():
    server_block, client_block = blocks("threads")
    made, _ = await run(server_block, 0)
    server = made["server"]
    _, printed = await asyncio.to_thread(asyncio.run, run(client_block, server.port, server=server))
    assert printed.splitlines() == client_block.promised()


async def test_run_receipts():
    (block,) = blocks("receipts")
    taken = []

    async def handler(conn):
        taken.extend([message async for message in conn])

    async with (
        reliable_ws.serve(handler, "127.0.0.1", 0) as server,
        reliable_ws.connect(f"ws://127.0.0.1:{server.port}") as conn,
    ):
        _, printed = await run(block, conn=conn)
    assert printed.splitlines() == block.promised()
    assert taken == ["hello", *range(1000)]


async def test_run_close():
    (block,) = blocks("close")

    async def handler(conn):
        await conn.recv()

    async with reliable_ws.serve(handler, "127.0.0.1", 0) as server:
        _, printed = await run(block, server.port)
    (report,) = block.promised()
    assert printed.splitlines() == [report, "2 not taken order 2", "3 not taken order 3"]


async def test_run_deliveries():
    (block,) = blocks("deliveries")
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def work(job):
        if job == "bad":
            raise OSError("disk full")
        begun.set()
        await may_end.wait()

    made, _ = await run(block, work=work)
    async with reliable_ws.serve(made["handler"], "127.0.0.1", 0) as server:
        conn = await reliable_ws.connect(f"ws://127.0.0.1:{server.port}")
        good = await conn.send("good")
        await begun.wait()
        assert good.outcome is reliable_ws.Outcome.PENDING
        may_end.set()
        await good
        bad = await conn.send("bad")
        with pytest.raises(reliable_ws.OutcomeUnknown):
            await bad
        with pytest.raises(reliable_ws.OutcomeUnknown):
            await conn.close()


async def test_run_network():
    (block,) = blocks("network")
    said: list[str] = []
    struck, closed = asyncio.Event(), asyncio.Event()

    def note(word):
        said.append(word)
        if word == "closed":
            closed.set()

    async def handler(conn):
        await conn.send("before")
        await conn.flush()
        proxy.reset()
        await struck.wait()
        await conn.send("after")

    async with (
        reliable_ws.serve(handler, "127.0.0.1", 0) as server,
        ChaosProxy("127.0.0.1", server.port, on_fault=lambda _: struck.set()) as proxy,
    ):
        await run(block, proxy.port, print=note)
        async with asyncio.timeout(SECONDS):
            await closed.wait()
    (events,) = re.findall(r"print\(event\.name\)  # (.*)", block.text)
    assert [word for word in said if word not in {"before", "after"}] == events.split(", ")
    assert [word for word in said if word in {"before", "after"}] == ["before", "after"]


async def test_run_durable(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = blocks("durable")
    async with reliable_ws.serve(take_all, "127.0.0.1", 0) as server:
        made, printed = await run(block, server.port)
    made["store"].close()
    assert printed.splitlines() == block.promised()


async def test_run_tokens():
    (block,) = blocks("tokens")
    tokens = []

    def process_request(ws, request):
        tokens.append(request.headers["Authorization"])

    async with reliable_ws.serve(take_all, "127.0.0.1", 0, process_request=process_request) as to:
        await run(block, to.port, fresh_token=lambda: "abc")
    assert tokens == ["Bearer abc"]


async def take_all(conn):
    async for _ in conn:
        pass


async def echo_twice(conn):
    async for message in conn:
        await conn.send(message * 2)


async def check_survives(app, path=""):
    """An ASGI application, on a server, across a broken connection."""
    async with running(app) as port, ChaosProxy("127.0.0.1", port) as proxy:
        async with reliable_ws.connect(proxy.uri(path)) as conn:
            await conn.send(1)
            assert await conn.recv() == 2
            proxy.reset()
            await conn.send(2)
            assert await conn.recv() == 4
        assert conn.stats.resumes == 1


async def test_run_framework():
    (block,) = blocks("framework")
    made, _ = await run(block, handler=echo_twice)
    await check_survives(made["app"], "/live")
    assert not await made["sessions"].drain()


async def test_run_asgi():
    (block,) = blocks("asgi")
    made, _ = await run(block, handler=echo_twice)
    await check_survives(made["app"])


def test_run_sigterm():
    (block,) = blocks("sigterm")
    port = free_port()
    before = "import asyncio, reliable_ws\nhandler = reliable_ws.Connection.wait_closed\n"
    server = program(f"{before}{block.on(port)}\nasyncio.run(main())")
    too_long = threading.Timer(SECONDS, server.kill)
    too_long.start()
    try:
        asyncio.run(until_drained(port, server))
        out, errors = server.communicate(timeout=SECONDS)
    finally:
        too_long.cancel()
        server.kill()
    assert (server.returncode, out, errors) == (0, "here you clean up\n", "")


async def until_drained(port, server):
    """Connect, stop the server by SIGTERM, and read until it goes."""
    async for conn in reliable_ws.connect(f"ws://127.0.0.1:{port}", proxy=None):
        server.send_signal(signal.SIGTERM)
        assert [message async for message in conn] == []
        assert conn.peer_finished is not None
        await conn.close()
        return


async def test_run_calls():
    server_block, client_block = blocks("calls")
    made, _ = await run(server_block)

    async def handler(conn):
        await conn.wait_closed()

    async with reliable_ws.serve(handler, "127.0.0.1", 0, methods=made["methods"]) as server:
        _, printed = await run(client_block, server.port)
    assert printed.splitlines() == client_block.promised()


async def test_run_broadcast():
    server_block, publisher_block = blocks("broadcast")
    made, _ = await run(server_block)
    async with (
        reliable_ws.serve(made["handler"], "127.0.0.1", 0) as server,
        reliable_ws.connect(f"ws://127.0.0.1:{server.port}") as conn,
    ):
        await conn.send("ann")
        await conn.flush()
        while not made["room"]:  # noqa: ASYNC110 - the handler is about to
            await asyncio.sleep(0.01)
        receiving = asyncio.create_task(conn.recv())
        _, printed = await run(publisher_block, room=made["room"])
        assert await receiving == {"price": 17}
    assert printed.splitlines() == publisher_block.promised()
