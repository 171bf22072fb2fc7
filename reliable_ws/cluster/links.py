"""WebSockets from node to node through the engine, where nodes cannot reach each other.

Theory of operation. Each node listens to a channel of its own. What it gets there is for one of its
*carried links*: a link has a random id, and each end numbers what it publishes. The engine delivers
at most once, and drops what a slow listener does not fetch. So a number that is missing ends the
link at once: a link may die, and must not leave anything out. The session then goes on over the
next WebSocket, as always.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgpack
from redis.exceptions import RedisError

from reliable_ws.adapters.callback import CallbackTransport
from reliable_ws.driver.status import logger
from reliable_ws.protocol.frames import Code
from reliable_ws.transport import Transport

from .engine import Engine, EngineAway
from .ticket import BadTicket, Ticket, read_ticket, write_ticket
from .view import show

__all__ = ["CarriedLink", "CarriedLinks", "cancel_all"]

OPEN, DATA, CLOSE = 0, 1, 2
"""What is published: a ticket and the number of the node that asks, a message, or the end."""

OVERFLOW = 32 * 1024 * 1024
"""Bytes that wait at one end of a link until it is ended: honest peers keep to their windows."""

OPEN_PAUSE = 0.25
"""Seconds between two attempts to listen to the engine."""

CANCEL_AGAIN = 0.5
"""Seconds after which a task that was cancelled and goes on is cancelled again."""


class CarriedLink(CallbackTransport):
    """One end of a link that the engine carries."""

    def __init__(
        self,
        links: CarriedLinks,
        link_id: bytes,
        node: bytes,
        websocket: object,
        max_frame: int | None,
    ) -> None:
        super().__init__(websocket, "acceptor", max_frame)
        self._links = links
        self._id = link_id
        self._node = node
        self._sent = 0
        self._received = 0

    async def _send(self, data: bytes) -> None:
        await self.publish(DATA, data)

    async def publish(self, kind: int, *fields: Any) -> None:
        """Publish to the other end.

        Raises:
            ConnectionError: It does not listen any more, or the engine cannot be asked.
        """
        self._sent += 1
        await self._links.publish(self._node, self._id, self._sent, kind, *fields)

    async def _close(self, code: int, reason: str) -> None:
        await self.publish(CLOSE, code, reason)

    def _drop(self) -> None:
        """Tell the other end, as far as that is possible, and wait for nothing."""
        self._links.drop(self._id)
        if self._end is None and self._closer is None:
            loop = asyncio.get_running_loop()
            self._closer = loop.create_task(self._close_within_limits(Code.RESTART, ""))

    def arrived(self, number: int, kind: int, fields: list[Any]) -> None:
        """Take what the other end has published."""
        self._received += 1
        if number != self._received or self._waiting > OVERFLOW:
            self.abort()
        elif kind == DATA:
            self.feed(fields[0])
        elif kind == CLOSE:
            self.feed_end(fields[0], fields[1])
            self._links.drop(self._id)


class CarriedLinks:
    """The links of one node that the engine carries."""

    def __init__(
        self,
        engine: Engine,
        node: bytes,
        secret: Callable[[], bytes],
        serve: Callable[[Transport, Ticket], Awaitable[None]],
        wall: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._node = node
        self._secret = secret
        self._serve = serve
        self._wall = wall
        self._links: dict[bytes, CarriedLink] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._listening = asyncio.get_running_loop().create_task(self._listen())

    async def open(self, ticket: Ticket) -> CarriedLink:
        """Return an end of a new link to the node that a ticket is for.

        Raises:
            ConnectionError: It does not listen, or the engine cannot be asked.
        """
        link_id = secrets.token_bytes(12)
        link = CarriedLink(self, link_id, ticket.node, None, None)
        self._links[link_id] = link
        try:
            signed = write_ticket(ticket, self._secret(), self._wall())
            await link.publish(OPEN, self._node, signed)
        except BaseException:
            self.drop(link_id)
            raise
        return link

    async def publish(
        self, node: bytes, link_id: bytes, number: int, kind: int, *fields: Any
    ) -> None:
        """Publish to a node.

        Raises:
            ConnectionError: It does not listen, or the engine cannot be asked.
        """
        if not await self._engine.publish(node, msgpack.packb((link_id, number, kind, *fields))):
            raise ConnectionError("the other node does not listen to the engine")

    def drop(self, link_id: bytes) -> None:
        """Forget a link."""
        self._links.pop(link_id, None)

    async def _listen(self) -> None:
        """Hear what is published to this node, for as long as it takes part."""
        while True:
            try:
                heard = await self._engine.listen()
                try:
                    async for message in heard.listen():
                        self._take(message["data"])
                finally:
                    await heard.aclose()  # type: ignore[no-untyped-call]
            except (EngineAway, RedisError, OSError):
                pass
            self._end_all()  # what was published meanwhile is missing
            await asyncio.sleep(OPEN_PAUSE)

    def _take(self, data: bytes) -> None:
        link_id, number, kind, *fields = msgpack.unpackb(data)
        link = self._links.get(link_id)
        if link is not None:
            link.arrived(number, kind, fields)
        elif kind == OPEN and number == 1:
            self._open(link_id, *fields)

    def _open(self, link_id: bytes, node: bytes, signed: bytes) -> None:
        try:
            ticket = read_ticket(signed, self._secret(), self._node, self._wall())
        except BadTicket as error:
            logger.warning("cluster: a link through the engine was refused: %s", error)
            return
        link = CarriedLink(self, link_id, node, show(ticket.view), ticket.max_frame)
        link.arrived(1, OPEN, [])
        self._links[link_id] = link
        serving = asyncio.get_running_loop().create_task(self._serve_link(link, ticket))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _serve_link(self, link: CarriedLink, ticket: Ticket) -> None:
        try:
            await self._serve(link, ticket)
        finally:
            link.abort()

    def _end_all(self) -> None:
        for link in list(self._links.values()):
            link.feed_end()
            link.abort()

    async def close(self) -> None:
        """Listen no more, and end all links."""
        await cancel_all([self._listening])
        self._end_all()
        await cancel_all(self._serving)


async def cancel_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and return when they have ended.

    A client of an engine may lose a cancellation that comes in the middle of a step, and go on. So
    what has not ended after a while is cancelled again.
    """
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        ended, waiting = await asyncio.wait(waiting, timeout=CANCEL_AGAIN)
        for task in ended:
            if not task.cancelled():
                task.exception()  # nobody else asks for it
