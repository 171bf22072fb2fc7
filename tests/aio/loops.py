"""Event loops that tests run on; a program of a test imports nothing else for them."""

from __future__ import annotations

import asyncio


def plain():
    return asyncio.new_event_loop()


def eager():
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    return loop


def debug():
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 60  # the machine may be busy
    return loop


def with_uvloop():
    import uvloop

    return uvloop.new_event_loop()
