"""docs/adapters.md is true: the adapters that it shows pass the contracts that it shows."""

from __future__ import annotations

import functools
import inspect
import re
from typing import Any

import websockets.asyncio.client
import websockets.asyncio.server
import websockets.sync.client
from tornado.websocket import websocket_connect
from websockets.exceptions import ConnectionClosed

from reliable_ws.protocol.frames import SUBPROTOCOL

from .test_examples import ROOT

PAGE = (ROOT / "docs" / "adapters.md").read_text()
BLOCKS = re.findall(r"<!-- run: adapter -->\n```python\n(.*?)```", PAGE, re.DOTALL)

OPTIONS: dict[str, Any] = {"proxy": None, "legacy": True, "ping_interval": None}
KNOWN = inspect.signature(websockets.sync.client.connect).parameters  # not in every release
OPTIONS = {name: value for name, value in OPTIONS.items() if name in KNOWN}

SHOWN: dict[str, Any] = {
    "ConnectionClosed": ConnectionClosed,
    "connect": websockets.asyncio.client.connect,
    "serve": websockets.asyncio.server.serve,
    "connect_blocking": functools.partial(websockets.sync.client.connect, **OPTIONS),
    "websocket_connect": websocket_connect,
    "select": lambda _, offered: SUBPROTOCOL if SUBPROTOCOL in offered else None,
}
exec("\n".join(BLOCKS), SHOWN)

TestMyServer = SHOWN["TestMyServer"]
TestMyClient = SHOWN["TestMyClient"]
TestMyCallbackClient = SHOWN["TestMyCallbackClient"]
TestMyBlockingClient = SHOWN["TestMyBlockingClient"]


def test_every_python_block_is_run():
    assert PAGE.count("```python") == len(BLOCKS) == 6
