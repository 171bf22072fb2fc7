"""The client side of a library: its bare transports against a plain server, then sessions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from reliable_ws.adapters import adapt
from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.transport import Transport, TransportClosed

from .endpoints import BOAST, BOASTED, Endpoints
from .scenarios import BOASTFUL, Served, SessionScenarios, scenario

__all__ = ["ClientContract"]


class ClientContract(SessionScenarios):
    """Subclass it and override :meth:`opened`; see the package."""

    @contextlib.asynccontextmanager
    async def serving(self, endpoints: Endpoints) -> AsyncGenerator[Served]:
        """Run a server of the library websockets."""
        paths = endpoints.paths

        async def at_path(ws: ServerConnection) -> None:
            assert ws.request is not None
            await paths[urlsplit(ws.request.path).path](ws)

        async with _serving(at_path) as uri:
            yield Served(uri, endpoints.drain)

    @contextlib.asynccontextmanager
    async def _linked(self) -> AsyncGenerator[tuple[Transport, ServerConnection]]:
        """One WebSocket: the transport under test, and the plain connection at its other end."""
        accepted: asyncio.Future[ServerConnection] = asyncio.get_running_loop().create_future()

        async def accept(ws: ServerConnection) -> None:
            accepted.set_result(ws)
            await ws.wait_closed()

        async with _serving(accept) as uri:
            ours: Transport = adapt(await self.opened(uri))
            theirs = await accepted
            try:
                yield ours, theirs
            finally:
                ours.abort()
                theirs.transport.abort()

    # ------------------------------------------------------------------ bare transports

    @scenario
    async def test_text_and_bytes_arrive_as_sent(self) -> None:
        """And what the transport sends arrives as bytes."""
        async with self._linked() as (ours, theirs):
            await ours.send(b"\x00\xff" * 100)
            assert await theirs.recv() == b"\x00\xff" * 100
            sent: list[bytes | str] = [b"\x00\xff" * 100, *([b""] if self.takes_empty else [])]
            sent += ["text \u2603"] if self.takes_text else []
            for message in sent:
                await theirs.send(message)
            received = [await ours.recv() for _ in sent]
            assert received == sent
            assert list(map(type, received)) == list(map(type, sent))

    @scenario
    async def test_a_message_of_the_largest_size_passes_both_ways(self) -> None:
        """The limit that the library is declared to have."""
        size = min(self.max_frame, 4 * 1024 * 1024)
        async with self._linked() as (ours, theirs):
            for sender, receiver in ((ours, theirs), (theirs, ours)):
                async with asyncio.TaskGroup() as group:
                    group.create_task(sender.send(b"x" * size))
                    received = group.create_task(receiver.recv())
                assert received.result() == b"x" * size

    @scenario
    async def test_what_was_unread_at_the_close_comes_before_the_end(self) -> None:
        """And the end has the code and the reason, as far as the library tells."""
        async with self._linked() as (ours, theirs):
            sent = [b"%d" % number for number in range(10)]
            for message in sent:
                await theirs.send(message)
            closing = asyncio.create_task(theirs.close(4002, "bye"))
            received, end = await _drained(ours)
            await closing
            assert received == (sent if self.keeps_unread else sent[: len(received)])
            assert end.code == (4002 if self.tells_code else None)
            assert end.reason == ("bye" if self.tells_reason else "")
            await _says_that_it_is_over(ours)

    @scenario
    async def test_a_reset_is_the_end_without_a_code(self) -> None:
        """Sticky: every verb says so from then on, although the library may not."""
        async with self._linked() as (ours, theirs):
            theirs.transport.abort()
            _, end = await _drained(ours)
            assert end.code in (None, 1005, 1006)
            await _says_that_it_is_over(ours)

    @scenario
    async def test_close_is_idempotent_and_says_its_code(self) -> None:
        """Behind everything that was sent before it, while a receive waits."""
        async with self._linked() as (ours, theirs):
            receiving = asyncio.create_task(_drained(ours))
            await ours.send(b"last words")
            closing = asyncio.gather(*(ours.close(4003, "enough") for _ in range(3)))
            assert await theirs.recv() == b"last words"
            await theirs.wait_closed()
            await closing
            received, _ = await receiving
            assert received == []
            close = theirs.protocol.close_rcvd
            assert ((close and close.code) == 4003) is self.sends_code
            assert (close.reason if close else "") == ("enough" if self.sends_reason else "")
            await _says_that_it_is_over(ours)

    @scenario
    async def test_abort_is_the_end_at_once(self) -> None:
        """A receive that waits ends with it."""
        async with self._linked() as (ours, theirs):
            receiving = asyncio.create_task(_drained(ours))
            await asyncio.sleep(0)
            ours.abort()
            assert (await receiving)[0] == []
            await theirs.wait_closed()
            await _says_that_it_is_over(ours)

    # ------------------------------------------------------------------ sessions

    @scenario
    async def test_a_limit_that_nobody_told_is_found(self) -> None:
        """The transport refuses what is larger; that never becomes a loop (PART-6, RESUME-8)."""
        size = self.max_frame + self.max_frame // 4
        async with (
            self.proxied() as (_, proxy),
            await self.connected(proxy, BOAST, config=BOASTFUL, boasted=BOASTED) as conn,
        ):
            await conn.send(["large", size])
            assert await conn.recv() == b"x" * size
            assert (2 <= proxy.connections <= 12) is self.refuses_larger


@contextlib.asynccontextmanager
async def _serving(handler: Any) -> AsyncGenerator[str]:
    def select(_: ServerConnection, offered: Any) -> Subprotocol | None:
        return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None

    async with serve(
        handler,
        "127.0.0.1",
        0,
        max_size=None,
        compression=None,
        ping_interval=None,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        select_subprotocol=select,
    ) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


async def _drained(transport: Transport) -> tuple[list[bytes | str], TransportClosed]:
    """Receive until the end; return what came, and the end."""
    received: list[bytes | str] = []
    while True:
        try:
            received.append(await transport.recv())
        except TransportClosed as end:
            return received, end


async def _says_that_it_is_over(transport: Transport) -> None:
    for verb in (transport.recv, lambda: transport.send(b"late"), lambda: _now(transport)):
        for _ in range(2):
            try:
                await verb()
            except TransportClosed:
                continue
            raise AssertionError("a transport whose end was told goes on")
    await transport.close()
    transport.abort()


async def _now(transport: Transport) -> None:
    if not transport.send_now(b"late"):
        raise TransportClosed
