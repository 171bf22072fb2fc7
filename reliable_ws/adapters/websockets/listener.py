"""Accepting TCP connections for a server of ``websockets.sync``, each in a thread of its own.

The library's own loop ends for good when the system has no descriptor or no thread to give, and
starts any number of threads. This one tries again, and is bounded: a WebSocket takes two threads.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import ssl
import threading
import time
from typing import Any

__all__ = ["Listener"]

logger = logging.getLogger("reliable_ws")

MAX_OPENING = 64
"""How many connections may be opening at the same time. An honest one takes a few round trips, so
more than that in a moment wait a moment for their turn."""

SLOW_OPENING = 1.0
"""Seconds after which a connection that is still opening makes room for another one."""

RETRY_INTERVAL = 0.1
"""Seconds until the next attempt after the system had no descriptor or thread to give."""

WARNING_INTERVAL = 60.0
"""Seconds between two warnings."""


class Listener:
    """The connections of one server, from when they are accepted until they are gone.

    A connection is *opening* until :meth:`greeted` is called in its thread. ``server`` is a server
    of ``websockets.sync``, whose own ``serve_forever`` must not run.
    """

    def __init__(self, server: Any, max_connections: int) -> None:
        self._server = server
        self._socket: socket.socket = server.socket
        self._max_connections = max_connections
        self._closed = threading.Event()
        self._change = threading.Condition()  # a connection is gone, has greeted; or closed
        self._sockets: dict[threading.Thread, socket.socket] = {}  # of all connections
        self._opening: dict[threading.Thread, float] = {}  # accepted when; the oldest first
        self._no_warning_before = 0.0
        self._waker, self._waking = socket.socketpair()
        self._poller = selectors.DefaultSelector()
        self._poller.register(self._socket, selectors.EVENT_READ)
        self._poller.register(self._waking, selectors.EVENT_READ)

    # ------------------------------------------------------------------ accepting

    def serve_forever(self) -> None:
        """Accept connections until :meth:`close`, whatever is scarce meanwhile."""
        while not self._closed.is_set():
            try:
                self._poller.select()
                if self._closed.is_set():
                    break
                accepted, address = self._socket.accept()
            except (ConnectionError, ssl.SSLError):  # the peer is gone already
                continue
            except OSError as error:  # no descriptor is left
                self._pause(error)
                continue
            if not (self._wait_for_room() and self._begin(accepted, address)):
                accepted.close()
        with self._change:
            self._poller.close()
            self._waking.close()

    def _wait_for_room(self) -> bool:
        """Wait until another connection may be served; ``False``: the listener is closed."""
        with self._change:
            while not self._closed.is_set():
                if len(self._sockets) >= self._max_connections:
                    self._warn(
                        "max_connections=%d are open: further ones wait", self._max_connections
                    )
                elif len(self._opening) < MAX_OPENING:
                    return True
                self._change.wait(self._drop_slow())
            return False

    def _drop_slow(self) -> float | None:
        """Drop the connection that has been opening for longest, if that is long.

        Return after how many seconds to look again, or ``None`` if there is none.
        """
        for thread, since in self._opening.items():
            left = since + SLOW_OPENING - time.monotonic()
            if left <= 0:
                del self._opening[thread]
                _drop(self._sockets[thread])
                return 0.0
            return left
        return None

    def _begin(self, accepted: socket.socket, address: Any) -> bool:
        """Serve a connection in a thread, as soon as there is one; ``False``: closed meanwhile."""
        thread = threading.Thread(
            target=self._run, args=(accepted, address), name="reliable_ws", daemon=True
        )
        with self._change:
            self._sockets[thread] = accepted
            self._opening[thread] = time.monotonic()
        while not self._closed.is_set():
            try:
                thread.start()
            except RuntimeError as error:
                self._pause(error)
            else:
                return True
        return False

    def _run(self, accepted: socket.socket, address: Any) -> None:
        """Serve a connection, in its thread."""
        try:
            self._server.handler(accepted, address)
        finally:
            with self._change:
                thread = threading.current_thread()
                self._opening.pop(thread, None)
                del self._sockets[thread]
                self._change.notify_all()

    def greeted(self) -> None:
        """Note that the connection of this thread is open. Again: no effect."""
        with self._change:
            if self._opening.pop(threading.current_thread(), None) is not None:
                self._change.notify_all()

    def _pause(self, error: Exception) -> None:
        """Wait a moment before the next attempt, or until the listener is closed."""
        by = time.monotonic() + RETRY_INTERVAL
        with self._change:
            if not self._closed.is_set():
                self._warn("a connection cannot be taken now (%s): trying again", error)
            while not self._closed.is_set() and (left := by - time.monotonic()) > 0:
                self._change.wait(left)

    def _warn(self, words: str, value: object) -> None:
        """Log this, unless there was a warning a short while ago."""
        now = time.monotonic()
        if now >= self._no_warning_before:
            self._no_warning_before = now + WARNING_INTERVAL
            logger.warning(words, value)

    # ------------------------------------------------------------------ the end

    def close(self) -> None:
        """Accept no more, and drop the connections that are still opening. Again: no effect."""
        with self._change:
            if self._closed.is_set():
                return
            self._closed.set()
            for thread in self._opening:
                _drop(self._sockets[thread])
            self._change.notify_all()
        self._socket.close()
        self._waker.close()  # the poller sees it
        with contextlib.suppress(OSError):
            # The library closes what it holds at the end of its loop, which ends at once.
            self._server.serve_forever()
            self._server.shutdown()


def _drop(connection: socket.socket) -> None:
    """End a TCP connection, of TLS as well, under the thread that uses it."""
    with contextlib.suppress(OSError):  # it is gone already
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
