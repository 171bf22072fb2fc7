"""Callers' mistakes: refused at the call, with what was expected, and nothing has changed."""

from __future__ import annotations

import pytest

from reliable_ws import Sessions, connect, wrap
from reliable_ws.adapters.memory import pair
from tests.aio.stage import on_stage, paired


async def handler(conn):
    await conn.wait_closed()


# -- WebSockets ----------------------------------------------------------------------------------


@on_stage(seeds=(None,))
async def test_what_is_reliable_already_is_no_websocket():
    async with paired() as (_stage, client, _server):
        for reliable in (client, wrap(pair()[0]), connect("ws://127.0.0.1")):
            with pytest.raises(TypeError, match=f"{type(reliable).__name__} .*reliable already"):
                wrap(reliable)
            with pytest.raises(TypeError, match="reliable already"):
                Sessions().handle(reliable, handler)
