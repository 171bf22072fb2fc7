"""Django Channels: a consumer that can be served, and the communicator for tests."""

from __future__ import annotations

import asyncio
from typing import Any

try:
    from asgiref.testing import ApplicationCommunicator
    from channels.consumer import AsyncConsumer
    from channels.generic.websocket import AsyncWebsocketConsumer
except ModuleNotFoundError as error:
    raise ImportError("Channels is not installed: pip install channels") from error

from reliable_ws.transport import TransportClosed

from .asgi import MAX_FRAME
from .callback import HANDSHAKE_TIMEOUT, CallbackTransport
from .checks import check_open
from .coroutine import CoroutineTransport

__all__ = ["CommunicatorTransport", "ConsumerTransport", "ReliableConsumer", "adapt"]


class ReliableConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """A consumer whose ``connect()`` may go on for as long as the WebSocket lives.

    As in the endpoints of other frameworks::

        class Chat(ReliableConsumer):
            async def connect(self):
                await self.accept()
                await sessions.handle(self, handler)

    Other events, those of the channel layer too, are dispatched meanwhile. When ``connect()``
    returns, the WebSocket is closed. What it raises is raised to the server at the end.
    """

    transport: ConsumerTransport
    "The WebSocket, from ``connect()`` on."

    _accepted = False
    _connecting: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one WebSocket (ASGI)."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._connecting is not None:
                self._connecting.cancel()

    async def accept(self, subprotocol: str | None = None, headers: Any = None) -> None:
        """Accept the WebSocket; as in Channels."""
        await super().accept(subprotocol, headers)
        self._accepted = True

    async def websocket_connect(self, message: Any) -> None:
        """Begin ``connect()``."""
        self.transport = ConsumerTransport(self, "acceptor", MAX_FRAME)
        self._connecting = asyncio.create_task(self._connect(message))

    async def _connect(self, message: Any) -> None:
        try:
            await super().websocket_connect(message)
        finally:
            await self.transport.close()

    async def websocket_receive(self, message: Any) -> None:
        """Take a message in, and no further one while too many wait."""
        text = message.get("text")
        self.transport.feed(message["bytes"] if text is None else text)
        await self.transport.room()

    async def websocket_disconnect(self, message: Any) -> None:
        """Let ``connect()`` come to its end."""
        self.transport.feed_end(message.get("code"), message.get("reason") or "")
        if self._connecting is not None:
            await asyncio.wait({self._connecting})
            if not self._connecting.cancelled():
                self._connecting.result()
        await super().websocket_disconnect(message)


class ConsumerTransport(CallbackTransport):
    """The WebSocket of a :class:`ReliableConsumer` as a transport."""

    async def _send(self, data: bytes) -> None:
        await self.websocket.send(bytes_data=data)

    async def _close(self, code: int, reason: str) -> None:
        event = {"type": "websocket.close", "code": code, "reason": reason}
        await AsyncConsumer.send(self.websocket, event)


class CommunicatorTransport(CoroutineTransport):
    """A connected ``WebsocketCommunicator`` as a transport: the client's side."""

    def __init__(self, websocket: Any, max_frame: int) -> None:
        super().__init__(websocket, "initiator", max_frame)
        websocket.future.add_done_callback(self._over_without_close)

    def _over_without_close(self, _: object) -> None:
        self.websocket.output_queue.put_nowait({"type": "websocket.close", "code": None})

    async def _recv(self) -> bytes | str:
        event = await self.websocket.output_queue.get()  # receive_output() ends the application
        if event["type"] == "websocket.close":
            raise TransportClosed(event.get("code"), event.get("reason") or "")
        text: str | None = event.get("text")
        data: bytes = event.get("bytes") or b""
        return data if text is None else text

    async def _send(self, data: bytes) -> None:
        await self.websocket.send_to(bytes_data=data)

    async def _close(self, code: int, reason: str) -> None:
        event = {"type": "websocket.disconnect", "code": code, "reason": reason}
        await self.websocket.send_input(event)
        await self.websocket.wait(HANDSHAKE_TIMEOUT)


def adapt(ws: Any, *, max_frame: int = MAX_FRAME) -> CallbackTransport:
    """Return a transport for a :class:`ReliableConsumer` or a ``WebsocketCommunicator``.

    ``max_frame`` is the largest message that the server takes, in bytes.

    Raises:
        TypeError: ``ws`` is something else.
        ValueError: The consumer has not accepted.
    """
    if isinstance(ws, ReliableConsumer):
        check_open(accepted=ws._accepted)  # noqa: SLF001 - ours
        ws.transport.max_frame = max_frame
        return ws.transport
    if isinstance(ws, ApplicationCommunicator):
        return CommunicatorTransport(ws, max_frame)
    raise TypeError(
        f"{type(ws).__name__} cannot wait for messages: make it a subclass of "
        "reliable_ws.adapters.channels.ReliableConsumer"
    )
