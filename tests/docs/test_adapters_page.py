"""docs/adapters.md is true: the adapter that it shows passes the contract that it shows."""

from __future__ import annotations

import re
from typing import Any

import websockets.asyncio.client
import websockets.asyncio.server
from websockets.exceptions import ConnectionClosed

from reliable_ws.protocol.frames import SUBPROTOCOL

from .test_examples import ROOT

PAGE = (ROOT / "docs" / "adapters.md").read_text()
BLOCKS = re.findall(r"<!-- run: adapter -->\n```python\n(.*?)```", PAGE, re.DOTALL)

SHOWN: dict[str, Any] = {
    "ConnectionClosed": ConnectionClosed,
    "connect": websockets.asyncio.client.connect,
    "serve": websockets.asyncio.server.serve,
    "select": lambda _, offered: SUBPROTOCOL if SUBPROTOCOL in offered else None,
}
exec("\n".join(BLOCKS), SHOWN)

TestMyServer = SHOWN["TestMyServer"]
TestMyClient = SHOWN["TestMyClient"]


def test_every_python_block_is_run():
    assert PAGE.count("```python") == len(BLOCKS) == 3
