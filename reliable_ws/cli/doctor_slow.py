"""A reader that is slow, for the doctor: who gives up a WebSocket from which nobody reads?

Theory of operation. A proxy notices a slow reader only when it has more to send than the buffers
behind it hold. The server gives as many answers as it takes requests, each longer than the request.
Our end of the connection has small buffers. They make those of the next hop small as well: an end
sends in segments as small as we ask for, and its buffer grows with their size.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
import urllib.parse
import urllib.request
from typing import Any

from reliable_ws.protocol.payload import DEFAULT_CODEC, seal
from reliable_ws.transport import TransportClosed

from .doctor_probe import METHOD, Probe

__all__ = ["SlowReader", "uses_proxy"]

LONG_METHOD = METHOD + 46 * "\N{LANGUAGE TAG}"
"""A method that no server has. It says so with ten characters for each of the last ones."""

NARROW = 4096
"""Bytes that our end takes in while nobody reads."""

SEGMENT = 536
"""Bytes of a TCP segment: the smallest that each path has to carry."""

WIDE = 1 << 20
"""Bytes that our end takes in once it reads again."""

SAMPLE_INTERVAL = 0.1
"""Seconds between two looks whether the connection is still there."""

PORTS = {"ws": 80, "wss": 443}


def uses_proxy(uri: str) -> bool:
    """Whether the environment has a proxy for this: its buffers are not ours to choose."""
    parts = urllib.parse.urlsplit(uri)
    schemes = {"wss", "socks", "https"} if parts.scheme == "wss" else {"ws", "socks", "http"}
    found = schemes & urllib.request.getproxies().keys()
    return bool(found) and not urllib.request.proxy_bypass(f"{parts.hostname}:{_port(parts)}")


def _port(parts: urllib.parse.SplitResult) -> int:
    return parts.port or PORTS.get(parts.scheme, 80)


async def _narrow_socket(uri: str) -> socket.socket:
    """Return a connection with small buffers, of which the other end is told."""
    loop = asyncio.get_running_loop()
    parts = urllib.parse.urlsplit(uri)
    found = await loop.getaddrinfo(parts.hostname, _port(parts), type=socket.SOCK_STREAM)
    failed: OSError | None = None
    for family, kind, proto, _name, address in found:
        sock = socket.socket(family, kind, proto)
        try:
            sock.settimeout(0)  # for the event loop
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
            with contextlib.suppress(OSError, AttributeError):  # not every system can
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
            await loop.sock_connect(sock, address)
        except OSError as error:
            failed = error
            sock.close()
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failed or OSError(f"{parts.hostname} has no address")


class SlowReader(Probe):
    """A session that asks for much, and leaves the answers unread for a while."""

    unread = 0
    "Bytes of answers that were read at last, on the WebSocket that was not read from."

    async def open_narrow(self) -> None:
        """Open a WebSocket whose buffers at our end are small.

        Raises:
            OSError: It cannot be opened; also what websockets raises.
            TimeoutError: There was no answer.
        """
        async with asyncio.timeout(self._timeout):
            sock = await _narrow_socket(self._uri)
        try:
            await self.open(sock=sock)
        except BaseException:
            sock.close()
            raise

    @property
    def _tcp(self) -> Any:
        return self.transport.websocket.transport

    @property
    def missing(self) -> int:
        """How many answers have not arrived."""
        return len(self.session.outgoing_calls.open)

    async def ask_much(self) -> int:
        """Read no more, and make as many requests as the server takes; return how many."""
        with contextlib.suppress(AttributeError):  # TLS would read half a megabyte more
            self._tcp.set_read_buffer_limits(NARROW)
        self._tcp.pause_reading()
        while self.session.outgoing_calls.has_room:
            self.session.request(LONG_METHOD, *seal(b"", DEFAULT_CODEC))
        with contextlib.suppress(TimeoutError):  # the path may be full in this direction, too
            async with asyncio.timeout(self._timeout):
                await self.flush()
        return self.missing

    async def leave_unread(self, seconds: float) -> float | None:
        """Read nothing for so long; return when the WebSocket was lost. ``None``: not seen yet.

        It is as silent as a client of ours is: it sends a heartbeat when one is due.
        """
        begin = time.monotonic()
        pause = self.session.outbox.peer.idle_ms / 3000
        speak_at = begin + pause
        while (now := time.monotonic()) < begin + seconds:
            try:
                if now >= speak_at:
                    speak_at = now + pause
                    self.link.answer()  # the heartbeat
                    async with asyncio.timeout(self._timeout):
                        await self.flush()
            except TransportClosed:
                return time.monotonic() - begin
            except TimeoutError:  # the path is full in this direction, too
                continue
            if self._is_reset():
                return time.monotonic() - begin
            await asyncio.sleep(min(SAMPLE_INTERVAL, max(0.0, begin + seconds - now)))
        return None

    def _is_reset(self) -> bool:
        """Whether the other end has reset the connection.

        An event loop that does not read is not told.
        """
        sock = self._tcp.get_extra_info("socket")
        if self._tcp.is_closing() or sock is None:
            return True
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    async def read_on(self) -> TransportClosed | TimeoutError | None:
        """Read until all answers are there; return what came instead. ``None``: they are there."""
        with contextlib.suppress(OSError, AttributeError, RuntimeError):  # it may be lost
            sock = self._tcp.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WIDE)
            self._tcp.resume_reading()
        try:
            while self.missing:
                async with asyncio.timeout(self._timeout):
                    data = await self.transport.recv()
                    self.unread += len(data)
                    self.session.receive(self.link, data, time.monotonic())
                    await self.flush()
        except (TransportClosed, TimeoutError) as error:
            return error
        return None

    async def come_back(self) -> int:
        """Read the rest on another WebSocket; return how many answers are lost."""
        self.drop()
        missing = self.missing
        with contextlib.suppress(Exception):
            await self.open()
            await self.greet()
            if self.session.attached:  # else nothing is open any more, for nothing can be answered
                await self.read_on()
                missing = self.missing
        return missing
