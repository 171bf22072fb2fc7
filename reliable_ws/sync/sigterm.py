"""An orderly end for servers with threads that are told to go by SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from reliable_ws.driver.session_table import OnDrained
from reliable_ws.driver.status import logger
from reliable_ws.driver.validation import check_seconds, check_sessions
from reliable_ws.protocol.report import Report

from .sessions import Sessions
from .timers import start

__all__ = ["drain_on_sigterm"]


def drain_on_sigterm(
    sessions: Sessions,
    *,
    timeout: float = 10.0,
    on_drained: OnDrained | None = None,
    then: Callable[[], object] | None = None,
    keep: bool = False,
) -> None:
    """Let SIGTERM drain ``sessions`` first, and then do what it did before this call.

    This is for servers that drop every WebSocket on SIGTERM, for example Werkzeug, or gunicorn with
    ``-k gthread``. Call it in the main thread, after the server has installed its own signal
    handler (under gunicorn: where the application is made, without ``--preload``). If you call it
    for several ``Sessions``, all drain at the same time. A second call for the same ``Sessions``
    has no effect. A second SIGTERM does not wait for the draining any more.

    The draining runs in threads, so the server's own threads go on meanwhile. When all sessions
    have drained, ``then`` is called, in a thread. Without it, the earlier handler of SIGTERM runs,
    in the main thread.

    Args:
        sessions: What to drain.
        timeout: The timeout of :meth:`Sessions.drain`, in seconds.
        on_drained: Called in a thread with the reports, one for each session that ended.
        then: Stops the server. If several calls give it, the last one counts.
        keep: Leave the sessions to the next process, as ``drain(sessions="keep")`` does. They need
            a store.

    Raises:
        RuntimeError: This is not the main thread, which alone can watch signals.
        TypeError: An argument has the wrong type.
        ValueError: ``keep`` is given, and there is no store.
    """
    global _watch  # noqa: PLW0603 - there is one SIGTERM
    check_sessions(sessions, Sessions)
    check_seconds(timeout)
    if keep and not sessions.has_store:
        raise ValueError("keep=True needs a store: Sessions(store=…)")
    if _watch is None or not _watch.is_on:
        _watch = _Watch()
    if then is not None:
        _watch.then = then
    drain = partial(sessions.drain, timeout, sessions="keep" if keep else "close")
    _watch.drains.setdefault(sessions, lambda: _drain(drain, on_drained))


def _drain(drain: Callable[[], dict[bytes, Report]], on_drained: OnDrained | None) -> None:
    try:
        reports = drain()
        if on_drained is not None:
            on_drained(reports)
    except Exception:  # noqa: BLE001 - on_drained is the application's, and the process must go
        logger.exception("draining failed")


class _Watch:
    """What SIGTERM does."""

    def __init__(self) -> None:
        self.drains: dict[Sessions, Callable[[], None]] = {}
        self.then: Callable[[], object] | None = None
        self._is_draining = False
        try:
            self._before: Any = signal.signal(signal.SIGTERM, self._on_sigterm)
        except ValueError as error:
            raise RuntimeError(f"drain_on_sigterm() is for the main thread: {error}") from error

    @property
    def is_on(self) -> bool:
        """Whether nobody has set another handler since."""
        return bool(signal.getsignal(signal.SIGTERM) == self._on_sigterm)

    def _on_sigterm(self, number: int, frame: Any) -> None:
        """Begin to drain; with the next signal, which we send ourselves, go on. Never waits."""
        if not self._is_draining:
            self._is_draining = True
            start(self._drain_all)
            return
        signal.signal(signal.SIGTERM, signal.SIG_DFL if self._before is None else self._before)
        if self.then is not None:
            start(self.then)
        elif callable(self._before):
            self._before(number, frame)
        else:
            os.kill(os.getpid(), number)

    def _drain_all(self) -> None:
        threads = [threading.Thread(target=drain, daemon=True) for drain in self.drains.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.is_on:  # else a second SIGTERM has gone on already
            # The main thread has to be woken: it alone can set the handler, and it may be waiting.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


_watch: _Watch | None = None
