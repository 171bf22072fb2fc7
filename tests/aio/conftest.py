"""Tests over real sockets leave nothing behind: no task, no socket, no warning."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.sockets import open_sockets

LONGEST = 60
"""Seconds after which a test hangs."""


def other_tasks() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


def cancel_all() -> None:
    for task in asyncio.all_tasks():
        task.cancel(f"{LONGEST} seconds are over")


@pytest.fixture
async def clean() -> AsyncIterator[None]:
    """What the test opens is gone a moment after its end; a test that hangs fails."""
    sockets, tasks = open_sockets(), other_tasks()
    guard = asyncio.get_running_loop().call_later(LONGEST, cancel_all)
    yield
    guard.cancel()
    for _ in range(3000):
        left = other_tasks() - tasks
        if not left and open_sockets() <= sockets:
            break
        await asyncio.sleep(0.01)
    assert not left
    assert open_sockets() <= sockets
    gc.collect()  # whatever was forgotten warns now, and a warning is an error
