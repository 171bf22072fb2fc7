"""One process of a side, from its first line to its last."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal

from . import points, task_sides, thread_sides
from .sides import Life

__all__ = ["live"]


def live(life: Life) -> None:
    """Be that process."""
    log = os.open(life.directory / f"{life.side}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    logging.basicConfig(level=logging.INFO, force=True)
    # websockets.sync logs an error of its own where it reads what is aborted meanwhile.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    points.begin(life.board, life.side, life.kind)
    faulthandler.register(signal.SIGUSR2)  # a side that stands still is asked where
    programs = task_sides if life.kind == "tasks" else thread_sides
    side = (programs.Initiator if life.side == "initiator" else programs.Acceptor)(life)
    if life.kind == "tasks":
        asyncio.run(side.run())
    else:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # it asks for tasks
        side.run()
