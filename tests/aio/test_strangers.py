"""What a server of either kind keeps of peers that have not greeted."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

import reliable_ws
import reliable_ws.sync
from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.frames import Code, Messages, Refuse, Welcome
from tests.core.helpers import hello

pytestmark = pytest.mark.transport

KIB = 1024
OPTIONS = {"drain_timeout": 0, "config": reliable_ws.Config(close_cancelled_timeout=0.05)}
OPENING = (
    b"GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def frame(data: bytes, *, first: int = 0x82, length: int | None = None) -> bytes:
    """A binary frame of a client, or the beginning of one; its mask is zeros."""
    length = len(data) if length is None else length
    return bytes((first, 0xFF)) + length.to_bytes(8, "big") + bytes(4) + data


async def take(conn):
    async for _message in conn:
        pass


def take_in_a_thread(conn):
    for _message in conn:
        pass


@contextlib.asynccontextmanager
async def raw(kind: str):
    """A server, and a socket to it with a WebSocket open."""
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(60))
        if kind == "asyncio":
            server = await reliable_ws.serve(take, "127.0.0.1", 0, **OPTIONS)
            stack.push_async_callback(server.close)
        else:
            server = reliable_ws.sync.serve(take_in_a_thread, "127.0.0.1", 0, **OPTIONS)
            stack.push_async_callback(asyncio.to_thread, server.close)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        stack.callback(writer.close)
        writer.write(OPENING)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        yield reader, writer


async def read_frame(reader) -> tuple[int, bytes]:
    """The opcode of a frame of the server, and what is in it."""
    first, length = await reader.readexactly(2)
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2), "big")
    return first & 15, await reader.readexactly(length)


BEGINNINGS = {
    "a message that does not end": frame(bytes(8 * KIB), length=1000 * KIB),
    "fragments that do not end": frame(bytes(3 * KIB), first=0x02)
    + frame(bytes(3 * KIB), first=0x00),
}


@pytest.mark.parametrize("kind", ["asyncio", "threads"])
@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
async def test_no_stranger_has_more_kept_than_a_greeting(kind, beginning):
    """FRAME-17: not while it is incomplete, either."""
    async with raw(kind) as (reader, writer):
        writer.write(beginning)
        opcode, content = await read_frame(reader)
        assert (opcode, int.from_bytes(content[:2], "big")) == (8, 1009)


@pytest.mark.parametrize("kind", ["asyncio", "threads"])
async def test_a_first_message_that_came_whole_is_refused(kind):
    """FRAME-17"""
    async with raw(kind) as (reader, writer):
        writer.write(frame(bytes(4097)))
        opcode, content = await read_frame(reader)
        [refuse] = decode(content, 4096)
        assert opcode == 2
        assert isinstance(refuse, Refuse)
        assert refuse.code == Code.VIOLATION


@pytest.mark.parametrize("kind", ["asyncio", "threads"])
async def test_what_comes_behind_a_greeting_may_be_large(kind):
    """In one piece, in fragments, and in the same packet."""
    large = encode([Messages(1, [bytes(500 * KIB)])])
    more = encode([Messages(2, [bytes(500 * KIB)])])
    async with raw(kind) as (reader, writer):
        greeting = encode([hello()])
        writer.write(frame(greeting[:50], first=0x02) + frame(greeting[50:], first=0x80))
        [welcome] = decode((await read_frame(reader))[1], 4096)
        assert isinstance(welcome, Welcome)
        writer.write(frame(large) + frame(more[:9000], first=0x02) + frame(more[9000:], first=0x80))
        acked = 0
        while acked < 2:
            [ack] = decode((await read_frame(reader))[1], 4096)
            acked = ack.confirmed
