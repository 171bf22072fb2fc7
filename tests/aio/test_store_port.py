"""What goes to a store together, and when."""

from __future__ import annotations

import asyncio
from typing import Any

from reliable_ws.aio.store_port import StorePort
from reliable_ws.store import Change


class Batches:
    """A store that notes what it is given together, and keeps it when it is told to."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self._dones: list[Any] = []

    def submit(self, changes: Any, done: Any) -> None:
        self.batches.append(len(changes))
        self._dones.append(done)

    def keep(self) -> None:
        for done in self._dones:
            done(None)
        self._dones.clear()


async def given(port: StorePort, store: Batches, *, changes: int) -> list[int]:
    """Submit changes in one turn of the loop; return the batches in which the store got them."""
    store.batches.clear()
    for _ in range(changes):
        port.submit(Change(bytes(16), b""), lambda _error: None)
    await asyncio.sleep(0)
    found = list(store.batches)
    store.keep()
    await asyncio.sleep(0)
    assert not port.waiting
    return found


async def test_changes_of_one_turn_go_together():
    store = Batches()
    port = StorePort(store, asyncio.get_running_loop())  # type: ignore[arg-type]
    assert await given(port, store, changes=3) == [3]
    assert await given(port, store, changes=3) == [3]


async def test_a_change_that_is_alone_as_the_last_one_was_does_not_wait_for_the_turn():
    store = Batches()
    port = StorePort(store, asyncio.get_running_loop())  # type: ignore[arg-type]
    assert await given(port, store, changes=1) == [1]
    port.submit(Change(bytes(16), b""), lambda _error: None)
    assert store.batches == [1, 1]
    store.keep()


async def test_who_was_taken_to_be_alone_and_is_not_waits_again():
    store = Batches()
    port = StorePort(store, asyncio.get_running_loop())  # type: ignore[arg-type]
    await given(port, store, changes=1)
    assert await given(port, store, changes=4) == [1, 1, 2]
    assert await given(port, store, changes=4) == [4]
