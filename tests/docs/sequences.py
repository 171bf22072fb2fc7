"""The sequence in docs/tracing.md: what the command ``trace`` prints of a real conversation.

``make pictures`` writes it anew, between its two marks, and draws docs/images/trace.png with
Chromium from the same conversation. A test fails where the page shows something else. Clock and
network are virtual, so each run is the same but for the session's id, which is random: the page has
:data:`ID`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from reliable_ws.cli import main
from reliable_ws.testing import Network, virtual_clock

from .screenshot import screenshot

__all__ = ["COMMAND", "ID", "PAGE", "SEQUENCE", "sequence"]

PAGE = Path(__file__).parents[2] / "docs" / "tracing.md"

IMAGE = PAGE.parent / "images" / "trace.png"

ID = "2b81fcb9"

COMMAND = "$ python -m reliable_ws trace client.jsonl server.jsonl\n"

SEQUENCE = re.compile(r"(<!-- sequence -->\n).*?(\n<!-- end of sequence -->)", re.DOTALL)
"""The sequence with its marks, in the page."""


@virtual_clock
async def talk(client: Path, server: Path) -> None:
    """Lose a WebSocket with three messages on their way."""

    async def echo(conn):
        async for message in conn:
            await conn.send(f"got {message}")

    network = Network()
    network.delay(0.0004)
    now = asyncio.get_running_loop().time
    with mock.patch("reliable_ws.wire_trace.time.time", now):
        async with (
            network.serve(echo, trace=server),
            network.connect(trace=client) as conn,
        ):
            await conn.send("one")
            assert await conn.recv() == "got one"
            for message in ("two", "three", "four"):
                await conn.send(message)
            await asyncio.sleep(0)  # they leave at the end of this turn
            network.cut()
            assert [await conn.recv() for _ in range(3)] == ["got two", "got three", "got four"]


@contextlib.contextmanager
def traces() -> Iterator[tuple[str, str]]:
    """The files of both ends."""
    with tempfile.TemporaryDirectory() as folder:
        client, server = Path(folder) / "client.jsonl", Path(folder) / "server.jsonl"
        talk(client, server)
        yield str(client), str(server)


def sequence() -> str:
    """Return what is printed of it, as it stands in the page."""
    printed = io.StringIO()
    with traces() as files, contextlib.redirect_stdout(printed):
        assert main(["trace", *files]) == 0
    words = re.sub(r"^session \w+", f"session {ID}", printed.getvalue().rstrip())
    return f"```text\n{COMMAND}{words}\n```"


def drawing() -> str:
    """Return the page that is drawn of it."""
    with traces() as files:
        out = Path(files[0]).with_name("trace.html")
        assert main(["trace", *files, "--html", str(out)]) == 0
        return re.sub(r"(Session|session) [0-9a-f]{8}", rf"\1 {ID}", out.read_text())


def draw_image() -> None:
    """Have Chromium make an image of the drawing."""
    text = drawing()
    (height,) = re.findall(r'viewBox="0 0 1000 (\d+)"', text)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "trace.html"
        page.write_text(text)
        screenshot(page.as_uri(), IMAGE, 1080, int(height) + 170)


if __name__ == "__main__":
    text = sequence()
    PAGE.write_text(SEQUENCE.sub(lambda match: match[1] + text + match[2], PAGE.read_text()))
    draw_image()
