"""An orderly end for servers that are told to go by SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, cast

from reliable_ws.driver.session_table import OnDrained
from reliable_ws.driver.status import logger
from reliable_ws.driver.validation import check_seconds, check_sessions
from reliable_ws.protocol.report import Report

from .sessions import Sessions

__all__ = ["drain_on_sigterm"]

LOOPS = ("asyncio.unix_events", "uvloop.loop")
"""Where the handlers are from that event loops set for loop.add_signal_handler()."""


def drain_on_sigterm(
    sessions: Sessions,
    *,
    timeout: float = 10.0,
    on_drained: OnDrained | None = None,
    then: Callable[[], object] | None = None,
    keep: bool = False,
    within: float = 1.0,
) -> None:
    """Let SIGTERM drain ``sessions`` first, and then do what it did before this call.

    This is for web servers that drop every WebSocket on SIGTERM. Call it in the event loop of the
    main thread, after the server has installed its own signal handler: at start-up (in ASGI at
    ``lifespan.startup``), or with the first WebSocket. If you call it for several ``Sessions``, all
    drain at the same time. A second call for the same ``Sessions`` has no effect. A second SIGTERM
    ends the draining at once.

    When all sessions have drained, ``then`` is called. Without it, the earlier handler of SIGTERM
    runs. Where that was set by ``loop.add_signal_handler`` (Granian, Hypercorn, aiohttp, gunicorn)
    it is asked of asyncio's loops, and of gunicorn's worker. Other loops (uvloop) do not tell it:
    SIGINT is raised instead, which the other servers handle in the same way.

    An event loop that cannot watch signals (on Windows, or in another thread, as under a test
    client) gets no SIGTERM. Then a warning is logged, and the call has no other effect.

    Args:
        sessions: What to drain.
        timeout: The timeout of :meth:`Sessions.drain`, in seconds.
        on_drained: Called with the reports, one for each session that ended.
        then: Stops the server. If several calls give it, the last one counts.
        keep: Leave the sessions to the next process, as ``drain(sessions="keep")`` does. They need
            a store or a cluster. With a cluster that moves sessions this is the default.
        within: Seconds over which peers are spread that come back, if a cluster moves the sessions.

    Raises:
        RuntimeError: uvloop has a handler for SIGTERM but none for SIGINT, and ``then`` is not
            given.
        TypeError: An argument has the wrong type.
        ValueError: ``keep`` is given, and there is neither a store nor such a cluster.
    """
    global _watch  # noqa: PLW0603 - there is one SIGTERM
    check_sessions(sessions, Sessions)
    check_seconds(timeout)
    check_seconds(within, name="within")
    if keep and not sessions.can_keep:
        raise ValueError(
            "keep=True needs a store, or a cluster that moves sessions: Sessions(store=…)"
        )
    loop = asyncio.get_running_loop()
    if _watch is None or _watch.loop is not loop:
        if threading.current_thread() is not threading.main_thread():
            logger.warning("SIGTERM will not drain: only the main thread gets signals")
            return
        try:
            _watch = _Watch(loop, then)
        except NotImplementedError:  # on Windows, for one
            logger.warning("SIGTERM will not drain: a %s gets no signals", type(loop).__name__)
            return
    elif then is not None:
        _watch.go_on = then
    drain = partial(sessions.drain, timeout, sessions="keep" if keep else None, within=within)
    _watch.drains.setdefault(sessions, lambda: _drained(drain, on_drained))


async def _drained(
    drain: Callable[[], Coroutine[Any, Any, dict[bytes, Report]]], on_drained: OnDrained | None
) -> None:
    try:
        reports = await drain()
        if on_drained is not None:
            on_drained(reports)
    except Exception:  # noqa: BLE001 - on_drained is the application's, and the process must go
        logger.exception("draining failed")


class _Watch:
    """What SIGTERM does in one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, then: Callable[[], object] | None) -> None:
        self.loop = loop
        self.drains: dict[Sessions, Callable[[], Coroutine[Any, Any, None]]] = {}
        self.go_on = then or self._back_to(loop, signal.getsignal(signal.SIGTERM))
        self._draining: asyncio.Task[None] | None = None
        loop.add_signal_handler(signal.SIGTERM, self._on_sigterm)

    def _on_sigterm(self) -> None:
        if self._draining is None:
            self._draining = self.loop.create_task(self._drain())
            # Not in the task: one that is cancelled before it has begun never runs.
            self._draining.add_done_callback(self._leave)
        else:
            self._draining.cancel()

    async def _drain(self) -> None:
        await asyncio.gather(*(drain() for drain in self.drains.values()))

    def _leave(self, _drained: asyncio.Task[None]) -> None:
        global _watch  # noqa: PLW0603 - there is one SIGTERM
        _watch = None
        self.loop.remove_signal_handler(signal.SIGTERM)
        self.go_on()

    @staticmethod
    def _back_to(loop: asyncio.AbstractEventLoop, before: Any) -> Callable[[], object]:
        """Return what lets the earlier handler have its turn."""
        if not _is_of_a_loop(before):
            return lambda: _raise(signal.SIGTERM, signal.SIG_DFL if before is None else before)
        earlier = _handler_of_asyncio(loop) or _handler_of_gunicorn()
        if earlier is not None:
            return partial(_call_again, loop, earlier)
        if _is_of_a_loop(signal.getsignal(signal.SIGINT)):
            return lambda: os.kill(os.getpid(), signal.SIGINT)
        raise RuntimeError(
            "SIGTERM has a handler of loop.add_signal_handler(), which cannot be called once all "
            "is drained: pass then=, which stops the server"
        )


def _handler_of_asyncio(loop: asyncio.AbstractEventLoop) -> Callable[[], object] | None:
    """Return what SIGTERM calls in a loop of asyncio, if it is one."""
    handle = getattr(loop, "_signal_handlers", {}).get(signal.SIGTERM)
    return handle and partial(handle._callback, *handle._args)  # noqa: SLF001 - there is no other way


def _handler_of_gunicorn() -> Callable[[], object] | None:
    """Return what SIGTERM calls in gunicorn's ASGI worker, which uses uvloop where it can.

    SIGINT would not do: to this worker it means to go without the shutdown of lifespan.
    """
    gunicorn = sys.modules.get("gunicorn.workers.gasgi")
    if gunicorn is None:
        return None
    for task in asyncio.all_tasks():  # one of them is the worker's main coroutine, a method
        frame = getattr(task.get_coro(), "cr_frame", None)
        worker: Any = None if frame is None else frame.f_locals.get("self")
        if isinstance(worker, gunicorn.ASGIWorker):
            return cast("Callable[[], object]", worker.handle_exit_signal)
    return None


def _call_again(loop: asyncio.AbstractEventLoop, handler: Callable[[], object]) -> None:
    """Call what SIGTERM called earlier, now and with the next one."""
    loop.add_signal_handler(signal.SIGTERM, handler)
    handler()


def _raise(number: int, handler: Any) -> None:
    signal.signal(number, handler)
    os.kill(os.getpid(), number)


def _is_of_a_loop(handler: Any) -> bool:
    return getattr(handler, "__module__", None) in LOOPS


_watch: _Watch | None = None
