"""What the tests of streams draw from."""

from __future__ import annotations

import asyncio

from reliable_ws import RemoteError
from tests.aio.memory_network import registry


class StreamHandlers:
    """A generator that counts what it gives, and notes how it ends."""

    def __init__(self) -> None:
        self.given = 0
        self.ends: list[str] = []
        self.methods = registry(self.numbers, self.forever, self.chunks, self.breaks, self.one)

    async def numbers(self, count: int):
        for n in range(count):
            yield n

    async def forever(self, pause: float):
        try:
            while True:
                self.given += 1
                yield self.given
                await asyncio.sleep(pause)
        except BaseException as error:
            self.ends.append(type(error).__name__)
            raise

    async def chunks(self, size: int):
        """Never waits for anything but the consumer."""
        try:
            while True:
                self.given += 1
                yield bytes(size)
        finally:
            self.ends.append("closed")

    async def breaks(self, after: int):
        for n in range(after):
            yield n
        raise RemoteError("broken", "in the middle", {"after": after})

    async def one(self, value):
        return value


async def all_of(stream):
    return [item async for item in stream]
