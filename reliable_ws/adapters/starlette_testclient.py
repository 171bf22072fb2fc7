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
from typing import Any, Literal

from reliable_ws.transport import TransportClosed

__all__ = ["TestSessionTransport", "adapt"]

LOOK = 0.05
"""Seconds between two looks whether a session is still wanted, where receiving can be bounded."""


class TestSessionTransport:
    """A test session as an :class:`~reliable_ws.transport.EagerTransport`.

    It has no limit, and there is always room. Nothing ends a session's ``receive()`` but the
    application: so a thread of its own waits there.
    """

    __test__ = False  # pytest looks at every class that begins with Test

    def __init__(self, session: Any, receive: Callable[[], Any], max_frame: int | None) -> None:
        self._session = session
        self._receive = receive
        self._arrived: queue.SimpleQueue[bytes | str | TransportClosed] = queue.SimpleQueue()
        self._end: TransportClosed | None = None
        self._gone = False
        self.max_frame = max_frame
        self.role: Literal["initiator"] = "initiator"
        threading.Thread(target=self._pump, name="reliable_ws", daemon=True).start()

    @property
    def websocket(self) -> object:
        """The test client's session."""
        return self._session

    def _pump(self) -> None:
        end = TransportClosed()
        try:
            while not self._gone:
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
        self._gone = True
        self._arrived.put(end)

    def send(self, data: bytes, /) -> None:
        """Send one binary message."""
        self.send_now(data)

    def send_now(self, data: bytes, /) -> bool:
        """Send one binary message; there is always room."""
        if self._gone:
            raise TransportClosed
        try:
            self._session.send_bytes(data)
        except Exception as exc:
            self.abort()
            raise TransportClosed from exc
        return True

    def recv(self) -> bytes | str:
        """Return the next message."""
        if self._end is None:
            message = self._arrived.get()
            if not isinstance(message, TransportClosed):
                return message
            self._end = message
        raise self._end

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Tell the application that the client is gone. Idempotent, never raises."""
        del reason  # no test client of them all has a place for it
        if not self._gone:
            self._gone = True
            with contextlib.suppress(Exception):
                self._session.close(code)
            self._arrived.put(TransportClosed())

    def abort(self) -> None:
        """Tell the application that the client is gone without a word."""
        self.close(1006)


def adapt(session: Any, *, max_frame: int | None = None) -> TestSessionTransport:
    """Return a transport for a session that ``websocket_connect()`` has entered.

    ``max_frame`` is the largest message in bytes to announce; a test client has no limit. Raises
    ``ValueError`` for a session that was not entered yet.
    """
    if not hasattr(session, "exit_stack"):
        raise ValueError("not connected yet: enter websocket_connect() with a with statement first")
    if type(session).__module__.startswith("litestar."):
        return TestSessionTransport(session, lambda: _receive_litestar(session), max_frame)
    return TestSessionTransport(session, session.receive, max_frame)


def _receive_litestar(session: Any) -> Any:
    """Receive for a while, and leave errors of the application for the session's exit."""
    message = session.send_queue.get(timeout=LOOK)
    if isinstance(message, BaseException):
        session.send_queue.put(message)
        raise message
    return message
