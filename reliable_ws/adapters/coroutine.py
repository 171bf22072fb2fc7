"""The base of adapters for libraries with coroutines: a task of its own receives and feeds.

So the library has one reader, and only :meth:`CoroutineTransport.abort` ends it. Several
libraries lose messages when their ``recv()`` is cancelled. A task that is cancelled in ``recv()``
of this transport has taken nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from reliable_ws.protocol.session import Role
from reliable_ws.transport import LONGEST_STEP, TransportClosed

from .callback import CallbackTransport

__all__ = ["CoroutineTransport"]


class CoroutineTransport(CallbackTransport):
    """A library's WebSocket with coroutines as a :class:`~reliable_ws.transport.Transport`.

    Subclasses translate :meth:`_recv`, ``_send``, ``_close``, and ``_drop`` where the library can.
    Receiving begins with the first :meth:`recv` or :meth:`push_to`, so a transport that is made and
    not used leaves its WebSocket untouched; up to 1 MiB is received ahead.
    """

    def __init__(self, websocket: Any, role: Role | None, max_frame: int | None) -> None:
        super().__init__(websocket, role, max_frame)
        self._reader: asyncio.Task[None] | None = None

    async def _recv(self) -> bytes | str:
        """Return the next message.

        One task calls it. :meth:`abort` cancels that task, and then it is not called again.

        Raises:
            TransportClosed: There are no more messages. Any other exception means the same.
        """
        raise NotImplementedError

    def push_to(self, receiver: Callable[[bytes], None], /) -> None:
        """Hand each message to ``receiver`` as it arrives, from the task that receives."""
        super().push_to(receiver)
        self._begin()

    async def recv(self) -> bytes | str:
        """Return the next message. When it is cancelled, it has taken nothing.

        Raises:
            TransportClosed: There are no more messages.
        """
        self._begin()
        return await super().recv()

    def _let_go(self) -> None:
        super()._let_go()
        if self._reader is not None:
            self._reader.cancel()

    def _begin(self) -> None:
        if self._reader is None and not self._aborted:
            self._reader = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        is_cancelled = False
        by = time.monotonic() + LONGEST_STEP
        try:
            while self._end is None:
                try:
                    message = await self._recv()
                except asyncio.CancelledError:
                    if self._aborted or is_cancelled:
                        raise
                    # The event loop ends. What the session accepted still goes within a short
                    # limit, and then the driver aborts.
                    is_cancelled = True
                    continue
                try:
                    self.feed(message)
                except Exception as error:  # noqa: BLE001 - the driver's: recv() raises it there
                    self._failure = error
                    break
                if not self._room.is_set():
                    await self._room.wait()
                if time.monotonic() >= by:  # the library may have many at hand
                    await asyncio.sleep(0)
                    by = time.monotonic() + LONGEST_STEP
        except TransportClosed as end:
            self.feed_end(end.code, end.reason)
        except Exception:  # noqa: BLE001 - each library has its own, and they mean the same
            self.feed_end()
            if self._closer is None:  # else it drops the connection when it is done
                self._let_go()
        finally:  # cancelled, by abort() or at the end of the event loop, it is over as well
            if self._aborted:
                # Behind the first step of the task that closes: it does nothing after an end.
                asyncio.get_running_loop().call_soon(self.feed_end)
            else:
                self.feed_end()
