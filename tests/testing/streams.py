"""A server, and connections to it through a proxy, for the tests of the proxy."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest

from reliable_ws.testing import ChaosProxy

HOST = "127.0.0.1"


class Stream(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def recv(self, count: int) -> bytes:
        return await self.reader.readexactly(count)

    async def end(self) -> str:
        """How the connection ends, seen from here: "eof" or "reset"."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionResetError:
            return "reset"
        return "eof"


class Network:
    """A server, and connections to it through a proxy, all closed in the end."""

    def __init__(self) -> None:
        self.accepted: asyncio.Queue[Stream] = asyncio.Queue()
        self.streams: list[Stream] = []
        self.port = 0

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.streams.append(Stream(reader, writer))
        self.accepted.put_nowait(self.streams[-1])

    async def open(self, proxy: ChaosProxy) -> Stream:
        self.streams.append(Stream(*await asyncio.open_connection(HOST, proxy.port)))
        return self.streams[-1]

    async def pair(self, proxy: ChaosProxy) -> tuple[Stream, Stream]:
        """The two ends of one connection that has carried a byte each way."""
        client = await self.open(proxy)
        server = await self.accepted.get()
        await round_trip(client, server)
        return client, server


async def round_trip(client: Stream, server: Stream) -> None:
    await client.send(b">")
    assert await server.recv(1) == b">"
    await server.send(b"<")
    assert await client.recv(1) == b"<"


async def is_turned_away(network: Network, proxy: ChaosProxy) -> None:
    """The reset may come before or after connect() has returned."""
    with pytest.raises(ConnectionResetError):
        await (await network.open(proxy)).reader.read(1)


def our_tasks() -> list[asyncio.Task[Any]]:
    ours = ("ChaosProxy.", "Relay.", "finish_sending")
    return [t for t in asyncio.all_tasks() if str(t.get_coro()).split()[2].startswith(ours)]
