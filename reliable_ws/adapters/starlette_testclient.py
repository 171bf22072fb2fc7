"""Transports over what the test clients of Starlette, FastAPI and Litestar give for a WebSocket.

So that an endpoint can be tested as its users will meet it::

    with TestClient(app).websocket_connect("/feed") as session:
        with reliable_ws.sync.wrap(session) as conn:
            ...
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any

from reliable_ws.transport import TransportClosed

from .blocking import BlockingTransport

__all__ = ["TestSessionTransport", "adapt"]

WANTED_CHECK_INTERVAL = 0.05
"""Seconds between two looks whether a session is still wanted, where receiving can be bounded."""


class TestSessionTransport(BlockingTransport):
    """A test session as an :class:`~reliable_ws.transport.EagerTransport`.

    It has no limit, and there is always room. Nothing ends a session's ``receive()`` but the
    application: so a thread of its own waits there.
    """

    __test__ = False  # pytest looks at every class that begins with Test

    def __init__(self, session: Any, receive: Callable[[], Any], max_frame: int | None) -> None:
        super().__init__(session, "initiator", max_frame)
        self._receive = receive
        self._arrived: queue.SimpleQueue[bytes | str | TransportClosed] = queue.SimpleQueue()
        self._left = False  # the application is gone, or was told that we are
        threading.Thread(target=self._pump, name="reliable_ws", daemon=True).start()

    def _pump(self) -> None:
        end = TransportClosed()
        try:
            while not self._left:
                with contextlib.suppress(queue.Empty):
                    message = self._receive()
                    if message["type"] != "websocket.send":
                        code, reason = message.get("code", 1000), message.get("reason", "")
                        end = TransportClosed(code, reason or "")
                        break
                    text = message.get("text")
                    self._arrived.put(message["bytes"] if text is None else text)
        except Exception as error:  # noqa: BLE001 - the application's; the session's exit raises it
            code = getattr(error, "code", None)
            end = TransportClosed(code if isinstance(code, int) else None)
        self._gone = self._left = True
        self._arrived.put(end)

    def send_now(self, data: bytes, /) -> bool:
        """Send one binary message; there is always room."""
        self.send(data)
        return True

    def _recv(self) -> bytes | str:
        message = self._arrived.get()
        if isinstance(message, TransportClosed):
            raise message
        return message

    def _send(self, data: bytes) -> None:
        self.websocket.send_bytes(data)

    def _close(self, code: int, reason: str) -> None:
        """Tell the application that the client is gone."""
        del reason  # no test client of them all has a place for it
        if not self._left:
            self._left = True
            self._arrived.put(TransportClosed())
            self.websocket.close(code)

    def _drop(self) -> None:
        self._close(1006, "")


def adapt(session: Any, *, max_frame: int | None = None) -> TestSessionTransport:
    """Return a transport for a session that ``websocket_connect()`` has entered.

    ``max_frame`` is the largest message in bytes to announce; a test client has no limit.

    Raises:
        ValueError: The session was not entered yet.
    """
    if not hasattr(session, "exit_stack"):
        raise ValueError("not connected yet: enter websocket_connect() with a with statement first")
    if type(session).__module__.startswith("litestar."):
        return TestSessionTransport(session, lambda: _receive_litestar(session), max_frame)
    return TestSessionTransport(session, session.receive, max_frame)


def _receive_litestar(session: Any) -> Any:
    """Receive for a while, and leave errors of the application for the session's exit."""
    message = session.send_queue.get(timeout=WANTED_CHECK_INTERVAL)
    if isinstance(message, BaseException):
        session.send_queue.put(message)
        raise message
    return message
