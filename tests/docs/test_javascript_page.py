"""The server of docs/javascript.md is run. Its JavaScript: js/test/browser/docs.test.js."""

from __future__ import annotations

import re
import sys

import reliable_ws
from tests.observe.programs import running
from tests.observe.proxies import listens
from tests.support.ports import free_port

from .test_examples import ROOT

PAGE = (ROOT / "docs" / "javascript.md").read_text()
BLOCKS = re.findall(r"<!-- run: \w+ -->\n```python\n(.*?)```", PAGE, re.DOTALL)


async def test_the_server_answers(tmp_path):
    (text,) = BLOCKS
    port = free_port()
    command = [sys.executable, "-c", text.replace("8765", str(port))]
    with running(command, lambda: listens(port), tmp_path / "log"):
        async with reliable_ws.connect(f"ws://localhost:{port}", proxy=None) as conn:
            await conn.send({"order": 17})
            assert await conn.recv(timeout=20) == {"got": {"order": 17}}
