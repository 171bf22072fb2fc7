"""The server side of a library: its bare transports against a plain client, then sessions."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from .endpoints import BOAST, RAW, Endpoints
from .scenarios import BOASTFUL, Served, SessionScenarios, open_plain, scenario

__all__ = ["ServerContract"]

LATE = [["recv", "TransportClosed"], ["send", "TransportClosed"]]
"""What a transport does after its end."""


class ServerContract(SessionScenarios):
    """Subclass it and override :meth:`serving`; see the package."""

    @contextlib.asynccontextmanager
    async def _raw(self) -> AsyncGenerator[_Raw]:
        async with self.serving(Endpoints()) as served, contextlib.AsyncExitStack() as stack:
            yield _Raw(served, stack)

    @property
    def _end(self) -> str:
        return "end" if self.tells_end else "cancelled"

    # ------------------------------------------------------------------ bare transports

    @scenario
    async def test_text_and_bytes_arrive_as_sent(self) -> None:
        """And what the transport sends arrives as bytes."""
        async with self._raw() as raw:
            client = await raw.told("echo")
            await client.send(b"\x00\xff" * 100)
            assert await client.recv() == b"bytes:" + b"\x00\xff" * 100
            if self.takes_empty:
                await client.send(b"")
                assert await client.recv() == b"bytes:"
            await client.send("text \u2603")
            if self.takes_text:
                assert await client.recv() == b"text:text \xe2\x98\x83"
            else:
                assert not str(await _reply(client)).startswith("b'bytes:")

    @scenario
    async def test_a_message_of_the_largest_size_passes_both_ways(self) -> None:
        """The limit that the library is declared to have."""
        size = min(self.max_frame, 4 * 1024 * 1024)
        async with self._raw() as raw:
            client = await raw.told("size", size=size)
            assert len(await client.recv()) == size
            await client.send(b"y" * size)
            assert await client.recv() == str(size).encode()

    @scenario
    async def test_what_was_unread_at_the_close_comes_before_the_end(self) -> None:
        """And the end has the code and the reason, as far as the library tells."""
        async with self._raw() as raw:
            client = await raw.told("log", name="close", hold=True)
            assert await client.recv() == b"ready"
            for number in range(10):
                await client.send(b"%d" % number)
            closing = asyncio.create_task(client.close(4002, "bye"))
            await raw.says("release", name="close")
            log = await raw.log("close")
            await closing
            sent = [["bytes", str(number)] for number in range(10)]
            received, end = log[:-3], log[-3]
            assert received == (sent if self.keeps_unread else sent[: len(received)])
            code = 4002 if self.tells_code else None
            assert end == [self._end, code, "bye" if self.tells_reason else ""]
            assert log[-2:] == LATE

    @scenario
    async def test_a_reset_is_the_end_without_a_code(self) -> None:
        """Sticky: every verb says so from then on, although the library may not."""
        async with self._raw() as raw:
            client = await raw.told("log", name="reset")
            assert await client.recv() == b"ready"
            client.transport.abort()
            log = await raw.log("reset")
            assert log[-3][0] == self._end
            assert log[-3][1] in (None, 1005, 1006)
            assert log[-2:] == LATE

    @scenario
    async def test_close_is_idempotent_and_says_its_code(self) -> None:
        """Behind everything that was sent before it."""
        async with self._raw() as raw:
            client = await raw.told("close", code=4003, reason="enough")
            assert await client.recv() == b"last words"
            code, reason = await _end(client)
            assert (code == 4003) is self.sends_code
            assert reason == ("enough" if self.sends_reason else "")

    @scenario
    async def test_abort_is_the_end_at_once(self) -> None:
        """Nothing is sent or received behind it."""
        async with self._raw() as raw:
            client = await raw.told("abort")
            await _end(client)
            assert await raw.log("abort") == [
                ["send", "TransportClosed"],
                ["recv", "TransportClosed"],
            ]

    # ------------------------------------------------------------------ sessions

    @scenario
    async def test_a_limit_that_nobody_told_is_found(self) -> None:
        """The transport refuses what is larger; that never becomes a loop (PART-6, RESUME-8)."""
        large = b"x" * (self.max_frame + self.max_frame // 4)
        async with self.proxied() as (_, proxy):
            async with await self.connected(proxy, BOAST, config=BOASTFUL) as conn:
                await conn.send("hold")
                await conn.request("release")
                await conn.send(large)
                await conn.finish()
                assert await conn.recv() == 1
            assert conn.report.confirmed == 2
            assert (2 <= proxy.connections <= 12) is self.refuses_larger


class _Raw:
    """Talks to the bare endpoint."""

    def __init__(self, served: Served, stack: contextlib.AsyncExitStack) -> None:
        self._served = served
        self._stack = stack

    async def told(self, do: str, **arguments: Any) -> ClientConnection:
        """Open a WebSocket and tell the other end what to do."""
        client = await open_plain(self._served.uri + RAW)
        self._stack.callback(client.transport.abort)
        await client.send(json.dumps({"do": do, **arguments}).encode())
        return client

    async def says(self, do: str, **arguments: Any) -> bytes:
        """Return what the endpoint answers."""
        client = await self.told(do, **arguments)
        answer = await client.recv()
        assert isinstance(answer, bytes)
        await client.close()
        return answer

    async def log(self, name: str) -> list[list[Any]]:
        """Return a log once its WebSocket has ended."""
        log: list[list[Any]] = json.loads(await self.says("show", name=name))
        return log


async def _reply(client: ClientConnection) -> bytes | str | None:
    """Return the next message; ``None`` if the connection ends instead."""
    try:
        return await client.recv()
    except ConnectionClosed:
        return None


async def _end(client: ClientConnection) -> tuple[int | None, str]:
    """Receive until the end; return code and reason of the peer's close frame."""
    while await _reply(client) is not None:
        pass
    close = client.protocol.close_rcvd
    return (close.code, close.reason) if close is not None else (None, "")
