"""Any ASGI server: the two callables of a WebSocket scope, or an object that holds them.

Starlette, FastAPI and Litestar hand out such objects; of any other framework pass what the server
gave it: ``ASGITransport(receive, send)``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from reliable_ws.transport import TransportClosed

from .coroutine import CoroutineTransport

__all__ = ["MAX_FRAME", "ASGITransport"]

MAX_FRAME = 1024 * 1024
"""What every ASGI server takes unless it was set lower (Daphne; the others take 16 MiB)."""

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class ASGITransport(CoroutineTransport):
    """The callables of an accepted ASGI WebSocket as a :class:`~reliable_ws.transport.Transport`.

    ``max_frame`` is the largest message that the server takes, in bytes (uvicorn:
    ``--ws-max-size``). ``websocket`` is what the application shall see as ``conn.websocket``.
    """

    def __init__(
        self,
        receive: Receive,
        send: Send,
        websocket: Any = None,
        *,
        max_frame: int | None = MAX_FRAME,
    ) -> None:
        super().__init__(websocket, "acceptor", max_frame)
        self._receive = receive
        self._put = send

    async def _recv(self) -> bytes | str:
        while True:
            event = await self._receive()
            match event["type"]:
                case "websocket.receive":
                    text: str | None = event.get("text")  # Hypercorn has both keys
                    data: bytes = event.get("bytes") or b""
                    return data if text is None else text
                case "websocket.disconnect":
                    raise TransportClosed(event.get("code"), event.get("reason") or "")

    async def _send(self, data: bytes) -> None:
        await self._put({"type": "websocket.send", "bytes": data})

    async def _close(self, code: int, reason: str) -> None:
        await self._put({"type": "websocket.close", "code": code, "reason": reason})
