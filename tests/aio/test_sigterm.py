"""drain_on_sigterm: what SIGTERM did before happens afterwards, however it was arranged."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from reliable_ws import Sessions, drain_on_sigterm

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture(autouse=True)
def _restored():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


async def order_of_events(arrange) -> list[str]:
    """What happens on SIGTERM if ``arrange`` said what to do on it before."""
    events: list[str] = []
    done = asyncio.Event()

    def before() -> None:
        events.append("before")
        done.set()

    arrange(before)
    drain_on_sigterm(Sessions(), on_drained=lambda _: events.append("drained"))
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(10):
        await done.wait()
    return events


async def test_a_handler_of_the_process_is_called_after_it():
    loop = asyncio.get_running_loop()
    assert await order_of_events(
        lambda before: signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(before))
    ) == ["drained", "before"]


async def test_a_handler_of_the_event_loop_is_called_after_it():
    loop = asyncio.get_running_loop()
    try:
        assert await order_of_events(
            lambda before: loop.add_signal_handler(signal.SIGTERM, before)
        ) == ["drained", "before"]
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def test_an_event_loop_that_does_not_tell_is_refused():
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print)
        with pytest.raises(RuntimeError, match="does not tell"):
            drain_on_sigterm(Sessions())

    uvloop.run(main())
