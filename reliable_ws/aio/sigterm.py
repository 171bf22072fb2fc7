"""An orderly end for servers that are told to go by SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

from reliable_ws.protocol.report import Report

from .connection import logger
from .server import Sessions

__all__ = ["drain_on_sigterm"]


def drain_on_sigterm(
    sessions: Sessions,
    *,
    timeout: float = 10.0,
    on_drained: Callable[[dict[bytes, Report]], object] | None = None,
) -> None:
    """Let SIGTERM drain ``sessions`` first, and then do what it did before this call.

    For web servers, which drop every WebSocket when they get the signal. Call it in the event
    loop's main thread, after the server has installed its own handler: at start-up (ASGI:
    ``lifespan.startup``) or, if there is no such moment, with the first WebSocket. A second
    SIGTERM waits for nothing. ``timeout`` is that of :meth:`Sessions.drain`, in seconds;
    ``on_drained`` is called with the reports, one for each session that ended so.

    Raises ``RuntimeError`` where the event loop cannot watch signals (Windows, other threads), or
    watches this one already and does not tell for whom (uvloop).
    """
    loop = asyncio.get_running_loop()
    restore = _restorer(loop)
    draining: list[asyncio.Task[None]] = []

    def go_on() -> None:
        loop.remove_signal_handler(signal.SIGTERM)
        restore()
        os.kill(os.getpid(), signal.SIGTERM)

    async def drain() -> None:
        try:
            reports = await sessions.drain(timeout)
            if on_drained is not None:
                on_drained(reports)
        except Exception:  # noqa: BLE001 - on_drained is the application's; the process must go
            logger.exception("draining failed")
        finally:
            go_on()

    def on_sigterm() -> None:
        if draining:
            draining[0].cancel()
        else:
            draining.append(loop.create_task(drain()))

    try:
        loop.add_signal_handler(signal.SIGTERM, on_sigterm)
    except (NotImplementedError, ValueError) as error:
        raise RuntimeError(f"this event loop cannot watch signals: {error}") from error


def _restorer(loop: asyncio.AbstractEventLoop) -> Callable[[], object]:
    """What brings back the handler that SIGTERM has now."""
    handler = signal.getsignal(signal.SIGTERM)
    # The only place to learn it from: asyncio has no public way, uvloop none at all.
    watched = getattr(loop, "_signal_handlers", {}).get(signal.SIGTERM)
    if watched is not None:  # _callback and _args are those of any asyncio.Handle
        return lambda: loop.add_signal_handler(signal.SIGTERM, watched._callback, *watched._args)
    if getattr(handler, "__self__", None) is loop:
        raise RuntimeError("this event loop does not tell whom SIGTERM is for: drain yourself")
    return lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL if handler is None else handler)
