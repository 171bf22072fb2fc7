"""The other contestant: plain websockets, with the reconnect loop that a good programmer writes.

``python -m reliable_ws.cli.demo.plain listen FILE SECONDS_LATE [PORT]`` and ``… send URI FILE LIMIT
[PLACE]``. The listener takes, the sender sends each line once, and goes on with the next line after
each ``send()`` that returned: nothing tells it that the line was lost later. PLACE is a file in
which the sender notes how far it is, for the process that comes after it.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import sys
from pathlib import Path
from typing import BinaryIO

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, WebSocketException

from reliable_ws.cli.common import complain, on_signals
from reliable_ws.cli.sink import Sink
from reliable_ws.cli.source import as_message

__all__ = ["OPTIONS", "main"]

OPTIONS = {
    "ping_interval": 1,  # a half-open link is noticed within two seconds, as by the other one
    "ping_timeout": 1,
    "close_timeout": 1,
    "open_timeout": 5,
    "max_size": 64 * 1024 * 1024,
    "compression": None,
}


async def listen(output: str, late: float, port: int) -> None:
    """Append what arrives to a file."""
    sink = Sink(output)
    stop = asyncio.Event()

    async def handler(ws: ServerConnection) -> None:
        await asyncio.sleep(late)
        try:
            async for message in ws:
                sink.write([message])
        except ConnectionClosed:
            pass  # the sender will come again

    async with serve(handler, "127.0.0.1", port, **OPTIONS) as server:  # type: ignore[arg-type]
        on_signals(stop.set)
        complain(f"listening on ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await stop.wait()


async def send(uri: str, file: str, limit: float, place: str | None) -> int:
    """Send the lines of a file; say how many were sent. Return 0 if all were."""
    facts = {"sent": 0, "connections": 0, "finished": False}
    with Path(file).open("rb") as lines:  # noqa: ASYNC230 - a local file
        noted = None
        if place is not None:
            noted = io.FileIO(os.open(place, os.O_RDWR | os.O_CREAT), "r+b")
            lines.seek(int(noted.read() or b"0"))
        sending = asyncio.ensure_future(_send(uri, lines, facts, noted))
        await asyncio.wait((sending,), timeout=limit)
        print(json.dumps(facts), flush=True)
        if not sending.done():
            # Not cancelled: with a full write buffer and a half-open link, close() never returns.
            os._exit(1)
        sending.result()
    return 0


async def _send(uri: str, lines: BinaryIO, facts: dict[str, int], noted: io.FileIO | None) -> None:
    delay = 0.2
    line = lines.readline()
    while not facts["finished"]:
        try:
            async with connect(uri, **OPTIONS) as ws:  # type: ignore[arg-type]
                facts["connections"] += 1
                delay = 0.2
                while line:
                    await ws.send(as_message(line))
                    facts["sent"] += 1
                    if noted is not None:
                        noted.seek(0)
                        noted.write(b"%020d" % lines.tell())
                    line = lines.readline()
                    if not facts["sent"] % 10:  # so that a broken connection is noticed soon
                        await asyncio.sleep(0)
                facts["finished"] = True
        except (OSError, TimeoutError, WebSocketException):
            await asyncio.sleep(random.random() * delay)  # noqa: S311
            delay = min(0.5, 2 * delay)


def main(what: str, first: str, second: str, third: str = "0", fourth: str | None = None) -> None:
    """Run one of the two."""
    if what == "listen":
        asyncio.run(listen(first, float(second), int(third)))
    else:
        sys.exit(asyncio.run(send(first, second, float(third), fourth)))


if __name__ == "__main__":
    main(*sys.argv[1:])
