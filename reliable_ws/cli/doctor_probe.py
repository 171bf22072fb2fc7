"""One session for the doctor, driven by hand: it speaks when it is told to, and else is silent."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import Any

import msgpack

from reliable_ws.adapters.websockets import asyncio as websockets
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.events import Event, Faulted, Replied
from reliable_ws.protocol.payload import DEFAULT_CODEC, seal
from reliable_ws.protocol.session import Session
from reliable_ws.transport import TransportClosed

__all__ = ["Probe"]

METHOD = "reliable_ws.doctor"
"""What is asked for. No server has it: it answers that there is no such method, and no application
hears of it."""

SILENT = 86_400.0
"""Seconds that we say to be idle for, so that the server need not speak."""

PADDING = 0x3F
"""The type of a frame that nobody knows and whoever gets it skips (FRAME-3)."""

LARGE = 1 << 16
"""Bytes from which on the header of a payload has its full size."""

NO_GREETING = b"\xc1"
"""A WebSocket message that a server refuses with 4400, and closes for soon."""


class Probe:
    """A session, and the WebSocket that carries it now."""

    def __init__(
        self, uri: str, options: dict[str, Any], timeout: float, idle_timeout: float = SILENT
    ) -> None:
        """``idle_timeout``: what the server is told: it speaks in every third of it."""
        self._uri = uri
        self._options = options
        self._timeout = timeout
        config = Config(idle_timeout=idle_timeout, open_timeout=timeout)
        key = secrets.token_bytes(32)
        self.session = Session("initiator", secrets.token_bytes(16), key, time.monotonic(), config)
        self.transport: Any = None
        self.link: Any = None

    @property
    def headers(self) -> Any:
        """The headers of the server's answer to the handshake."""
        return self.transport.websocket.response.headers

    async def open(self, **options: Any) -> float:
        """Open a WebSocket; return how many seconds that took.

        Raises:
            OSError: It cannot be opened; also what websockets raises.
        """
        begin = time.monotonic()
        self.transport = await websockets.dial(
            self._uri, open_timeout=self._timeout, **self._options | options
        )
        return time.monotonic() - begin

    async def greet(self) -> float:
        """Greet, and return how many seconds the answer took; ``session.attached`` says which.

        Raises:
            TimeoutError: There was no answer.
            TransportClosed: The WebSocket is gone.
        """
        begin = time.monotonic()
        self.link = self.session.dial(begin, self.transport.max_frame)
        await self.flush()
        async with asyncio.timeout(self._timeout):
            while not (self.session.attached or self.session.ended):
                await self.receive()
                if self.link.close_action is not None:
                    break
        return time.monotonic() - begin

    async def flush(self) -> None:
        """Send what the session wants to say."""
        while (data := self.link.transmit(time.monotonic())) is not None:
            await self.transport.send(data)

    async def receive(self) -> list[Event]:
        """Take in the next WebSocket message, and answer nothing."""
        data = await self.transport.recv()
        return self.session.receive(self.link, data, time.monotonic())

    @property
    def max_frame(self) -> int:
        """Bytes of the largest WebSocket message that the server takes."""
        return self.session.outbox.peer.max_frame

    async def send_padding(self, size: int) -> None:
        """Send a WebSocket message of so many bytes that says nothing."""
        empty = len(msgpack.packb([[PADDING, bytes(LARGE)]])) - LARGE
        data = msgpack.packb([[PADDING, bytes(size - empty)]])
        await self.transport.send(data)

    async def ask(self) -> float:
        """Make a request; return how many seconds the answer took."""
        begin = time.monotonic()
        number = self.session.request(METHOD, *seal(b"", DEFAULT_CODEC))
        await self.flush()
        async with asyncio.timeout(self._timeout):
            while True:
                for event in await self.receive():
                    if isinstance(event, Faulted | Replied) and event.id == number:
                        return time.monotonic() - begin
                await self.flush()

    async def silence(self, seconds: float, *, speak_every: float | None = None) -> float | None:
        """Say nothing for so long, or only heartbeats; return when the WebSocket was lost.

        ``None``: it was not. What arrives is taken in and not answered.
        """
        begin = time.monotonic()
        reading = asyncio.ensure_future(self._read_on())
        try:
            while (left := begin + seconds - time.monotonic()) > 0:
                pause = left if speak_every is None else min(left, speak_every)
                await asyncio.wait((reading,), timeout=pause)
                if reading.done():
                    return time.monotonic() - begin
                if speak_every is not None:
                    self.link.answer()  # the heartbeat
                    with contextlib.suppress(TransportClosed):
                        await self.flush()
        finally:
            reading.cancel()
            await asyncio.wait((reading,))
        return None

    async def _read_on(self) -> None:
        """Read until the WebSocket is gone."""
        with contextlib.suppress(TransportClosed):
            while True:
                await self.receive()

    async def refused(self) -> tuple[int | None, str]:
        """Send what is no greeting; return the close frame that comes of it.

        ``None``: no close frame came.
        """
        await self.transport.send(NO_GREETING)
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    await self.transport.recv()
        except TransportClosed as end:
            return end.code, end.reason
        except TimeoutError:
            return None, ""

    def drop(self) -> None:
        """Drop the WebSocket without a word; the session goes on."""
        self.transport.abort()
        if self.link is not None:
            self.session.lost(self.link, None, "dropped", time.monotonic())

    async def close(self) -> None:
        """End the session as agreed, on another WebSocket if this one is gone; never raises."""
        if self.transport is None:
            return
        with contextlib.suppress(Exception):
            async with asyncio.timeout(self._timeout):
                if not self.session.attached and self.session.incarnation:
                    await self.open()
                    await self.greet()
                self.session.close(time.monotonic())
                while not self.session.ended:
                    await self.flush()
                    await self.receive()
        self.transport.abort()
