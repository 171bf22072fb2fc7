"""docs/cluster.md is run: its Python blocks with an engine of the test's own.

The proxies and servers that it shows are run by tests/cluster/test_workers.py.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

import reliable_ws
from tests.cluster.sentinel import NAME, Sentinel
from tests.cluster.servers import RedisServer
from tests.support.asgi_server import running
from tests.support.ports import HOST

from .test_examples import ROOT

PAGE = (ROOT / "docs" / "cluster.md").read_text()
BLOCKS = dict(re.findall(r"<!-- run: (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))
CONFIGS = dict(re.findall(r"<!-- config: ([\w ]+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL))
"""Those that tests/cluster/test_workers.py runs."""

SECONDS = 60


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.stop()


async def run(name: str, engine: RedisServer, **names: Any) -> dict[str, Any]:
    """Run a block with this engine, on this machine; return the names that it made."""
    text = BLOCKS[name].replace("redis://cache:6379", engine.url).replace("10.0.0.7", HOST)
    code = compile(text, f"{name} of cluster.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    namespace = {"reliable_ws": reliable_ws, **names}
    async with asyncio.timeout(SECONDS):
        result = eval(code, namespace)
        if inspect.isawaitable(result):
            await result
    return namespace


def test_every_block_is_run():
    tests = {name.removeprefix("test_run_") for name in globals() if name.startswith("test_run_")}
    assert {*BLOCKS} - {"receipts"} == tests
    assert PAGE.count("```python") == len(BLOCKS)


def test_every_configuration_is_run():
    workers = (ROOT / "tests" / "cluster" / "test_workers.py").read_text()
    for name in CONFIGS:
        assert f'"{name.removesuffix(" route")}"' in workers, name


async def test_run_app(engine):
    made = await run("app", engine)
    async with (
        asyncio.timeout(SECONDS),
        running(made["app"]) as port,
        reliable_ws.connect(f"ws://{HOST}:{port}", proxy=None) as conn,
    ):
        await conn.send("hello")
        assert await conn.recv() == "hello"
    assert made["cluster"].stats is not None


async def test_run_room(engine, capsys):
    """What one member sends reaches the other one in another process; and the receipts."""
    clusters = [reliable_ws.Cluster(engine.url, node=node) for node in ("web-2", "web-3")]
    rooms = [await run("room", engine, cluster=cluster) for cluster in clusters]
    async with (
        asyncio.timeout(SECONDS),
        reliable_ws.serve(rooms[0]["handler"], HOST, 0, cluster=clusters[0]) as first,
        reliable_ws.serve(rooms[1]["handler"], HOST, 0, cluster=clusters[1]) as second,
        reliable_ws.connect(f"ws://{HOST}:{second.port}", proxy=None) as there,
    ):
        await there.send("the first line")  # its own: then it has joined
        assert await there.recv() == "the first line"
        receiving = asyncio.create_task(there.recv())
        await run("receipts", engine, room=rooms[0]["room"])
        assert await receiving == "hello"
        promised = re.findall(r"print\(.*\)  # (.+)$", BLOCKS["receipts"], re.MULTILINE)
        assert capsys.readouterr().out.splitlines() == promised == ["web-3 ann confirmed"]
        async with reliable_ws.connect(f"ws://{HOST}:{first.port}", proxy=None) as here:
            await here.send("to all")
            assert await there.recv() == await here.recv() == "to all"


async def test_run_missed(engine):
    """A session that is new has missed nothing."""
    cluster = reliable_ws.Cluster(engine.url)
    made = await run("missed", engine, room=reliable_ws.Group("room-1", cluster=cluster))
    async with (
        asyncio.timeout(SECONDS),
        reliable_ws.serve(made["handler"], HOST, 0, cluster=cluster) as server,
        reliable_ws.connect(f"ws://{HOST}:{server.port}", proxy=None) as conn,
    ):
        assert [message async for message in conn] == []


async def test_run_sentinel(engine, tmp_path, monkeypatch):
    """The client is the application's own, so the test closes it."""
    clients, master_for = [], redis.asyncio.Sentinel.master_for

    def keep(*arguments: Any, **options: Any) -> Any:
        clients.append(master_for(*arguments, **options))
        return clients[0]

    monkeypatch.setattr(redis.asyncio.Sentinel, "master_for", keep)
    (tmp_path / "sentinel").mkdir()
    sentinel = Sentinel(tmp_path / "sentinel", engine.port)
    text = BLOCKS["sentinel"].replace('"engine"', repr(NAME))
    for number in (1, 2):
        text = text.replace(f'("sentinel-{number}", 26379)', f'("{HOST}", {sentinel.port})')
    assert "26379" not in text
    try:
        names: dict[str, Any] = {"reliable_ws": reliable_ws}
        exec(compile(text, "sentinel of cluster.md", "exec"), names)
        await check_served(names["cluster"])
        for client in (*clients, *names["sentinel"].sentinels):
            await client.aclose()
    finally:
        sentinel.stop()


async def test_run_machines(engine):
    await check_served((await run("machines", engine))["cluster"])


async def check_served(cluster: reliable_ws.Cluster) -> None:
    """Check that a server of this cluster serves."""

    async def handler(conn: reliable_ws.Connection) -> None:
        await conn.send(await conn.recv())

    async with (
        asyncio.timeout(SECONDS),
        reliable_ws.serve(handler, HOST, 0, cluster=cluster, level="park") as server,
        reliable_ws.connect(f"ws://{HOST}:{server.port}", proxy=None) as conn,
    ):
        await conn.send("x")
        assert await conn.recv() == "x"


async def test_run_drain(engine):
    cluster = reliable_ws.Cluster(engine.url)
    sessions = reliable_ws.Sessions(cluster=cluster)
    async with asyncio.timeout(SECONDS):
        await run("drain", engine, sessions=sessions)
    assert sessions.connections == []


async def test_run_route():
    """The value stays the same for every WebSocket of the session."""
    paths = []

    async def handler(conn):
        paths.append(conn.websocket.request.path)
        async for message in conn:
            await conn.send(message)
            paths.append(conn.websocket.request.path)

    async with asyncio.timeout(SECONDS), reliable_ws.serve(handler, HOST, 0) as server:
        text = BLOCKS["route"].replace("wss://example.org", f"ws://{HOST}:{server.port}")
        made: dict[str, Any] = {"reliable_ws": reliable_ws}
        exec(compile(text, "route of cluster.md", "exec"), made)
        async with made["connecting"] as conn:
            for message in ("before", "after"):
                await conn.send(message)
                assert await conn.recv() == message
                conn.transport.abort()
    assert set(paths) == {f"/live?route={made['route']}"}
    assert len(paths) == 3


async def test_run_pod(engine, monkeypatch):
    monkeypatch.setenv("POD_IP", HOST)
    await check_served((await run("pod", engine))["cluster"])
