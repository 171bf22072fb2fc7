"""``make trips``: what one confirmed send, one request and one resume cost in calls and files.

Both ends run in this process, over a network in memory. Every Python function of ``reliable_ws``
that is called counts; a coroutine that goes on behind an ``await`` does not count again. The
network itself (``reliable_ws.testing``, the transports in memory) is left out. The clock is a
virtual one and chance is seeded, so that every run counts the same.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Self

import reliable_ws
from reliable_ws.testing import pair, virtual_clock

PACKAGE = str(Path(reliable_ws.__file__).parent)
APART = tuple(str(Path(PACKAGE, *place)) for place in (("testing",), ("adapters",)))
"""The network in memory: it stands for a WebSocket library."""


class Profile:
    """Counts the calls into the library while it is entered."""

    def __init__(self) -> None:
        self.calls: Counter[CodeType] = Counter()

    def __enter__(self) -> Self:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _arg: object) -> None:
        name = frame.f_code.co_filename
        if event != "call":
            return
        begins = frame.f_code.co_code[frame.f_lasti + 1] & 3 == 0  # RESUME 0: it does not go on
        if begins and name.startswith(PACKAGE) and not name.startswith(APART):
            self.calls[frame.f_code] += 1

    @property
    def files(self) -> set[str]:
        return {str(Path(code.co_filename).relative_to(PACKAGE)) for code in self.calls}


@virtual_clock
async def _trips() -> dict[str, Profile]:
    methods = reliable_ws.Methods()

    @methods.register
    async def add(a: int, b: int) -> int:
        return a + b

    async def echo(conn: reliable_ws.Connection) -> None:
        async for _ in conn:
            pass

    results = {}
    random.seed(1)  # the pause before a resume
    resumed = asyncio.Event()

    def on_event(event: reliable_ws.ConnectionEvent) -> None:
        if event.name == "resumed":
            resumed.set()

    async with pair(echo, methods=methods, on_event=on_event) as (client, _server, network):

        async def send() -> None:
            await (await client.send(b"x"))

        async def request() -> None:
            await client.request("add", [1, 2])

        async def resume() -> None:
            resumed.clear()
            network.cut()
            await resumed.wait()

        trips: dict[str, Callable[[], Awaitable[None]]] = {
            "confirmed send": send,
            "request and reply": request,
            "resume": resume,
        }
        for name, trip in trips.items():
            for _ in range(3):  # what is made once is made
                await trip()
                await asyncio.sleep(0.1)
            with Profile() as profile:
                await trip()
                for _ in range(3):
                    await asyncio.sleep(0)
            results[name] = profile
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trips", description=__doc__)
    parser.add_argument("--list", action="store_true", help="every function, in order of calls")
    listed = parser.parse_args().list
    print("| trip | calls | files |\n|---|---|---|")
    profiles = _trips()
    for name, profile in profiles.items():
        print(f"| {name} | {profile.calls.total()} | {len(profile.files)} |")
    if listed:
        for name, profile in profiles.items():
            print(f"\n{name}")
            for code, count in profile.calls.most_common():
                place = Path(code.co_filename).relative_to(PACKAGE)
                print(f"{count:5}  {place}:{code.co_firstlineno}  {code.co_qualname}")


if __name__ == "__main__":
    main()
