"""The two sides of a :class:`~reliable_ws.testing.Network`, as processes that can die."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from reliable_ws.aio.connect import connect
from reliable_ws.aio.connection import Connection, abort_silently
from reliable_ws.aio.serve import Server, serve
from reliable_ws.aio.sessions import Handler, Sessions, abort_all
from reliable_ws.transport import Transport

from .wire import End, Wire

__all__ = ["Client", "Listener", "Service"]

_DRAIN_TIMEOUT = 10.0
"""Seconds in which clients may answer the close frames of a server that closes."""


class Client(connect):
    """``connect`` over the WebSockets of a network."""

    def __init__(
        self, dial: Callable[[Client], Awaitable[Transport]], uri: str, **options: Any
    ) -> None:
        super().__init__(uri, **options)
        self._dial_through = dial
        self._newest: Connection | None = None

    async def _dial(self) -> Transport:
        return await self._dial_through(self)

    async def _open(self) -> Connection:
        self._newest = await super()._open()
        return self._newest

    def die(self) -> bool:
        """Let it be gone, once its WebSockets have been cut; whether it lived."""
        connection, self._newest = self._newest, None
        if connection is None or connection.close_code is not None:
            return False
        asyncio.get_running_loop().call_soon(abort_silently, connection)
        return True


class Service(serve):
    """``serve`` over the WebSockets of a network."""

    def __init__(
        self,
        handler: Handler,
        host: str | None,
        port: int | None,
        *,
        begin: Callable[[Listener], None],
        end: Callable[[], list[Wire]],
        **options: Any,
    ) -> None:
        super().__init__(handler, host, port, **options)
        self._begin = begin
        self._end = end
        self._running: Server

    async def _start(self) -> Server:
        self._running = await super()._start()
        return self._running

    async def _listen(self, on_transport: Callable[[Transport], Awaitable[None]]) -> Listener:
        listener = Listener(self, on_transport, (self._host, self._port), self._end)
        self._begin(listener)
        return listener

    def begin_anew(self) -> tuple[Sessions, Callable[[Transport], Awaitable[None]]]:
        """Be another process, with no sessions; return the old ones, and what serves."""
        dead, self._running.sessions = self._running.sessions, Sessions(**self._new_sessions)
        return dead, self._serving(self._running.sessions)

    async def drain(self, old: Sessions) -> None:
        """Drain the sessions of an old process."""
        await old.drain(self._drain_timeout)


class Listener:
    """Accepts the WebSockets of a network, in place of the WebSocket library's own server."""

    def __init__(
        self,
        service: Service,
        on_transport: Callable[[Transport], Awaitable[None]],
        address: tuple[str | None, int | None],
        end: Callable[[], list[Wire]],
    ) -> None:
        self.sockets = (self,)
        "As a server's: :meth:`getsockname` is all they can do."
        self._service = service
        self._on_transport = on_transport
        self._address = address
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._lives = 1
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None

    def getsockname(self) -> tuple[str, int]:
        """Return the address that was asked for."""
        host, port = self._address
        return host or "in.memory", port or 80

    def accept(self, end: End) -> None:
        """Serve a WebSocket."""
        task = self._loop.create_task(self._serve(end, self._lives))
        self._tasks.add(task)
        task.add_done_callback(self._served)

    def die(self) -> int:
        """Let the server's process be gone, once its WebSockets are cut, and be another."""
        self._lives += 1
        dead, self._on_transport = self._service.begin_anew()
        self._loop.call_soon(_end_all, dead, [*self._tasks])
        return len(dead)

    def drain(self) -> int:
        """Let the server's process drain, and another one take new WebSockets."""
        old, self._on_transport = self._service.begin_anew()
        task = self._loop.create_task(self._service.drain(old))
        self._tasks.add(task)
        task.add_done_callback(self._served)
        return len(old)

    async def _serve(self, end: End, life: int) -> None:
        try:
            if life == self._lives:  # else its process has died before this began
                await self._on_transport(end)
        finally:
            end.abort()

    def _served(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            message = "a connection of a Network failed"
            self._loop.call_exception_handler({"message": message, "exception": error})

    def close(self) -> None:
        """Accept no more, and close every WebSocket."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(self._end()))

    async def _close(self, wires: list[Wire]) -> None:
        closings = [wire.server.close(1001, "going away") for wire in wires if wire.live]
        try:
            async with asyncio.timeout(_DRAIN_TIMEOUT):
                await asyncio.gather(*closings)
        except TimeoutError:
            pass
        for wire in wires:
            wire.client.cut()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def wait_closed(self) -> None:
        """Return when it is closed."""
        if self._closing is not None:
            await asyncio.wait({self._closing})


def _end_all(dead: Sessions, serving: list[asyncio.Task[None]]) -> None:
    for task in serving:
        task.cancel()
    abort_all(dead)
