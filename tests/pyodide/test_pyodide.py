"""reliable_ws inside Pyodide, in Node and in two browsers, against a server of this process."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import tempfile
import textwrap

import pytest

from tests.interop.conversing import node

from .install import PYODIDE, is_installed, wheel
from .serving import HERE, Serving

PATIENCE = 240
"""Seconds for one whole run on a machine that is busy."""

SCENARIOS = [
    function.name
    for function in ast.parse((HERE / "inside.py").read_text()).body
    if isinstance(function, ast.AsyncFunctionDef)
    and [argument.arg.strip("_") for argument in function.args.args] == ["proxied", "plain", "http"]
    and function.name != "run"
]

CHROMIUM = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


async def in_node(serving: Serving) -> str:
    process = await asyncio.create_subprocess_exec(
        node(), str(HERE / "node.mjs"), str(PYODIDE), serving.http, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out
    return out.decode().splitlines()[-1]


async def in_chromium(serving: Serving) -> str:
    path = shutil.which("chromium") or shutil.which("google-chrome")
    assert path, "these tests need Chromium: apt-get install chromium"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = [*CHROMIUM, f"--user-data-dir={profile}", "--remote-debugging-port=0"]
        return await in_browser([path, *options], serving)


async def in_firefox(serving: Serving) -> str:
    path = shutil.which("firefox-esr") or shutil.which("firefox")
    assert path, "these tests need Firefox: apt-get install firefox-esr"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        return await in_browser(
            [path, "--headless", "--profile", profile, "--new-instance"], serving
        )


async def in_browser(command: list[str], serving: Serving) -> str:
    """Open the page, and return what it tells; the browser is killed then."""
    process = await asyncio.create_subprocess_exec(
        *(*command, f"{serving.http}/page.html"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return await serving.result
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@pytest.fixture(
    scope="module", params=[in_node, in_chromium, in_firefox], ids=["node", "chromium", "firefox"]
)
def results(request):
    """Run everything once in one runtime; return what became of each scenario."""
    assert is_installed(), "these tests need Pyodide: python -m tests.pyodide.install"

    async def run() -> str:
        async with asyncio.timeout(PATIENCE), Serving.open(PYODIDE, wheel()) as serving:
            return await request.param(serving)

    told = asyncio.run(run())
    assert told.startswith("{"), told
    return json.loads(told)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_inside(results, scenario):
    """CLOSE-26, LINK-7, and that messages are lost and doubled no more than elsewhere."""
    assert "passed" in results[scenario], results[scenario]["failed"]


def test_the_page_loads_it_as_this_test_does():
    page = (HERE.parents[1] / "docs/pyodide.md").read_text()
    (shown,) = re.findall(r"<!-- file: load\.mjs -->\n```js\n(.*?)```", page, re.DOTALL)
    assert textwrap.indent(shown, "  ") in (HERE / "load.mjs").read_text()


def test_every_scenario_was_run(results):
    assert set(results) == {"python", "reliable_ws", *SCENARIOS}
    assert len(SCENARIOS) >= 9
