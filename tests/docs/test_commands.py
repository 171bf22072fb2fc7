"""The shell commands of the pages are run: each block in a folder of its own, with a free port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import reliable_ws
from tests.observe.proxies import listens
from tests.support.ports import HOST, free_port

from .test_examples import ROOT

MARKED = r"<!-- run: (\w+) -->\n```sh\n(.*?)```"
BLOCKS: dict[str, str] = {
    name: text
    for page in ("README.md", "docs/tracing.md")
    for name, text in re.findall(MARKED, (ROOT / page).read_text(), re.DOTALL)
}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "no_proxy": "*"}
SECONDS = 60


def commands(name: str, port: int = 0) -> list[list[str]]:
    """Return the commands of a block; the port is another one, also where it is the default."""
    lines = BLOCKS[name].replace("8765", str(port)).splitlines()
    found = [[sys.executable, *shlex.split(line)[1:]] for line in lines]
    return [
        [*one, "--port", str(port)] if "listen" in one and "--port" not in one else one
        for one in found
    ]


def run(command: list[str], folder: Path) -> str:
    """Run a command to its end; return what it printed."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def listening(command: list[str], port: int, folder: Path) -> Iterator[None]:
    """Run a command until the block ends, once it listens."""
    process = subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not listens(port):
            assert process.poll() is None, f"it ended with {process.returncode}"
        yield
    finally:
        process.kill()
        process.wait()


def test_every_block_is_run():
    assert {*BLOCKS} == {"send", "send_kept", "drawing"}


@pytest.mark.parametrize("name", ["send", "send_kept"])
def test_a_file_is_sent_line_by_line(name, tmp_path):
    lines = "".join(f"request {number}\n" for number in range(100))
    (tmp_path / "access.log").write_text(lines)
    port = free_port()
    listen, send, *others = commands(name, port)
    with listening(listen, port, tmp_path):
        run(send, tmp_path)
        assert (tmp_path / "received.txt").read_text() == lines
        assert all(run(other, tmp_path) for other in others)


async def test_a_drawing_of_a_trace(tmp_path):
    """The page names a session by its beginning: the one of the test has another."""
    files = [str(tmp_path / f"{side}.jsonl") for side in ("client", "server")]
    async with (
        reliable_ws.serve(reliable_ws.Connection.recv, HOST, 0, trace=files[1]) as server,
        reliable_ws.connect(f"ws://{HOST}:{server.port}", proxy=None, trace=files[0]) as conn,
    ):
        await conn.send("x")
        session = conn.id.hex()[:4]
    (command,) = commands("drawing")
    command[command.index("2b81")] = session
    await asyncio.to_thread(run, command, tmp_path)
    drawing = (tmp_path / "trace.html").read_text()
    assert session in drawing
    assert "<svg" in drawing
