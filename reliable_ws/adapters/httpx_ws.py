"""httpx-ws and httpx2, clients: an ``AsyncWebSocketSession``.

Such a session lives in a context, which only the task that entered it can leave. To open another
one for ``reopen=``, let a task of its own hold it::

    async def another():
        return await held(aconnect_ws(uri, client))

    async with reliable_ws.wrap(await another(), reopen=another) as conn: ...
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

from reliable_ws.transport import TransportClosed

from .checks import check_open
from .coroutine import CoroutineTransport

__all__ = ["MAX_FRAME", "HttpxTransport", "adapt", "held"]

MAX_FRAME = 64 * 1024
"""Bytes; the ``max_message_size_bytes`` of both libraries unless it is set."""


def adapt(ws: Any, *, max_frame: int | None = None) -> HttpxTransport:
    """Return a transport for a session of httpx-ws or httpx2.

    ``max_frame`` is the largest message that it takes, in bytes; by default the
    ``max_message_size_bytes`` that it was opened with.

    Raises:
        TypeError: ``ws`` is something else.
        ValueError: The session is closed, or another task is receiving from it.
    """
    if all(base.__name__ != "AsyncWebSocketSession" for base in type(ws).__mro__):
        raise TypeError(
            f"not an AsyncWebSocketSession of httpx-ws or httpx2: {type(ws).__name__}. Pass what "
            "aconnect_ws() or client.websocket() gives when it is entered with async with"
        )
    receiving = ws._receive_event.statistics().tasks_waiting_receive  # noqa: SLF001 - nothing else tells
    check_open(closed=ws.connection.state.name != "OPEN", read=receiving > 0)
    if max_frame is None:
        max_frame = getattr(ws, "_max_message_size_bytes", MAX_FRAME)
    return HttpxTransport(ws, "initiator", max_frame)


class HttpxTransport(CoroutineTransport):
    """A session of httpx-ws or httpx2 as a :class:`~reliable_ws.transport.Transport`.

    See :func:`adapt`.
    """

    def __init__(self, ws: Any, role: Any, max_frame: int | None) -> None:
        super().__init__(ws, role, max_frame)
        self._released = asyncio.Event()

    async def released(self) -> None:
        """Return when the session is needed no more."""
        await self._released.wait()

    async def _recv(self) -> bytes | str:
        try:
            event = await self.websocket.receive()
        except Exception as error:
            self._released.set()
            end: Any = error
            if not hasattr(end, "code"):  # WebSocketDisconnect has one
                raise
            raise TransportClosed(end.code, end.reason or "") from error
        data: bytes | str = event.data
        return data if isinstance(data, str) else bytes(data)

    async def _send(self, data: bytes) -> None:
        await self.websocket.send_bytes(data)

    async def _close(self, code: int, reason: str) -> None:
        # That of a test without sockets fails unless its context closes it.
        if type(self.websocket.stream).__name__ != "ASGIWebSocketAsyncNetworkStream":
            await self.websocket.close(code, reason)

    def _drop(self) -> None:
        self._released.set()
        super()._drop()


async def held(opening: AbstractAsyncContextManager[Any]) -> HttpxTransport:
    """Enter the context of a session in a task of its own, which leaves it when it is over.

    It raises what entering the context raises. When it is cancelled while it waits, the session is
    given up.
    """
    opened: asyncio.Future[HttpxTransport] = asyncio.get_running_loop().create_future()

    async def hold() -> None:
        try:
            async with opening as ws:
                transport = adapt(ws)
                opened.set_result(transport)
                await transport.released()
        except BaseException as error:
            if not opened.done():
                opened.set_exception(error)
            elif not isinstance(error, Exception):
                raise

    _holders.add(task := asyncio.create_task(hold()))
    task.add_done_callback(_holders.discard)
    try:
        return await opened
    except asyncio.CancelledError:  # it may be open: nobody else will ever know
        task.cancel()
        raise


_holders: set[asyncio.Task[None]] = set()
