"""One transport that carries one link: a reader, writes at the end of the turn, and the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from reliable_ws.driver.close_plan import CLOSE_TIMEOUT, LINGER
from reliable_ws.driver.ownership import release
from reliable_ws.protocol.events import Event
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.link import CloseAction, Link
from reliable_ws.protocol.session import Session
from reliable_ws.transport import PushTransport, Transport, TransportClosed

from .waiters import Signal

__all__ = ["LinkIO"]

logger = logging.getLogger("reliable_ws")


class LinkIO:
    """Moves bytes between a link and a transport; what happens goes to ``dispatch``."""

    __slots__ = (
        "_closer",
        "_dispatch",
        "_loop",
        "_over",
        "_session",
        "_writer",
        "link",
        "transport",
    )

    def __init__(
        self,
        transport: Transport,
        link: Link,
        session: Session,
        dispatch: Callable[[list[Event]], None],
    ) -> None:
        self.transport = transport
        self.link = link
        self._session = session
        self._dispatch = dispatch
        self._loop = asyncio.get_running_loop()
        self._writer: asyncio.Task[None] | None = None
        self._closer: asyncio.Task[None] | None = None
        self._over = Signal()

    async def read(self) -> None:
        """Read until the transport is gone. Never raises for what the peer did.

        Cancelled (a framework ends its handler): that is the end of the transport.
        """
        transport = self.transport
        try:
            if isinstance(transport, PushTransport):
                transport.push_to(self._receive)
            while True:
                self._receive(await transport.recv())
        except TransportClosed as end:
            self._lost(end.code, end.reason)
        except BaseException:
            transport.abort()
            self._lost(None, "the reader was stopped")
            raise
        finally:
            release(transport)
            self._over.set()
            for task in (self._writer, self._closer):
                if task is not None:
                    task.cancel()

    def _receive(self, data: bytes | str) -> None:
        self._dispatch(self._session.receive(self.link, data, self._loop.time()))

    def _lost(self, code: int | None, reason: str) -> None:
        self._dispatch(self._session.lost(self.link, code, reason, self._loop.time()))

    def flush(self) -> None:
        """Send what is to be sent, as far as the transport has room; never waits."""
        if self._writer is not None:
            self._close_if_over()
            return
        transmit, send_now, now = self.link.transmit, self.transport.send_now, self._loop.time()
        try:
            while (data := transmit(now)) is not None:
                if not send_now(data):
                    writer = self._loop.create_task(self._write(data))
                    if not writer.done():  # an eager one may be
                        self._writer = writer
                    return
                if self.link.at_end:
                    break
        except TransportClosed:
            return  # the reader learns it too, after what had arrived before
        except Exception as error:  # noqa: BLE001 - a transport's bug
            self._give_up(error)
            return
        if self.link.close_action is not None:
            self._close_if_over()

    async def _write(self, data: bytes | None) -> None:
        """Send with waiting, until there is room again."""
        try:
            while data is not None:
                await self.transport.send(data)
                data = self.link.transmit(self._loop.time())
        except TransportClosed:
            return
        except Exception as error:  # noqa: BLE001 - a transport's bug
            self._give_up(error)
            return
        finally:
            self._writer = None
        self._close_if_over()

    def _give_up(self, error: Exception) -> None:
        """A transport that raises what it may not has lost what it was given: use another."""
        logger.error("a transport failed", exc_info=error)
        self.transport.abort()

    def _close_if_over(self) -> None:
        """Close the transport once the link is over and has said its last word."""
        close_action = self.link.close_action
        if close_action is None or self._closer is not None or self._over.is_set():
            return
        if close_action.code == Code.SILENT:  # nobody would answer a closing handshake
            self.transport.abort()
        else:
            self._closer = self._loop.create_task(self._close(close_action))

    async def _close(self, close_action: CloseAction) -> None:
        """Close within limits of our own: a library's may never end on a full buffer."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                if self._writer is not None:
                    await asyncio.wait((self._writer,))
                if close_action.linger:
                    await asyncio.sleep(LINGER)
                await self.transport.close(close_action.code, close_action.reason)
        except TimeoutError:
            self.transport.abort()

    async def closed(self) -> None:
        """Return when the transport is gone."""
        await self._over.wait()

    def abort(self) -> None:
        """Drop the transport at once."""
        self.transport.abort()
