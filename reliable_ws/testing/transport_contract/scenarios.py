"""Sessions over a transport, and over the ways in which it breaks: the same for both sides."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar, ParamSpec
from urllib.parse import urlsplit

import websockets.asyncio.client as plain

from reliable_ws.adapters.websockets.asyncio import HAS_PROXY
from reliable_ws.aio.connection import Connection
from reliable_ws.aio.wrap import wrap
from reliable_ws.backoff import Backoff
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.testing.proxy import ChaosProxy
from reliable_ws.transport import Transport

from .endpoints import BOASTED, BRIEF, SESSION, Endpoints, boasting

__all__ = [
    "BOASTFUL",
    "CLIENT_CONFIG",
    "SCENARIO_TIMEOUT",
    "Served",
    "SessionScenarios",
    "Traits",
    "open_plain",
    "scenario",
]

SCENARIO_TIMEOUT = 30.0
"""No scenario may take longer."""

CLIENT_CONFIG = Config(open_timeout=5.0, idle_timeout=1.0)
"""The client's: it notices a silent network within a second."""

BOASTFUL = Config(open_timeout=5.0, idle_timeout=1.0, max_frame=BOASTED)
"""For a transport that is said to take more than it does."""

KIB, MIB = 1024, 1024 * 1024

P = ParamSpec("P")


@dataclass(frozen=True)
class Served:
    """A running server."""

    uri: str
    "Without a path: ``ws://127.0.0.1:1234``."
    shutdown: Callable[[], Coroutine[Any, Any, list[str]]]
    "End it as its operator would, draining: returns one line for each session that ended so."


class Traits:
    """What a library can do, declared by class attributes; what is denied is checked too."""

    takes_text: ClassVar[bool] = True
    "A text message arrives as ``str``. Denied: as whatever, but never as ``bytes``."
    takes_empty: ClassVar[bool] = True
    "An empty message arrives. Denied: it is dropped. (The protocol sends none.)"
    keeps_unread: ClassVar[bool] = True
    "What arrived before the peer closed is still delivered. Denied: some or all of it is lost."
    tells_end: ClassVar[bool] = True
    "The end is a ``TransportClosed``. Denied: the endpoint is cancelled instead (servers only)."
    tells_code: ClassVar[bool] = True
    "``TransportClosed`` has the code of the peer's close frame. Denied: ``None``."
    tells_reason: ClassVar[bool] = True
    "``TransportClosed`` has the reason too. Denied: it is empty."
    sends_code: ClassVar[bool] = True
    "The code of ``close(code, reason)`` reaches the peer. Denied: some other does, or none."
    sends_reason: ClassVar[bool] = True
    "The reason of ``close(code, reason)`` reaches the peer. Denied: none does."
    max_frame: ClassVar[int] = MIB
    "The largest message that the library takes as it is set up here, in bytes."
    refuses_larger: ClassVar[bool] = True
    "A larger one ends the WebSocket. Denied: it arrives; the library has no limit."
    negotiates: ClassVar[bool] = True
    "The subprotocol ``reliable-ws.v1`` is selected where it is offered."


def scenario(test: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """Give up a scenario that waits where it should not."""

    @functools.wraps(test)
    async def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async with asyncio.timeout(SCENARIO_TIMEOUT):
            await test(*args, **kwargs)

    return run


async def open_plain(uri: str, **options: Any) -> plain.ClientConnection:
    """Open a WebSocket with the library websockets."""
    options = {"subprotocols": [SUBPROTOCOL], "max_size": None} | options
    if HAS_PROXY:
        options["proxy"] = None
    return await plain.connect(uri, compression=None, ping_interval=None, **options)


class SessionScenarios(Traits):
    """Everything that is promised of a session, over the transport under test."""

    def serving(self, endpoints: Endpoints) -> contextlib.AbstractAsyncContextManager[Served]:
        """Run a server that offers ``endpoints``."""
        raise NotImplementedError

    async def opened(self, uri: str) -> Any:
        """Open a WebSocket, offering the subprotocol; return the library's own object."""
        return await open_plain(uri)

    @contextlib.asynccontextmanager
    async def proxied(self) -> AsyncGenerator[tuple[Served, ChaosProxy]]:
        """A server behind a network that can break."""
        async with self.serving(Endpoints()) as served:
            where = urlsplit(served.uri)
            assert where.hostname is not None
            assert where.port is not None
            async with ChaosProxy(where.hostname, where.port) as proxy:
                yield served, proxy

    async def connected(
        self,
        where: ChaosProxy | Served,
        path: str = SESSION,
        *,
        config: Config = CLIENT_CONFIG,
        boasted: int | None = None,
    ) -> Connection:
        """Open a session that reconnects by itself."""
        uri = where.uri + path if isinstance(where, Served) else where.uri(path)

        async def another() -> Transport:
            return boasting(await self.opened(uri), boasted)

        return await wrap(
            await another(),
            role="initiator",
            config=config,
            reopen=another,
            reconnect=Backoff(initial=0.02, longest=0.2),
        )

    # ------------------------------------------------------------------ an unbroken network

    @scenario
    async def test_messages_of_every_kind_arrive_as_sent(self) -> None:
        """Both ways: text, bytes, values; empty ones too."""
        messages = ["text \u2603", "", b"bytes\x00\xff", b"", 17, None, {"a": [1, 2.5, b"x"]}]
        async with self.proxied() as (_, proxy), await self.connected(proxy) as conn:
            await conn.send("echo")
            for message in messages:
                await conn.send(message)
            received = [await conn.recv() for _ in messages]
            assert received == messages
            assert list(map(type, received)) == list(map(type, messages))

    @scenario
    async def test_both_sides_send_at_the_same_time(self) -> None:
        """Two thousand messages each way, in order, each once."""
        async with self.proxied() as (_, proxy), await self.connected(proxy) as conn:
            await conn.send("echo")
            received: list[Any] = []

            async def read() -> None:
                async for message in conn:
                    received.append(message)
                    if len(received) == 2000:
                        return

            async with asyncio.TaskGroup() as group:
                group.create_task(read())
                for number in range(2000):
                    await conn.send([number, b"x" * (number % 300)])
                    if number % 100 == 0:
                        await asyncio.sleep(0)
            assert received == [[number, b"x" * (number % 300)] for number in range(2000)]

    @scenario
    async def test_a_message_far_above_the_limit_of_the_transport_arrives(self) -> None:
        """It travels in parts, whatever one WebSocket message may weigh (PART-1)."""
        large = bytes(range(256)) * (4 * KIB)  # 1 MiB
        large *= max(2, min(self.max_frame, 2 * MIB) // MIB * 2)
        async with self.proxied() as (_, proxy), await self.connected(proxy) as conn:
            await conn.send("echo")
            await conn.send(large)
            assert await conn.recv() == large
            assert proxy.connections == 1

    @scenario
    async def test_the_last_messages_of_the_client_are_confirmed_before_the_close(self) -> None:
        """``close()`` waits for a reader that has not begun to read."""
        async with self.proxied() as (_, proxy), await self.connected(proxy) as conn:
            await conn.send("hold")
            for number in range(50):
                await conn.send(number)
            await conn.request("release")
            await conn.finish()
            assert await conn.recv() == 50
        assert (conn.report.sent, conn.report.confirmed) == (51, 51)

    @scenario
    async def test_the_last_messages_of_the_server_survive_its_close(self) -> None:
        """The server sends and returns at once; the client has read nothing yet."""
        async with self.proxied() as (_, proxy), await self.connected(proxy) as conn:
            await conn.send(["burst", 50, 1000])
            await conn.flush()
            await _arrived(conn, 50)
            received = [message async for message in conn]
            assert received == [[number, b"x" * 1000] for number in range(50)]

    @scenario
    async def test_a_server_that_does_not_read_holds_up_its_client(self) -> None:
        """What waits is bounded at the sender, and nothing of it is lost."""
        config = Config(open_timeout=5.0, outbox_messages=100)
        async with self.proxied() as (_, proxy), await self.connected(proxy, config=config) as conn:
            await conn.send("hold")
            for number in range(99):
                await conn.send(number)
            sending = asyncio.create_task(conn.send("one more"))
            await conn.request("runs")
            sent = [sending, asyncio.create_task(conn.send("and one"))]
            await conn.request("runs")
            assert not sent[1].done()
            await conn.request("release")
            await asyncio.gather(*sent)
            await conn.finish()
            assert await conn.recv() == 101

    @scenario
    async def test_a_client_that_does_not_read_holds_up_its_server(self) -> None:
        """The server's outbox is bounded by what the client lets be in flight."""
        config = Config(open_timeout=5.0, window_bytes=64 * KIB)
        async with self.proxied() as (_, proxy), await self.connected(proxy, config=config) as conn:
            await conn.send(["flood", 1000, 10_000])
            await conn.flush()
            sent, waiting = await _unmoved(conn)
            assert sent < 1000
            assert waiting <= 4 * MIB + 10_100
            for number in range(1000):
                assert await conn.recv() == [number, b"x" * 10_000]

    @scenario
    async def test_the_subprotocol_is_selected(self) -> None:
        """Where it is offered; a peer that offers none is served too."""
        async with self.proxied() as (_, proxy):
            websocket = await open_plain(proxy.uri(SESSION))
            assert websocket.subprotocol == (SUBPROTOCOL if self.negotiates else None)
            async with wrap(websocket) as conn:
                assert await conn.request("runs") == 1
            async with wrap(await open_plain(proxy.uri(SESSION), subprotocols=None)) as conn:
                assert await conn.request("runs") == 1

    # ------------------------------------------------------------------ a broken network

    @scenario
    async def test_a_reset_is_survived_again_and_again(self) -> None:
        """Everything arrives once and in order; the handler runs once."""
        async with self.proxied() as (_, proxy), await self.connected(proxy) as conn:
            await conn.send("echo")
            received: list[Any] = []
            for round_ in range(3):
                for number in range(200):
                    await conn.send([round_, number])
                proxy.reset()
                received += [await conn.recv() for _ in range(200)]
            assert received == [[round_, number] for round_ in range(3) for number in range(200)]
            assert await conn.request("runs") == 1
            # The server may have resumed on a WebSocket that died before its greeting arrived.
            assert await conn.request("resumes") >= conn.stats.resumes >= 1

    @scenario
    async def test_a_network_that_falls_silent_is_left_for_another(self) -> None:
        """Nothing says that it is dead; ``idle_timeout`` does."""
        async with self.proxied() as (_, proxy), await self.connected(proxy) as conn:
            await conn.send("echo")
            await conn.send("before")
            assert await conn.recv() == "before"
            proxy.stall()
            await conn.send("meanwhile")
            assert await conn.recv() == "meanwhile"
            assert await conn.request("runs") == 1
            assert conn.stats.resumes == 1

    @scenario
    async def test_a_client_that_vanishes_is_reported_to_the_handler(self) -> None:
        """Its session ends there when it has been away for ``session_ttl``."""
        async with self.proxied() as (served, proxy), await self.connected(served, BRIEF) as other:
            conn = await self.connected(proxy, BRIEF)
            await conn.send("echo")
            await conn.flush()
            proxy.refuse()
            proxy.reset()
            assert await other.request("ended", [conn.id.hex()]) == "SessionLost"
            proxy.accept()
            await conn.wait_closed()
            assert str(conn.report).startswith("1 sent, 1 confirmed; refused (4410")

    @scenario
    async def test_a_cancelled_endpoint_ends_a_websocket_and_no_session(self) -> None:
        """A framework may cancel the task in which it runs the endpoint."""
        async with self.proxied() as (_, proxy), await self.connected(proxy) as conn:
            await conn.send("echo")
            assert await conn.request("cancel_endpoints") == 1
            await conn.send("after")
            assert await conn.recv() == "after"
            assert await conn.request("runs") == 1
            assert conn.stats.resumes == 1

    @scenario
    async def test_a_shutdown_drains_every_session(self) -> None:
        """Everything sent is confirmed, each peer is told, and there is one report for each."""
        async with self.proxied() as (served, proxy):
            conns = [await self.connected(proxy) for _ in range(3)]
            for conn in conns:
                await conn.send("echo")
                await conn.send("last words")
                await conn.flush()
            down = asyncio.create_task(served.shutdown())
            for conn in conns:
                assert [message async for message in conn] == ["last words"]
                await conn.close()
                assert (conn.close_code, conn.report.confirmed) == (1001, 2)
            reports = await down
            assert len(reports) == len(conns)
            for report in reports:
                assert report.startswith("1 sent, 1 confirmed; finished (")


async def _arrived(conn: Connection, count: int) -> None:
    """Return when so many messages wait to be taken."""
    while conn.stats.received < count:  # noqa: ASYNC110 - nobody tells what is not taken
        await asyncio.sleep(0.001)


async def _unmoved(conn: Connection) -> list[int]:
    """Return what the server has sent once that grows no more."""
    before: list[int] = []
    while (now := await conn.request("outbox")) != before:
        before = now
        await asyncio.sleep(0.1)
    return before
