"""What runs in an event loop of its own, at the other end of the tests with threads."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from reliable_ws.testing import ChaosProxy

SECONDS = 60
"How long a test waits for what has to come."


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work, *args):
        """Await ``work(*args)`` there, or call it, and return the result."""

        async def working():
            result = work(*args)
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(working(), self._loop).result(SECONDS)

    @contextlib.contextmanager
    def entered(self, manager):
        """Enter an async context manager there."""
        entered = self.run(manager.__aenter__)
        try:
            yield entered
        finally:
            self.run(manager.__aexit__, None, None, None)

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()


@contextlib.contextmanager
def looping():
    loop = Loop()
    try:
        yield loop
    finally:
        loop.end()


@contextlib.contextmanager
def proxied(loop: Loop, port: int):
    """A proxy that breaks the network: call its methods by ``loop.run``."""
    with loop.entered(ChaosProxy("127.0.0.1", port)) as proxy:
        yield proxy
