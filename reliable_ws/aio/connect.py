"""``connect``: a session that opens its WebSockets by itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

from reliable_ws.backoff import Backoff
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.options import SessionOptions
from reliable_ws.driver.status import ConnectionEvent, logger
from reliable_ws.driver.validation import check_options, check_uri
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import (
    ConnectionClosed,
    DeliveryError,
    NotReliablePeer,
)
from reliable_ws.protocol.frames import may_resume
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.protocol.report import End
from reliable_ws.transport import Transport

from .connection import Connection
from .initiator import Initiator
from .unopened import UnopenedConnection

__all__ = ["connect"]


class connect(UnopenedConnection):  # noqa: N801 - looks and behaves like its namesake in websockets
    """Open a session with a server, and keep it over any number of WebSockets.

    ``async with connect(uri) as conn``, ``conn = await connect(uri)``, or
    ``async for conn in connect(uri)``, which begins a new session, with back-off, after each
    ``SessionLost``. Leaving the block closes; without it, or before leaving the loop,
    ``await conn.close()``. Returns after the greeting; a first attempt that fails raises what the
    WebSocket library raises, ``NotReliablePeer`` if the server does not speak the protocol,
    ``SessionLost`` if the network is lost meanwhile, ``ConnectionClosed`` if the server refuses.
    After that a lost WebSocket is replaced, with jittered back-off, for ``config.session_ttl``
    seconds since the last contact.

    ``reconnect``: ``True``, ``False`` (a lost WebSocket ends the session) or a
    :class:`~reliable_ws.Backoff`. ``on_event`` is called with a ``ConnectionEvent``.
    ``payload_codec`` packs messages that are neither ``str`` nor ``bytes`` (default: msgpack).
    Everything else goes to websockets' ``connect``; ``additional_headers`` and ``proxy`` work on
    every supported release, ``compression`` is off unless given.
    """

    verb = "connect"

    def __init__(
        self,
        uri: str,
        *,
        methods: Methods | None = None,
        config: Config | None = None,
        reconnect: bool | Backoff = True,
        on_event: Callable[[ConnectionEvent], object] | None = None,
        payload_codec: PayloadCodec | None = None,
        **transport_options: Any,
    ) -> None:
        check_uri(uri)
        check_options(reconnect=reconnect)
        self._uri = uri
        self._options = SessionOptions.of(
            awaited=True,
            methods=methods,
            config=config,
            on_event=on_event,
            payload_codec=payload_codec,
            resumable=bool(reconnect),
            backoff=reconnect if isinstance(reconnect, Backoff) else None,
        )
        timeout: dict[str, Any] = {"open_timeout": self._options.config.open_timeout}
        self._transport_options = timeout | transport_options

    async def _dial(self) -> Transport:
        from reliable_ws.adapters.websockets import asyncio as websockets

        return await websockets.dial(self._uri, **self._transport_options)

    async def _open(self) -> Connection:
        transport = await self._dial()
        initiator = Initiator(self._options, self._dial if self._options.resumable else None)
        connection = Connection(initiator, self._options.on_event)
        await initiator.start(transport)
        return connection

    async def __aiter__(self) -> AsyncIterator[Connection]:
        """Begin a new session whenever the body of the loop comes to its end.

        Attempts that fail for a passing reason (no network, HTTP 5xx, a busy server) are
        repeated with back-off, and so are sessions that are lost soon after they began; what
        cannot get better is raised. A greeting that is cut off is a matter of the network; one
        that is not answered, only if the server has answered one before.
        """
        loop = asyncio.get_running_loop()
        backoff = self._options.backoff
        attempt = 0
        welcomed = False
        while True:
            try:
                connection = await self._open()
            except Exception as error:
                if not _may_pass(error, welcomed=welcomed):
                    raise
                await asyncio.sleep(backoff.delay(attempt, random.random()))  # noqa: S311
                attempt += 1
                continue
            welcomed = True
            began = loop.time()
            try:
                yield connection
            except GeneratorExit:  # the loop was left: nobody is there to be told
                try:
                    await connection.close()
                except DeliveryError as error:
                    logger.warning("a session ended with undelivered messages: %s", error.report)
                raise
            report = connection.report
            if report.ending is None:
                await connection.close()
            elif report.undelivered:  # the body has most likely been told
                logger.warning("a session ended with undelivered messages: %s", report)
            is_lost = report.ending is not None and report.ending.kind is not End.FINISHED
            if not is_lost or loop.time() - began >= backoff.stable:
                attempt = 0
            else:
                await asyncio.sleep(backoff.delay(attempt, random.random()))  # noqa: S311
                attempt += 1


def _may_pass(error: Exception, *, welcomed: bool) -> bool:
    """Whether the next attempt may succeed after one that failed like this."""
    from reliable_ws.adapters.websockets import asyncio as websockets

    if isinstance(error, ConnectionClosed):
        return may_resume(error.code)
    if isinstance(error, NotReliablePeer):
        return welcomed and error.__cause__ is not None
    return websockets.is_transient(error)
