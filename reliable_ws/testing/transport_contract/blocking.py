"""The client side of a library whose methods block: the same contract, run in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from typing import Any, Self, TypeVar

from reliable_ws.adapters import adapt_blocking
from reliable_ws.backoff import Backoff
from reliable_ws.protocol.config import Config
from reliable_ws.sync.wrap import wrap

from .client import ClientContract
from .endpoints import SESSION
from .scenarios import CLIENT_CONFIG, Served

__all__ = ["BlockingClientContract"]

T = TypeVar("T")


class BlockingClientContract(ClientContract):
    """Subclass it and override :meth:`open`; see the package.

    What blocks runs in a thread for each call, so the scenarios are those for asyncio.
    """

    def open(self, uri: str) -> Any:
        """Open a WebSocket, offering the subprotocol; return the library's own object."""
        raise NotImplementedError

    async def opened(self, uri: str) -> Any:
        """Open a WebSocket and return a transport that is awaited."""
        return _AwaitedTransport(adapt_blocking(await _in_thread(self.open, uri)))

    async def connected(
        self,
        where: Any,
        path: str = SESSION,
        *,
        config: Config = CLIENT_CONFIG,
        boasted: int | None = None,
    ) -> Any:
        """Open a session, which opens another WebSocket when it loses one."""
        uri = where.uri + path if isinstance(where, Served) else where.uri(path)

        def another() -> Any:
            transport: Any = adapt_blocking(self.open(uri))
            if boasted is not None:
                transport.max_frame = boasted
            return transport

        def connecting() -> Any:
            return wrap(
                another(),
                role="initiator",
                config=config,
                reopen=another,
                reconnect=Backoff(initial=0.02, longest=0.2),
            )

        return _AwaitedConnection(await _in_thread(connecting))


class _AwaitedTransport:
    """A ``SyncTransport`` as a ``Transport``."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.websocket = transport.websocket
        self.max_frame = transport.max_frame
        self.role = transport.role

    async def send(self, data: bytes, /) -> None:
        await _in_thread(self._transport.send, data)

    def send_now(self, data: bytes, /) -> bool:
        send_now = getattr(self._transport, "send_now", None)
        return send_now is not None and send_now(data)

    async def recv(self) -> bytes | str:
        return await _in_thread(self._transport.recv)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await _in_thread(self._transport.close, code, reason)

    def abort(self) -> None:
        self._transport.abort()


class _AwaitedConnection:
    """A connection of ``reliable_ws.sync`` as one of ``reliable_ws``."""

    VERBS = ("send", "recv", "flush", "request", "close", "wait_closed")

    def __init__(self, conn: Any) -> None:
        self._conn = conn

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._conn, name)
        if name not in self.VERBS:
            return found

        async def verb(*args: Any, **options: Any) -> Any:
            return await _in_thread(found, *args, **options)

        return verb

    async def finish(self) -> None:
        self._conn.finish()

    async def __aiter__(self) -> AsyncGenerator[Any]:
        messages = iter(self._conn)
        while (message := await _in_thread(next, messages, self)) is not self:
            yield message

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *reason: object) -> None:
        await _in_thread(self._conn.__exit__, *reason)


async def _in_thread(work: Callable[..., T], *args: Any, **options: Any) -> T:
    """Do something in a thread of its own, which nobody joins: it may have to wait for ever."""
    done: Future[T] = Future()

    def working() -> None:
        try:
            done.set_result(work(*args, **options))
        except BaseException as error:  # noqa: BLE001 - whoever awaits gets it
            done.set_exception(error)

    threading.Thread(target=working, daemon=True).start()
    return await asyncio.wrap_future(done)
