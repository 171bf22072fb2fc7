"""docs/transports.md is run. (Its table is made by what has passed: tests/transports/table.py.)"""

from __future__ import annotations

import re

import reliable_ws
from tests.support.ports import free_port

from .test_examples import ROOT

PAGE = (ROOT / "docs" / "transports.md").read_text()
BLOCKS = re.findall(r"<!-- run: \w+ -->\n```python\n(.*?)```", PAGE, re.DOTALL)


async def test_both_ends_with_picows():
    async def handler(conn):
        await conn.send(await conn.recv())

    (text,) = BLOCKS
    body = "".join(f"    {line}\n" for line in text.replace("8765", str(free_port())).splitlines())
    names = {"reliable_ws": reliable_ws, "handler": handler}
    exec(f"async def block():\n{body}    return server, conn", names)
    server, conn = await names["block"]()
    async with conn:
        await conn.send("x")
        assert await conn.recv() == "x"
        assert type(conn.websocket).__module__.startswith("picows")
    await server.drain(1)
