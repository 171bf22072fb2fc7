"""What is peculiar to websockets: taking over, closing codes, and each release's ways."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import textwrap
import tracemalloc
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.sync.client import ClientConnection as Sync
from websockets.uri import parse_uri

from reliable_ws import adapters
from reliable_ws.adapters.websockets import asyncio as module
from reliable_ws.adapters.websockets.asyncio import adapt
from reliable_ws.transport import SelfClosingTransport, TransportClosed
from tests.adapters.links import CHUNK, LIBRARY_KINDS, drain, linked, listening, raw_connect, turns

pytestmark = pytest.mark.transport

ROOT = Path(__file__).resolve().parents[2]


# Taking over


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_adapt_takes_a_connection_of_either_implementation(kind):
    async with linked(kind) as link:
        again = adapters.adapt(link.ours.websocket)
        assert again.websocket is link.ours.websocket
        assert again.max_frame == 2**20
        assert adapters.adapt(link.ours.websocket, max_frame=7).max_frame == 7
        role = "initiator" if kind.endswith("client") else "acceptor"
        assert adapters.role_of(again) == role
        await again.send(b"hello")
        assert await link.theirs.recv() == b"hello"


async def test_adapt_takes_a_subclass():
    class Mine(ClientConnection):
        pass

    async with listening() as (server, _), raw_connect(server, create_connection=Mine) as ws:
        transport = adapters.adapt(ws)
        assert adapters.role_of(transport) == "initiator"
        await transport.close()


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_adapt_refuses_a_connection_that_is_not_open(kind):
    async with linked(kind) as link:
        await link.ours.close()
        with pytest.raises(ValueError, match="not open but CLOSED"):
            adapt(link.ours.websocket)


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_adapt_refuses_a_connection_that_is_being_read(kind):
    async with linked(kind) as link:
        reading = asyncio.create_task(link.ours.websocket.recv())
        await turns()
        with pytest.raises(ValueError, match="one reader"):
            adapt(link.ours.websocket)
        reading.cancel()
        await asyncio.wait([reading])
        transport = adapt(link.ours.websocket)
        await link.theirs.send(b"hello")
        assert await transport.recv() == b"hello"


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_a_second_reader_ends_the_transport(kind):
    async with linked(kind) as link:
        reading = asyncio.create_task(link.ours.websocket.recv())
        await turns()
        with pytest.raises(TransportClosed) as caught:
            await link.ours.recv()
        assert isinstance(caught.value.__cause__, RuntimeError)
        await asyncio.wait([reading])
        assert reading.exception() is not None


async def test_adapt_says_what_is_wrong():
    for wrong, message in (
        (object(), "not a connection of websockets.asyncio or websockets.legacy: builtins.object"),
        (Sync.__new__(Sync), "does not run on asyncio"),
        (connect("ws://127.0.0.1:9"), "await it"),
    ):
        with pytest.raises(TypeError, match=message):
            adapt(wrong)


def test_legacy_is_never_imported_and_nothing_warns():
    program = """
        import asyncio, sys, websockets
        from reliable_ws.adapters import adapt, role_of
        from reliable_ws.adapters.websockets.asyncio import dial, listen

        async def handler(transport):
            await transport.send(await transport.recv())

        async def main():
            asyncio.get_running_loop().slow_callback_duration = 60  # it warns, too
            async with listen(handler, "127.0.0.1", 0) as server:
                port = server.sockets[0].getsockname()[1]
                ws = (await dial(f"ws://127.0.0.1:{port}", proxy=None)).websocket
                transport = adapt(ws)
                assert role_of(transport) == "initiator"
                await transport.send(b"x")
                assert await transport.recv() == b"x"
                await transport.close()
            # 13.1 imports it by itself and does not warn.
            if not websockets.__version__.startswith("13."):
                assert "websockets.legacy" not in sys.modules

        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", textwrap.dedent(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


# Sending, receiving, closing


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_fragments_arrive_as_one_message(kind):
    async with linked(kind) as link:
        await link.theirs.websocket.send([b"one ", b"two ", b"three"])
        assert await link.ours.recv() == b"one two three"
        await link.theirs.websocket.send(["eins ", "zwei"])
        assert await link.ours.recv() == "eins zwei"


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_send_now_waits_for_the_fragments_of_somebody_else(kind):
    proceed = asyncio.Event()

    async def fragments():
        yield b"one "
        await proceed.wait()
        yield b"two"

    async with linked(kind) as link:
        sending = asyncio.create_task(link.ours.websocket.send(fragments()))
        await turns()
        assert link.ours.send_now(b"three") is False
        proceed.set()
        await sending
        assert link.ours.send_now(b"three") is True
        assert [await link.theirs.recv() for _ in range(2)] == [b"one two", b"three"]


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_messages_and_the_end_in_one_packet(kind):
    # 13.1 and 14.0 raise IndexError here when their recv() was waiting.
    async with linked(kind) as link:
        receiving = asyncio.create_task(drain(link.ours))
        await turns()
        sent = [b"%d" % n for n in range(3)]
        for data in sent:
            assert link.theirs.send_now(data)
        link.theirs.websocket.protocol.send_close(4002, "done")
        link.theirs.websocket.send_data()
        received, end = await receiving
        assert received == (sent if link.keeps_unread else sent[: len(received)])
        assert (end.code, end.reason) == (4002, "done")


# What comes at once is taken in several turns

PUSHING_KINDS = ("asyncio client", "asyncio server")


def packed(link, count: int) -> tuple[list[bytes], bytes]:
    """Return messages, and the bytes that their end writes for all of them."""
    messages = [b"%06d" % number for number in range(count)]
    protocol = link.theirs.websocket.protocol
    for message in messages:
        protocol.send_binary(message)
    return messages, b"".join(protocol.data_to_send())


@pytest.mark.parametrize("kind", PUSHING_KINDS)
async def test_what_comes_at_once_takes_several_turns_of_the_loop(kind, monkeypatch):
    """Others are served between them, and the order stays."""
    monkeypatch.setattr(module, "LONGEST_STEP", 0)
    async with linked(kind) as link:
        messages, data = packed(link, 20_000)
        came, steps = [], []
        link.ours.push_to(came.append)
        link.ours.websocket.data_received(data)
        assert link.ours.websocket.transport.is_reading() is False
        link.ours.websocket.data_received(b"\x82")  # the beginning of one more
        while len(came) < len(messages):
            steps.append(len(came))
            await asyncio.sleep(0)
        assert came == messages
        most = max(after - before for before, after in itertools.pairwise([0, *steps, len(came)]))
        assert most <= module.SLICE / (len(data) / len(messages)) + 1
        await turns()
        assert link.ours.websocket.transport.is_reading() is True


@pytest.mark.parametrize("end", ["eof", "loss"])
@pytest.mark.parametrize("kind", PUSHING_KINDS)
async def test_what_waits_for_its_turn_comes_before_the_end(kind, end, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_STEP", 0)
    async with linked(kind) as link:
        messages, data = packed(link, 5000)
        came = []
        link.ours.push_to(came.append)
        ws = link.ours.websocket
        ws.data_received(data)
        assert 0 < len(came) < 5000
        if end == "eof":
            ws.eof_received()
        else:
            link.ours.abort()
        received, _end = await drain(link.ours)
        assert (came, received) == (messages, [])


@pytest.mark.parametrize("kind", PUSHING_KINDS)
async def test_after_a_loss_too_it_takes_several_turns(kind, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_STEP", 0)
    async with linked(kind) as link:
        messages, data = packed(link, 1000)
        came, steps = [], [0]
        end = link.ours.push_to(came.append)
        link.ours.websocket.data_received(data)
        link.ours.abort()
        while not end.done():
            steps.append(len(came))
            await asyncio.sleep(0)
        assert came == messages
        most = max(after - before for before, after in itertools.pairwise(steps))
        assert most <= module.SLICE / (len(data) / len(messages)) + 1
        assert len(set(steps)) > 2


@pytest.mark.parametrize("error", [RuntimeError, AttributeError])
@pytest.mark.parametrize("kind", PUSHING_KINDS)
async def test_it_goes_on_where_a_transport_that_closes_cannot_pause(kind, error, monkeypatch):
    """uvloop raises RuntimeError; asyncio, over TLS and closed twice, AttributeError."""

    def fails():
        raise error

    monkeypatch.setattr(module, "LONGEST_STEP", 0)
    async with linked(kind) as link:
        messages, data = packed(link, 1000)
        came, failed = [], []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: failed.append(what))
        end = link.ours.push_to(came.append)
        ws = link.ours.websocket
        ws.transport = SimpleNamespace(pause_reading=fails, resume_reading=fails)
        ws.data_received(data)
        link.ours.abort()
        await end
        assert (came, failed) == (messages, [])


# Pings


@pytest.mark.parametrize("kind", PUSHING_KINDS)
async def test_pings_on_a_lost_connection_are_not_answered(kind, caplog):
    """asyncio would log a line for each."""
    async with linked(kind) as link:
        link.ours.push_to(lambda _data: None)
        link.ours.abort()
        for _ in range(100):
            link.theirs.websocket.protocol.send_ping(b"?")
        link.ours.websocket.data_received(b"".join(link.theirs.websocket.protocol.data_to_send()))
        assert [record for record in caplog.records if record.name == "asyncio"] == []


@pytest.mark.parametrize("closes", [False, True])
@pytest.mark.parametrize("kind", PUSHING_KINDS)
async def test_while_there_is_no_room_only_the_last_pong_is_kept(kind, closes):
    async with linked(kind) as link:
        ours, theirs, pongs = link.ours.websocket, link.theirs.websocket, []
        take = theirs.process_event

        def noting(event):
            if event.opcode is Opcode.PONG:
                pongs.append(bytes(event.data))
            take(event)

        theirs.process_event = noting
        came = asyncio.Queue()
        link.ours.push_to(came.put_nowait)
        ours.pause_writing()
        answers = [await theirs.ping(b"%d" % number) for number in range(5)]
        await link.theirs.send(b"a message behind them")
        await came.get()
        assert link.ours.send_now(b"a message beside them")
        assert await link.theirs.recv() == b"a message beside them"
        assert pongs == []
        if closes:  # nothing follows the close frame
            ours.protocol.send_close(1000)
            ours.resume_writing()
            ours.send_data()
            await drain(link.theirs)
            assert pongs == []
            return
        ours.resume_writing()
        await asyncio.gather(*answers)
        assert pongs == [b"4"]


@pytest.mark.parametrize("kind", PUSHING_KINDS)
async def test_without_being_slow_it_takes_one_turn(kind, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_STEP", 1000)
    async with linked(kind) as link:
        messages, data = packed(link, 20_000)
        came = []
        link.ours.push_to(came.append)
        link.ours.websocket.data_received(data)
        assert came == messages


@pytest.mark.parametrize("kind", PUSHING_KINDS)
async def test_who_waits_for_the_end_alone_waits_for_a_future(kind):
    """And in ``recv()`` once that was cancelled, as before."""
    async with linked(kind) as link:
        until = link.ours.push_to(lambda _data: None)
        until.cancel()
        receiving = asyncio.create_task(link.ours.recv())
        await turns()
        assert not receiving.done()
        link.theirs.abort()
        with pytest.raises(TransportClosed):
            await receiving
    async with linked(kind) as link:
        until = link.ours.push_to(lambda _data: None)
        link.theirs.abort()
        await until
        with pytest.raises(TransportClosed):
            await link.ours.recv()
        assert link.ours.push_to(lambda _data: None) is None


@pytest.mark.parametrize("kind", PUSHING_KINDS)
async def test_what_an_idle_connection_does_not_need_is_let_go_and_writers_still_wait(kind):
    async with linked(kind) as link:
        ws = link.ours.websocket
        link.ours.push_to(lambda _data: None)
        assert not isinstance(ws.drain_waiters, deque)
        assert not isinstance(ws.recv_messages.frames.queue, deque)
        ws.pause_writing()
        sending = asyncio.create_task(link.ours.send(b"x"))
        await turns()
        assert len(ws.drain_waiters) == 1
        assert not sending.done()
        ws.resume_writing()
        await sending
        assert await link.theirs.recv() == b"x"


def memory_once_connected(count, crowd):
    """Return the bytes that the last of ``count`` connections take from when they are connected."""

    class Fresh(module.PushingClient):
        """A class of which nothing was made yet."""

    tcp = SimpleNamespace(
        pause_reading=None, resume_reading=None, set_write_buffer_limits=lambda *_: None
    )
    uri = parse_uri("ws://localhost")
    made = [Fresh(ClientProtocol(uri), ping_interval=None) for _ in range(count)]
    for connection in made[:-crowd]:
        connection.connection_made(tcp)
    tracemalloc.start()
    for connection in made[-crowd:]:
        connection.connection_made(tcp)
    memory, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return memory / crowd


async def test_connections_that_are_made_at_once_take_no_more_memory():
    """As after a restart: Python has one table for the attributes of all objects of a class."""
    assert memory_once_connected(60, 20) < memory_once_connected(2, 1) + 500


@pytest.mark.parametrize("kind", PUSHING_KINDS)
async def test_messages_that_came_before_are_received_first(kind):
    async with linked(kind) as link:
        await link.theirs.send(b"early")
        while not link.ours.websocket.queued:  # noqa: ASYNC110 - it is on its way
            await asyncio.sleep(0)
        assert link.ours.push_to(lambda _data: None) is None
        assert await link.ours.recv() == b"early"


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_a_text_that_is_not_utf_8_ends_the_transport(kind):
    async with linked(kind) as link:
        link.theirs.websocket.protocol.send_text(b"\xff\xfe")
        link.theirs.websocket.send_data()
        received, _ = await drain(link.ours)
        assert received == []
        with pytest.raises(TransportClosed):
            await link.ours.send(b"late")


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_a_write_that_fails_ends_the_transport(kind, monkeypatch):
    def fail(_):
        raise OSError("broken")

    for by in ("send", "send_now"):
        async with linked(kind) as link:
            with monkeypatch.context() as patch:
                real = link.ours.websocket.transport
                patch.setattr(link.ours.websocket, "transport", Failing(real, fail))
                with pytest.raises(TransportClosed):
                    await (link.ours.send(b"x") if by == "send" else now(link.ours))
            with pytest.raises(TransportClosed):
                link.ours.send_now(b"x")
            assert await drain(link.ours)


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_a_close_frame_without_a_code_has_none(kind):
    async with linked(kind) as link:
        link.theirs.websocket.protocol.send_close()
        link.theirs.websocket.send_data()
        _, end = await drain(link.ours)
        assert (end.code, end.reason) == (None, "")


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
@pytest.mark.parametrize(
    ("given", "sent"),
    [
        *((code, code) for code in (1000, 1001, 1011, 1012, 3000, 4404, 4999)),
        *((code, 1011) for code in (-1, 0, 999, 1002, 1005, 1006, 1009, 1015, 2999, 5000, 70000)),
    ],
)
async def test_close_sends_only_codes_that_may_be_sent(kind, given, sent):
    async with linked(kind) as link:
        await link.ours.close(given)
        assert (await drain(link.theirs))[1].code == sent


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
@pytest.mark.parametrize("reason", ["", "short", "\u00e9" * 200, "\u2603" * 41 + "x", "a\udc80b"])
async def test_close_cuts_the_reason(kind, reason):
    async with linked(kind) as link:
        await link.ours.close(1000, reason)
        received = (await drain(link.theirs))[1].reason
        assert len(received.encode()) <= 123
        if "\udc80" in reason:
            assert received == "a?b"
        else:
            assert reason.startswith(received)
            assert len(received.encode()) >= min(len(reason.encode()), 122)


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_it_closes_in_a_task_of_its_own(kind):
    async with linked(kind) as link:
        assert isinstance(link.ours, SelfClosingTransport)
        link.ours.begin_close(4404, "not here", 10.0)
        link.ours.begin_close(1000, "once is enough", 10.0)
        with pytest.raises(TransportClosed):
            link.ours.send_now(b"late")
        _, end = await drain(link.theirs)
        assert (end.code, end.reason) == (4404, "not here")
        await drain(link.ours)


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_what_it_cannot_close_in_time_is_dropped(kind):
    async with linked(kind) as link:
        link.theirs.websocket.transport.pause_reading()
        while link.ours.send_now(CHUNK):
            pass
        link.ours.begin_close(1000, "", 0.05)
        _, end = await drain(link.ours)
        assert end.code is None


@pytest.mark.parametrize("kind", LIBRARY_KINDS)
async def test_the_library_refuses_late_reads_and_we_say_so(kind):
    async with linked(kind) as link:
        await link.theirs.send(CHUNK)
        assert await link.ours.recv() == CHUNK
        await asyncio.gather(link.ours.close(), link.theirs.close())
        for _ in range(2):
            with pytest.raises(TransportClosed) as caught:
                await link.ours.recv()
            assert caught.value.code == 1000


async def now(transport):
    transport.send_now(b"x")


class Failing:
    """A transport of asyncio whose write fails."""

    def __init__(self, real, write):
        self.real = real
        self.write = write
        self.writelines = write

    def __getattr__(self, name):
        return getattr(self.real, name)
