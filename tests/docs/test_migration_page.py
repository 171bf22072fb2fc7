"""docs/migration.md: its names exist, its imports work, its programs run."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import signal

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection

import reliable_ws
from reliable_ws.driver.status import HINTS
from reliable_ws.driver.validation import NEW_NAMES
from tests.migration.programs import PROGRAMS

from .test_examples import ROOT

PAGE = (ROOT / "docs" / "migration.md").read_text()
BLOCKS = re.findall(r"<!-- run: (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL)
WORDS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def rows(heading):
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_the_imports_work():
    table = rows("The imports")
    assert len(table) == 5
    for row in table:
        for cell in row:
            exec(cell.strip("` "), {})


@pytest.mark.parametrize("heading", ["Where is it now?", "What is different"])
def test_what_it_names_is_there(heading):
    """Each `conn.something`, and what of it is the WebSocket's."""
    cells = [cell for row in rows(heading) for cell in row[1:]]
    assert cells
    for cell in cells:
        for name in re.findall(r"`conn\.(\w+)", cell):
            assert hasattr(reliable_ws.Connection, name), name
        for name in re.findall(r"`conn\.websocket\.(\w+)", cell):
            there = [*dir(ServerConnection), *inspect.signature(ClientConnection).parameters]
            assert name in {*there, "request", "response", "username"}, name
        for name in re.findall(r"`Config\.(\w+)`", cell):
            assert hasattr(reliable_ws.Config(), name)


def test_what_is_told_of_an_attribute_or_option_is_on_the_page():
    for name in ("ping", "response", "username", "recv_streaming"):
        assert name in HINTS
        assert f"websocket.{name}" in PAGE
    assert "extra_headers" in NEW_NAMES
    assert "`extra_headers=`" in PAGE


def test_the_errors_are_there():
    table = rows("Which error where")
    assert len(table) == 9
    for _, errors in table:
        for name in re.findall(r"`([A-Z]\w+)`", errors):
            assert name in reliable_ws.__all__ or name in BUILTINS


BUILTINS = {"OSError", "TimeoutError", "RuntimeError"}


def test_the_programs_are_counted():
    assert f"run {WORDS.split()[len(PROGRAMS)]} programs" in PAGE


@pytest.mark.transport
def test_what_it_shows_runs():
    assert [name for name, _ in BLOCKS] == ["chat", "stop"]
    assert PAGE.count("```python") == len(BLOCKS)
    names = {}
    for _, text in BLOCKS:
        exec(text.replace("8765", "0"), names)

    async def run():
        opened = asyncio.get_running_loop().create_future()
        real_serve = names["serve"]

        class Watched(real_serve):
            async def __aenter__(self):
                server = await super().__aenter__()
                opened.set_result(server.port)
                return server

        names["serve"] = Watched
        serving = asyncio.create_task(names["main"]())
        uri = f"ws://127.0.0.1:{await opened}"
        async with reliable_ws.connect(uri, proxy=None) as ann:
            await ann.send("hi")
            assert await ann.recv() == "hi"
            os.kill(os.getpid(), signal.SIGTERM)
            assert [message async for message in ann] == []
        await serving
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)

    asyncio.run(run())
