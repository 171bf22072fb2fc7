"""The picture in docs/live.md: the page as Chromium shows it, of sessions that wait.

``make pictures`` draws it. It takes 15 seconds, as the times in it are real.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import reliable_ws
from reliable_ws import live
from reliable_ws.testing import ChaosProxy

from .screenshot import screenshot

IMAGE = Path(__file__).parents[2] / "docs" / "images" / "live.png"

TOKEN = "of-no-use-elsewhere"

BLOCKED = 4.0
"""Seconds for which the event loop stands still."""

WAITING = 12.0
"""Seconds that the sessions wait."""

SIZE = (1240, 470)
"""Of the window."""

VIRTUAL_TIME = "--virtual-time-budget=3000"
"""Milliseconds that the page has for its first look."""


async def handler(conn: reliable_ws.Connection) -> None:
    for number in range({"ann": 8412, "bob": 3, "dave": 1}.get(str(conn.principal), 0)):
        await conn.send(number)
    await conn.wait_closed()


async def build_report() -> None:
    await asyncio.sleep(3600)


async def main() -> None:
    """Have Chromium draw the page."""
    methods = reliable_ws.Methods()
    methods.register(build_report)
    async with (
        reliable_ws.serve(
            handler,
            "127.0.0.1",
            0,
            methods=methods,
            principal=lambda websocket: websocket.request.headers["X-Name"],
            drain_timeout=0,
        ) as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
    ):

        async def connected(name: str) -> reliable_ws.Connection:
            uri = proxy.uri("/") if name == "bob" else f"ws://127.0.0.1:{server.port}"
            headers = {"X-Name": name}
            return await reliable_ws.connect(uri, proxy=None, additional_headers=headers)

        conns = {name: await connected(name) for name in ("ann", "bob", "cleo", "dave")}
        async with live(orders=server, token=TOKEN).serve() as page:
            await conns["dave"].recv()
            report = asyncio.create_task(conns["cleo"].request("build_report"))
            await asyncio.sleep(1.5)
            time.sleep(BLOCKED)  # noqa: ASYNC251 - what a handler should not do
            proxy.refuse()
            proxy.cut()
            server.figures()  # a look: from now on messages wait
            port = page.sockets[0].getsockname()[1]
            await asyncio.sleep(WAITING)
            await asyncio.to_thread(
                screenshot, f"http://127.0.0.1:{port}/#{TOKEN}", IMAGE, *SIZE, VIRTUAL_TIME
            )
            report.cancel()
        for conn in conns.values():
            conn.abort()


if __name__ == "__main__":
    asyncio.run(main())
