"""Tornado: a ``WebSocketHandler`` of its server, a ``WebSocketClientConnection`` of its client.

Tornado receives nothing before ``open()`` has returned and may begin at once when it has: a
handler is taken over there, and what serves it goes on in a task::

    class Endpoint(WebSocketHandler):
        def open(self):
            self.serving = asyncio.create_task(sessions.handle(self, handler))
"""

from __future__ import annotations

from typing import Any

from tornado.websocket import WebSocketClientConnection, WebSocketHandler

from reliable_ws.protocol.session import Role

from .callback import CallbackTransport

__all__ = ["TornadoTransport", "adapt"]


def adapt(ws: Any, *, max_frame: int | None = None) -> TornadoTransport:
    """Return a transport for a WebSocket of Tornado, of its server or its client.

    Its ``on_message`` is no longer called; a handler's ``on_close`` is. ``max_frame`` is the
    largest message that it takes, in bytes; by default what Tornado was told (else 10 MiB).

    Raises:
        TypeError: ``ws`` is something else.
        ValueError: The WebSocket is not open, is being read, or was taken over already.
    """
    if isinstance(ws, WebSocketHandler):
        role: Role = "acceptor"
        protocol, limit = ws.ws_connection, ws.max_message_size
        if protocol is None:
            raise ValueError("the WebSocket is not open: take it over in open()")
    elif isinstance(ws, WebSocketClientConnection):
        role = "initiator"
        protocol, limit = ws.protocol, ws.params.max_message_size
        if ws.read_queue._getters:  # noqa: SLF001 - nothing else tells
            raise ValueError(
                "another task is receiving from the WebSocket: it must have one reader"
            )
    else:
        raise TypeError(
            f"not a WebSocket of Tornado: {type(ws).__name__}. Pass a WebSocketHandler, or what "
            "websocket_connect() gives when it is awaited"
        )
    if protocol is None or protocol.is_closing():
        raise ValueError("the WebSocket is closed: pass one that is open")
    if "on_message" in vars(ws):
        raise ValueError("the WebSocket was taken over already")
    return TornadoTransport(ws, protocol, role, limit if max_frame is None else max_frame)


class TornadoTransport(CallbackTransport):
    """A WebSocket of Tornado as a :class:`~reliable_ws.transport.Transport`; see :func:`adapt`."""

    def __init__(self, ws: Any, protocol: Any, role: Role, max_frame: int) -> None:
        super().__init__(ws, role, max_frame)
        self._protocol = protocol
        self._closed = ws.on_connection_close
        ws.on_message = self._on_message
        ws.on_connection_close = self._on_connection_close
        if role == "initiator":
            while not ws.read_queue.empty():
                self.feed(ws.read_queue.get_nowait())

    async def _on_message(self, message: bytes | str) -> None:
        self.feed(message)
        await self.room()

    def _on_connection_close(self) -> None:
        self.feed_end(self.websocket.close_code, self.websocket.close_reason or "")
        self._closed()
        self.websocket.close()  # or a client warns that nobody did

    async def _send(self, data: bytes) -> None:
        await self.websocket.write_message(data, binary=True)

    async def _close(self, code: int, reason: str) -> None:
        self.websocket.close(code, reason)
        await self.ended()

    def _drop(self) -> None:
        self._protocol.on_connection_close()  # "instantly"
