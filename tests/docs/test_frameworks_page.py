"""docs/frameworks.md is run: each application on the server that it names, each test by pytest."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import reliable_ws
from reliable_ws.testing import ChaosProxy
from tests.support.ports import free_port
from tests.transports.programs import listens

from .test_examples import ROOT

PAGE = (ROOT / "docs" / "frameworks.md").read_text()
BLOCKS = re.findall(r"<!-- (\w+)(?:: ([^\n]+))? -->\n```python\n(.*?)```", PAGE, re.DOTALL)
FILES = {what: text for mark, what, text in BLOCKS if mark == "file"}
RUNS = {what: text for mark, what, text in BLOCKS if mark == "run"}
MOUNTS = [text for mark, _, text in BLOCKS if mark == "mount"]
ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "no_proxy": "127.0.0.1"}
SECONDS = 60


def app_of(command: str) -> str:
    (name,) = re.findall(r"\b(\w+_app)\b", command)
    return name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    for command, text in RUNS.items():
        (folder / f"{app_of(command)}.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    return folder


@contextlib.asynccontextmanager
async def served(command: str, folder: Path):
    """Run the command; yield the process and its port once it listens."""
    port = free_port()
    arguments = command.replace("8765", str(port)).split()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, cwd=folder, env=ENVIRONMENT
    )
    try:
        async with asyncio.timeout(SECONDS):
            while not await listens(port):
                assert process.returncode is None
                await asyncio.sleep(0.05)
            yield process, port
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_every_block_is_run():
    assert PAGE.count("```python") == len(FILES) + len(RUNS) + len(MOUNTS)


@pytest.mark.parametrize("command", RUNS, ids=app_of)
async def test_an_application_survives_the_network_and_drains(command, folder):
    async with served(command, folder) as (server, port), ChaosProxy("127.0.0.1", port) as proxy:
        conn = await reliable_ws.connect(proxy.uri("/live"))
        for message in ("before", "after"):
            await conn.send(message)
            assert await conn.recv() == message
            proxy.reset()
        await conn.send("last")
        assert await conn.recv() == "last"
        assert conn.stats.resumes >= 1
        server.terminate()
        assert [message async for message in conn] == []
        await conn.close()
        assert (conn.close_code, conn.report.confirmed) == (1001, 3)


def test_the_tests_of_endpoints_pass(folder):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:anyio", "-p", "no:cacheprovider"],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    tests = sum(name.startswith("test_") for name in FILES)
    assert f"{tests} passed" in done.stdout, done.stdout + done.stderr


def test_mounts_are_the_tested_ones():
    tested = (ROOT / "tests" / "transports" / "test_mounts.py").read_text()
    table = PAGE.partition("With `live = ")[2].partition("\n`dispatcher` is")[0]
    cells = re.findall(r"^\| (?:\w+) \| (.*) \|$", table, re.MULTILINE)
    assert len(cells) == 6
    for code in [*MOUNTS, *(code for cell in cells for code in re.findall(r"`(.+?)`", cell))]:
        assert code in tested, code
