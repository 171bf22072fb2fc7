"""``trace=``: every way in writes it, it has no payload, it is bounded, and it harms no session."""

from __future__ import annotations

import asyncio
import json

import pytest
import websockets.asyncio.client
import websockets.asyncio.server

import reliable_ws
import reliable_ws.sync
from reliable_ws import WireTrace, connect, serve, wrap
from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.frames import Ack
from reliable_ws.protocol.session import Session
from reliable_ws.testing import ChaosProxy
from reliable_ws.wire_trace import LinkTrace, wire_trace_of
from tests.aio.sockets import echo, local

from .support.asgi_server import running


def lines_of(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def events_of(path):
    head, *events = lines_of(path)
    assert (head["format"], head["version"]) == ("reliable_ws wire trace", 1)
    return events


def names_in(events, verb):
    return [f["frame"] for event in events if event["event"] == verb for f in event["frames"]]


def check_one_end(path, role, greets):
    """A whole conversation of one link, from its greeting to its close frame."""
    events = events_of(path)
    assert {event["role"] for event in events} == {role}
    assert {event["link"] for event in events} == {1}
    assert events[0]["event"] == "opens"
    assert [event["time"] for event in events] == sorted(event["time"] for event in events)
    assert names_in(events, "sends")[0] == greets
    assert names_in(events, "gets")[0] == {"Hello": "Welcome", "Welcome": "Hello"}[greets]
    assert "Messages" in names_in(events, "sends")
    assert "Messages" in names_in(events, "gets")
    assert events[-1]["event"] == "lost"
    assert b"a secret" not in path.read_bytes()
    return events


async def test_both_ends_write_what_travels(tmp_path):
    client, server_file = tmp_path / "client", tmp_path / "server"
    async with (
        serve(echo, "127.0.0.1", 0, trace=server_file) as server,
        local(server, trace=client) as conn,
    ):
        await conn.send("a secret")
        assert await conn.recv() == "a secret"
    there = check_one_end(server_file, "acceptor", "Welcome")
    here = check_one_end(client, "initiator", "Hello")
    assert here[0]["session"] == there[0]["session"] == conn.id.hex()
    assert (here[-1]["code"], there[-1]["code"]) == (1000, 1000)


async def test_a_cut_link_and_the_next_one(tmp_path):
    file = tmp_path / "trace"
    resumed = asyncio.Event()

    def on_event(event):
        if event.name == "resumed":
            resumed.set()

    async with (
        serve(echo, "127.0.0.1", 0) as server,
        ChaosProxy("127.0.0.1", server.port) as proxy,
        connect(proxy.uri(), trace=file, on_event=on_event) as conn,
    ):
        proxy.cut()
        await resumed.wait()
        await conn.send("x")
        await conn.recv()
    told = [(e["link"], e["event"]) for e in events_of(file) if e["event"] in ("opens", "lost")]
    assert told == [(1, "opens"), (1, "lost"), (2, "opens"), (2, "lost")]


async def test_an_asgi_application(tmp_path):
    file = tmp_path / "trace"
    app = reliable_ws.ASGIApp(echo, trace=file)
    async with running(app) as port, connect(f"ws://127.0.0.1:{port}/") as conn:
        await conn.send("a secret")
        await conn.recv()
    check_one_end(file, "acceptor", "Welcome")


async def test_wrapped_websockets(tmp_path):
    client, server_file = tmp_path / "client", tmp_path / "server"

    async def handler(websocket):
        async with wrap(websocket, trace=server_file) as conn:
            await echo(conn)

    async with websockets.asyncio.server.serve(handler, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with (
            websockets.asyncio.client.connect(f"ws://127.0.0.1:{port}") as websocket,
            wrap(websocket, trace=client) as conn,
        ):
            await conn.send("a secret")
            await conn.recv()
    check_one_end(client, "initiator", "Hello")
    check_one_end(server_file, "acceptor", "Welcome")


def test_threads(tmp_path):
    client, server_file = tmp_path / "client", tmp_path / "server"

    def handler(conn):
        for message in conn:
            conn.send(message)

    with (
        reliable_ws.sync.serve(handler, "127.0.0.1", 0, trace=server_file) as server,
        reliable_ws.sync.connect(f"ws://127.0.0.1:{server.port}", trace=client) as conn,
    ):
        conn.send("a secret")
        assert conn.recv(timeout=10) == "a secret"
    check_one_end(client, "initiator", "Hello")
    check_one_end(server_file, "acceptor", "Welcome")


# -- the file ------------------------------------------------------------------------------------


def link_trace(wire):
    return LinkTrace(wire, Session("initiator", bytes(16), bytes(32), 0.0), lambda: 0.0)


def test_a_file_that_cannot_be_written_is_refused_at_the_call(tmp_path):
    with pytest.raises(FileNotFoundError):
        connect("ws://127.0.0.1:1", trace=tmp_path / "absent" / "trace")
    with pytest.raises(TypeError, match="trace= must be the path of a file, or a"):
        connect("ws://127.0.0.1:1", trace=3)
    with pytest.raises(ValueError, match="trace= would have no effect"):
        serve(echo, "127.0.0.1", 0, sessions=reliable_ws.Sessions(), trace=tmp_path / "trace")


def test_a_trace_with_too_little_room_is_refused(tmp_path):
    with pytest.raises(ValueError, match="max_bytes= must be at least 65536, not 100"):
        WireTrace(tmp_path / "trace", max_bytes=100)
    assert not (tmp_path / "trace").exists()


def test_the_newest_lines_stay_within_the_limit(tmp_path):
    file = tmp_path / "trace"
    wire = WireTrace(file, max_bytes=64 * 1024)
    trace = link_trace(wire)
    for number in range(2000):
        trace("gets", encode([Ack(number, number)]))
    older, newer = tmp_path / "trace.1", file
    assert older.stat().st_size + newer.stat().st_size <= 64 * 1024
    numbers = [e["frames"][0]["received"] for f in (older, newer) for e in events_of(f)]
    assert numbers == list(range(numbers[0], 2000))


def test_two_options_with_the_same_path_share_one_file(tmp_path):
    first = wire_trace_of(tmp_path / "trace")
    assert wire_trace_of(str(tmp_path / "trace")) is first
    assert repr(first).endswith("trace', max_bytes=67108864)")
    assert wire_trace_of(first) is first


def test_a_later_program_appends(tmp_path):
    for _ in range(2):
        link_trace(WireTrace(tmp_path / "trace")).lost(None, "gone")
    assert [line.get("event") for line in lines_of(tmp_path / "trace")] == [
        None,
        "opens",
        "lost",
    ] * 2


def test_what_cannot_be_written_ends_the_trace_and_nothing_else(tmp_path, caplog):
    file = tmp_path / "trace"
    trace = link_trace(WireTrace(file, max_bytes=64 * 1024))
    file.unlink()
    file.with_name("trace.1").mkdir()  # so that the file cannot be replaced by it
    for number in range(2000):
        trace("gets", encode([Ack(number, number)]))
    (line,) = caplog.messages
    assert line.startswith(f"the trace {file} ends here: ")
