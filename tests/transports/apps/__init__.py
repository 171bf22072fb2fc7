"""One small application per framework, each with the endpoints of the contract.

``python -m tests.transports.serve SERVER APPLICATION PORT`` runs one.
"""

from __future__ import annotations

import asyncio
import signal

import reliable_ws
from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.testing.transport_contract import Endpoints

ENDPOINTS = Endpoints()


def prepare() -> None:
    """Let SIGTERM drain; to be called once the server has its own handler. Again: no effect."""
    reliable_ws.drain_on_sigterm(ENDPOINTS.session.sessions, timeout=5.0, on_drained=print_reports)


async def drained() -> None:
    """Wait for SIGTERM, then drain: for servers that leave the signal alone."""
    gone = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, gone.set)
    await gone.wait()
    print_reports(await ENDPOINTS.session.sessions.drain(5.0))


def print_reports(reports) -> None:
    """What the contract's Served.shutdown reads."""
    for report in reports.values():
        print(f"drained: {report}", flush=True)


def selected(offered) -> str | None:
    """What a server answers to the subprotocols that are offered."""
    return SUBPROTOCOL if SUBPROTOCOL in offered else None
