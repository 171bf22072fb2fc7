"""The fixtures, used as users would: under each plugin that runs async tests, and under none."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = 'pytest_plugins = ["reliable_ws.testing.fixtures"]\n'

VIRTUAL = """
import pytest
from reliable_ws.testing import FaultPlan, Strike, virtual_clock

@virtual_clock
async def test_pair(reliable_pair, reliable_network):
    async with reliable_pair() as (client, server, network):
        assert network is reliable_network
        network.cut()
        await client.send("x")
        assert await server.recv() == "x"
        assert client.stats.resumes == 1

@pytest.mark.parametrize("fault_plan", [[Strike("cut", at=n)] for n in (1, 2, 3)])
@virtual_clock
async def test_planned(reliable_pair, fault_plan):
    async with reliable_pair() as (client, server, network):
        await client.send("x")
        assert await server.recv() == "x"
        await client.flush()
        assert network.faults == {"cut": 1}
"""

REAL = """
import pytest, reliable_ws
from reliable_ws.testing import FaultPlan

async def echo(conn):
    async for message in conn:
        await conn.send(message)

MARK
async def test_application(reliable_pair):
    async with reliable_pair(echo) as (client, server, network):
        network.cut()
        await client.send("x")
        assert await client.recv() == "x"

MARK
@pytest.mark.parametrize("fault_plan", [None, FaultPlan(faults=("reset",))])
async def test_proxy(chaos_proxy):
    async with (
        reliable_ws.serve(echo, "127.0.0.1", 0) as server,
        chaos_proxy("127.0.0.1", server.port) as proxy,
        reliable_ws.connect(proxy.uri()) as conn,
    ):
        proxy.reset()
        await conn.send("x")
        assert await conn.recv() == "x"
"""


def outcome(folder: Path, test: str, *arguments: str) -> str:
    """Run the test file in a pytest of its own; its last line."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(test)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    last = done.stdout.rstrip().rpartition("\n")[2]
    return re.sub(r" in .*s$", "", last) if done.returncode == 0 else done.stdout + done.stderr


def test_without_any_plugin(tmp_path: Path) -> None:
    assert outcome(tmp_path, VIRTUAL, "-p", "no:asyncio", "-p", "no:anyio") == "4 passed"


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_with_pytest_asyncio(tmp_path: Path, mode: str) -> None:
    mark = "@pytest.mark.asyncio" if mode == "strict" else ""
    scope = "asyncio_default_fixture_loop_scope=function"
    arguments = (f"--asyncio-mode={mode}", "-o", scope, "-p", "no:anyio")
    assert outcome(tmp_path, REAL.replace("MARK", mark) + VIRTUAL, *arguments) == "7 passed"


@pytest.mark.skipif(importlib.util.find_spec("anyio") is None, reason="anyio is not installed")
def test_with_anyio(tmp_path: Path) -> None:
    mark = '@pytest.mark.anyio\n@pytest.mark.parametrize("anyio_backend", ["asyncio"])'
    test = REAL.replace("MARK", mark)
    assert outcome(tmp_path, test, "-p", "no:asyncio") == "3 passed"


def test_pytest_is_not_imported_before_it_is_wanted() -> None:
    program = "import sys, reliable_ws.testing; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
