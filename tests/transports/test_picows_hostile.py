"""What a hostile peer can do to a server of picows: docs/security.md says what bounds it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct

import pytest

from reliable_ws.adapters import picows_reader
from reliable_ws.adapters.picows import WRITE_LIMIT
from reliable_ws.adapters.picows_opener import GREETED, listen
from reliable_ws.transport import TransportClosed

UPGRADE = b"""GET / HTTP/1.1
Host: localhost
Upgrade: websocket
Connection: Upgrade
Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==
Sec-WebSocket-Version: 13

""".replace(b"\n", b"\r\n")
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MIB = 1024 * 1024


@pytest.fixture(autouse=True)
async def in_time():
    async with asyncio.timeout(20):
        yield


def frame(opcode, payload=b"", *, fin=True, announced=None):
    """Return a frame as a client sends it, whose mask is 0."""
    size = len(payload) if announced is None else announced
    first = 0x80 * fin | opcode
    if size < 126:
        header = struct.pack("!BB", first, 0x80 | size)
    elif size < 1 << 16:
        header = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        header = struct.pack("!BBQ", first, 0x80 | 127, size)
    return header + bytes(4) + payload


@contextlib.asynccontextmanager
async def attacked(**options):
    """A transport of a server, and the streams of a peer by hand."""
    arrived = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def handler(transport):
        arrived.set_result(transport)
        await over.wait()

    server = await listen(handler, "127.0.0.1", 0, **options)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    sock.connect(server.sockets[0].getsockname())
    reader, writer = await asyncio.open_connection(sock=sock)
    writer.write(UPGRADE)
    await reader.readuntil(b"\r\n\r\n")
    try:
        yield await arrived, reader, writer
    finally:
        over.set()
        writer.transport.abort()
        server.close()
        await server.wait_closed()


async def frame_from(reader):
    """Return the opcode and the payload of a short frame."""
    first, size = await reader.readexactly(2)
    return first & 0xF, await reader.readexactly(size)


async def closes(reader):
    """Return the codes of all close frames up to the end of the connection."""
    codes = []
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            opcode, payload = await frame_from(reader)
            assert opcode == CLOSE
            codes.append(int.from_bytes(payload[:2]))
    return codes


def lines(caplog):
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_of_pongs_that_are_not_read_only_the_last_one_is_kept():
    pings = 16_000  # 2 MiB
    async with attacked() as (ours, reader, writer):
        writer.transport.pause_reading()
        tcp = ours.websocket.underlying_transport
        tcp.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        for _ in range(pings // 100):
            writer.write(frame(PING, bytes(125)) * 100)
            await writer.drain()
        writer.write(frame(PING, b"last") + frame(BINARY, b"behind them"))
        assert await ours.recv() == b"behind them"
        assert tcp.get_write_buffer_size() < WRITE_LIMIT + 1000
        writer.transport.resume_reading()
        pongs = 0
        while (await frame_from(reader)) != (PONG, b"last"):
            pongs += 1
        assert pongs < pings


async def test_pings_before_a_reset_write_no_log_lines(caplog):
    async with attacked() as (ours, _reader, writer):
        pings = frame(PING) * 20_000
        writer.write(pings)
        linger = struct.pack("ii", 1, 0)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)  # the close is a reset
        writer.transport.abort()
        with pytest.raises(TransportClosed):
            await ours.recv()
    assert lines(caplog) == []


@pytest.mark.parametrize("aiofastnet", [True, False])
async def test_many_small_messages_take_several_turns_of_the_event_loop(aiofastnet, monkeypatch):
    monkeypatch.setattr(picows_reader, "LONGEST_STEP", 0)
    turns = 0
    in_turn = {}

    def count_turns():
        nonlocal turns
        turns += 1
        loop.call_soon(count_turns)

    async with attacked(use_aiofastnet=aiofastnet) as (ours, _reader, writer):
        loop = asyncio.get_running_loop()
        ours.push_to(lambda _message: in_turn.update({turns: in_turn.get(turns, 0) + 1}))
        # A large message first: picows has room for as much at once from then on.
        writer.write(frame(BINARY, bytes(MIB - 100)) + frame(BINARY) * 20_000)
        loop.call_soon(count_turns)
        while sum(in_turn.values()) < 20_001:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
    assert max(in_turn.values()) <= picows_reader.SLICE // len(frame(BINARY)) + 1


async def test_a_held_back_network_stays_so_in_the_next_turn(monkeypatch):
    monkeypatch.setattr(picows_reader, "LONGEST_STEP", 0)
    async with attacked(max_size=None) as (ours, _reader, writer):
        reading = ours.websocket.underlying_transport.is_reading
        sending = asyncio.create_task(writer.drain())
        writer.write(frame(BINARY, bytes(4 * MIB)) + frame(BINARY, bytes(4 * MIB)))
        while ours._waiting < MIB:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
            assert not reading()
        assert len(await ours.recv()) == len(await ours.recv()) == 4 * MIB
        assert reading()
        await sending


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (frame(TEXT, b"\xff"), 1007),
        (frame(CONTINUATION, b"x"), 1002),
        (frame(BINARY, fin=False) + frame(TEXT, b"x"), 1002),
        (frame(3), 1002),
        (frame(PING, bytes(126)), 1002),
        (frame(PING, fin=False), 1002),
        (frame(CLOSE, b"x"), 1002),
        (frame(CLOSE, b"\x03\xe8\xff"), 1007),
        (b"\x82\x01x", 1002),
        (frame(BINARY, announced=MIB + 1), 1009),
        (frame(BINARY, announced=1 << 62), 1009),
    ],
)
async def test_a_fault_ends_it_once_whatever_comes_behind_it(bad, code, caplog):
    async with attacked() as (ours, reader, writer):
        writer.write(frame(BINARY, b"before") + frame(PING) * 2)
        assert await ours.recv() == b"before"
        writer.write(bad)
        writer.write(bad * 1000 + frame(BINARY, b"behind") * 1000)
        with pytest.raises(TransportClosed):
            await ours.recv()
        ours.abort()
        assert await frame_from(reader) == await frame_from(reader) == (PONG, b"")
        assert await closes(reader) == [code]
    assert len(lines(caplog)) <= 1


async def test_after_a_fault_nothing_is_kept(caplog):
    async with attacked() as (ours, _reader, writer):
        writer.write(frame(BINARY, announced=1 << 40))
        with contextlib.suppress(ConnectionError):
            while not ours.websocket.is_disconnected:
                writer.write(bytes(MIB))
                await writer.drain()
        with pytest.raises(TransportClosed):
            await ours.recv()
        inner = ours._reader._inner
        assert len(inner.get_buffer(-1)) < MIB
    assert len(lines(caplog)) == 1


@pytest.mark.parametrize("code", [1000, 4999])
async def test_the_first_of_many_close_frames_counts(code, caplog):
    async with attacked() as (ours, reader, writer):
        writer.write(frame(CLOSE, code.to_bytes(2)) * 1000)
        with pytest.raises(TransportClosed) as end:
            await ours.recv()
        assert end.value.code == code
        ours.abort()
        # picows looks at the second frame before it hands over the first.
        assert set(await closes(reader)) <= {code, 1002}
    assert len(lines(caplog)) <= 1


@pytest.mark.parametrize(
    "first",
    [
        frame(BINARY, bytes(5000), announced=MIB),
        frame(BINARY, bytes(3000), fin=False) + frame(CONTINUATION, bytes(3000), fin=False),
        frame(BINARY, b"x", fin=False) + frame(CONTINUATION, b"x", fin=False) * 1000,
    ],
)
async def test_little_is_kept_of_a_first_message(first):
    async with attacked(**GREETED) as (ours, reader, writer):
        writer.write(first)
        with pytest.raises(TransportClosed):
            await ours.recv()
        assert await closes(reader) == [1009]


async def test_later_messages_may_be_large():
    async with attacked(**GREETED) as (ours, _reader, writer):
        for size in (4000, 100_000):
            writer.write(frame(BINARY, bytes(size)))
            assert len(await ours.recv()) == size


async def test_a_peer_that_closes_and_does_not_read_is_dropped(monkeypatch):
    monkeypatch.setattr("reliable_ws.adapters.picows.HANDSHAKE_TIMEOUT", 0.01)
    async with attacked() as (ours, _reader, writer):
        writer.transport.pause_reading()
        while ours.send_now(bytes(MIB)):
            pass
        writer.write(frame(CLOSE, b"\x03\xe8"))
        with pytest.raises(TransportClosed):
            await ours.recv()
        while not ours.websocket.is_disconnected:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
