"""Spans of calls: one trace for caller and handler, also over a lost WebSocket."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import reliable_ws
from reliable_ws import Methods, RemoteError, RequestTimeout
from reliable_ws.driver.call_spans import _reader_of
from reliable_ws.telemetry import trace_calls
from reliable_ws.testing import Network, pair, virtual_clock
from tests.support.inside import driver_of

METHODS = Methods()
SEEN: list[int] = []


@METHODS.register
async def add(a: int, b: int) -> int:
    SEEN.append(trace.get_current_span().get_span_context().span_id)
    await asyncio.sleep(0.01)
    return a + b


@METHODS.register
async def fail() -> None:
    raise RemoteError("no-stock", "nothing is left")


@METHODS.register
async def hang() -> None:
    await asyncio.sleep(100)


@METHODS.register
async def count(upto: int):
    for number in range(upto):
        yield number


class Recorded:
    """A tracer, and what it has recorded."""

    def __init__(self, sampler=sampling.ALWAYS_ON):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    def spans(self, kind):
        return [span for span in self.exporter.get_finished_spans() if span.kind is kind]

    def both(self):
        (client,), (server,) = self.spans(SpanKind.CLIENT), self.spans(SpanKind.SERVER)
        return client, server


def traced(ends, recorded, *, server=True):
    trace_calls(ends.client, tracer=recorded.tracer)
    if server:
        trace_calls(ends.server, tracer=recorded.tracer)


@virtual_clock
async def test_caller_and_handler_are_one_trace():
    recorded = Recorded()
    async with pair(methods=METHODS) as ends:
        traced(ends, recorded)
        with recorded.tracer.start_as_current_span("around"):
            assert await ends.client.request("add", [1, 2]) == 3
    client, server = recorded.both()
    assert server.parent.span_id == client.context.span_id
    (around,) = recorded.spans(SpanKind.INTERNAL)
    assert {s.context.trace_id for s in (client, server)} == {around.context.trace_id}
    assert SEEN[-1] == server.context.span_id
    for span in (client, server):
        assert span.name == "add"
        assert dict(span.attributes) == {"rpc.system.name": "reliable_ws", "rpc.method": "add"}


@virtual_clock
async def test_a_request_that_is_sent_again_stays_in_its_trace():
    """CALL-47"""
    recorded = Recorded()
    async with pair(methods=METHODS) as ends:
        traced(ends, recorded)
        ends.network.half_open()
        asking = asyncio.create_task(ends.client.request("add", [1, 2]))
        await asyncio.sleep(0.1)
        ends.network.cut()
        assert await asking == 3
        assert ends.client.stats.resumes == 1
    client, server = recorded.both()
    assert server.parent.span_id == client.context.span_id


@virtual_clock
async def test_a_stream_has_a_span_as_long_as_itself():
    recorded = Recorded()
    async with pair(methods=METHODS) as ends:
        traced(ends, recorded)
        async with contextlib.aclosing(ends.client.stream("count", [3])) as stream:
            items = [item async for item in stream if not recorded.spans(SpanKind.CLIENT)]
    assert items == [0, 1, 2]
    client, server = recorded.both()
    assert server.parent.span_id == client.context.span_id
    assert client.status.status_code is StatusCode.UNSET


@virtual_clock
async def test_errors_say_what_is_known():
    recorded = Recorded()
    async with pair(methods=METHODS) as ends:
        traced(ends, recorded)
        with pytest.raises(RemoteError):
            await ends.client.request("fail")
        with pytest.raises(RequestTimeout):
            await ends.client.request("hang", timeout=1)
        await asyncio.sleep(1)
        with pytest.raises(RemoteError):
            async for _ in ends.client.stream("fail"):
                pass
        hanging = asyncio.create_task(ends.client.request("hang"))
        await asyncio.sleep(0.1)
        ends.client.abort()
        with pytest.raises(reliable_ws.DeliveryError):
            await hanging
    told = [(s.name, s.attributes.get("error.type")) for s in recorded.spans(SpanKind.CLIENT)]
    assert told[:3] == [("fail", "no-stock"), ("hang", "RequestTimeout"), ("fail", "no-stock")]
    outcomes = [s.attributes.get("reliable_ws.outcome") for s in recorded.spans(SpanKind.CLIENT)]
    assert outcomes == [None, "taken", None, "unknown"]
    assert {s.status.status_code for s in recorded.spans(SpanKind.CLIENT)} == {StatusCode.ERROR}
    told = [(s.name, s.attributes["error.type"]) for s in recorded.spans(SpanKind.SERVER)]
    assert told[:2] == [("fail", "no-stock"), ("hang", "timeout")]


@virtual_clock
async def test_a_peer_that_does_not_trace_answers_all_the_same():
    recorded = Recorded()
    async with pair(methods=METHODS) as ends:
        traced(ends, recorded, server=False)
        assert await ends.client.request("add", [1, 2]) == 3
    assert len(recorded.spans(SpanKind.CLIENT)) == 1


@virtual_clock
async def test_what_is_not_sampled_sends_no_context():
    recorded = Recorded(sampling.ALWAYS_OFF)
    async with pair(methods=METHODS) as ends:
        traced(ends, recorded)
        assert await ends.client.request("add", [1, 2]) == 3
        assert not driver_of(ends.client).pump.contexts._sent
    assert not recorded.exporter.get_finished_spans()


@virtual_clock
async def test_a_call_in_a_trace_that_is_not_sampled_has_no_span():
    """Whatever the tracer's sampler says of a call that is in no trace; so have streams none."""
    recorded, off = Recorded(), Recorded(sampling.ALWAYS_OFF)
    async with pair(methods=METHODS) as ends:
        traced(ends, recorded, server=False)
        with off.tracer.start_as_current_span("around"):
            assert await ends.client.request("add", [1, 2]) == 3
            assert [item async for item in ends.client.stream("count", [2])] == [0, 1]
        assert not recorded.exporter.get_finished_spans()
        assert await ends.client.request("add", [1, 2]) == 3
    assert len(recorded.spans(SpanKind.CLIENT)) == 1


def test_the_current_context_is_read_where_it_is_kept(monkeypatch):
    """In one call in a context variable, and by the API where it is kept in another way."""
    read = _reader_of(context)
    assert read is not context.get_current
    assert not read()
    token = context.attach(context.Context({"baggage": 1}))
    assert read() is context.get_current()
    context.detach(token)
    assert not read()

    class Elsewhere:
        Context = context.Context
        attach = staticmethod(lambda _context: None)
        get_current = staticmethod(lambda: "current")

    assert _reader_of(Elsewhere)() == "current"


@virtual_clock
async def test_what_is_current_without_a_span_is_in_no_trace():
    """Baggage, for example: chance decides, as where nothing is current."""
    for ratio, count in ((0.0, 0), (1.0, 1)):
        recorded = Recorded()
        async with pair(methods=METHODS) as ends:
            trace_calls(ends.client, tracer=recorded.tracer, ratio=ratio)
            token = context.attach(context.Context({"baggage": 1}))
            try:
                assert await ends.client.request("add", [1, 2]) == 3
            finally:
                context.detach(token)
        assert len(recorded.spans(SpanKind.CLIENT)) == count


@virtual_clock
async def test_of_the_calls_that_are_in_no_trace_a_share_begins_one(monkeypatch):
    """At each side; what a handler does in a call that is left out is left out, too."""
    drawn = iter([0.5, 0.5, 0.49, 0.5, 0.49])
    monkeypatch.setattr("reliable_ws.telemetry.random.random", lambda: next(drawn))
    recorded, inner = Recorded(), Recorded(sampling.DEFAULT_ON)
    methods = Methods()

    @methods.register
    async def work() -> None:
        inner.tracer.start_span("inner").end()

    async with pair(methods=methods) as ends:
        trace_calls(ends.client, tracer=recorded.tracer, ratio=0.5)
        trace_calls(ends.server, tracer=recorded.tracer, ratio=0.5)
        await ends.client.request("work")  # 0.5 here, 0.5 there
        assert not recorded.exporter.get_finished_spans()
        assert not inner.exporter.get_finished_spans()
        await ends.client.request("work")  # 0.49 here, and the handler is told
        recorded.both()
        assert len(inner.exporter.get_finished_spans()) == 1
        await ends.client.request("work")  # 0.5 here, 0.49 there
    assert len(recorded.spans(SpanKind.CLIENT)) == 1
    assert len(recorded.spans(SpanKind.SERVER)) == 2


async def test_sessions_that_come_from_a_store_are_traced(tmp_path):
    """A server's, after a restart."""
    recorded = Recorded()

    async def handler(conn):
        await conn.wait_closed()

    async def call(port, times, **options):
        async with reliable_ws.connect(
            f"ws://127.0.0.1:{port}", proxy=None, store=kept, name="calls", **options
        ) as conn:
            for _ in range(times):
                assert await conn.request("add", [1, 2]) == 3
            await conn.keep()

    with (
        reliable_ws.SQLiteStore(tmp_path / "client.db", survives="process") as kept,
        reliable_ws.SQLiteStore(tmp_path / "server.db", survives="process") as store,
    ):
        for count in (1, 2):
            server = await reliable_ws.serve(
                handler, "127.0.0.1", 0, methods=METHODS, store=store, drain_timeout=5
            )
            trace_calls(server, tracer=recorded.tracer)
            await call(server.port, 1)
            await server.drain(sessions="keep")
            assert len(recorded.spans(SpanKind.SERVER)) == count


@virtual_clock
async def test_contexts_are_bounded():
    """One for each open request of ours; of the peer's the newest thousand."""
    recorded = Recorded()
    async with pair(methods=METHODS) as ends:
        traced(ends, recorded)
        for _ in range(50):
            await ends.client.request("add", [1, 2])
        ours, theirs = driver_of(ends.client).pump.contexts, driver_of(ends.server).pump.contexts
        assert len(ours._sent) <= 10
        assert not theirs.received
        from reliable_ws.protocol.codec import encode
        from reliable_ws.protocol.context import with_contexts
        from reliable_ws.protocol.frames import Calls, Request

        for number in range(1, 1101):
            request = encode([Calls(number, [Request("add", None, 0, b"")])])
            theirs.look(with_contexts(request, {number: b"x"}, 9999))
        assert len(theirs.received) == 1024
        assert theirs.take(1) == b""
        assert theirs.take(1100) == b"x"


@virtual_clock
async def test_all_sessions_of_a_server():
    recorded, network = Recorded(), Network()

    async def handler(conn):
        await conn.wait_closed()

    async with network.serve(handler, methods=METHODS, drain_timeout=1.0) as server:
        trace_calls(
            server if isinstance(server, reliable_ws.Sessions) else server.sessions,
            tracer=recorded.tracer,
        )
        async with await network.connect() as conn:
            trace_calls(conn, tracer=recorded.tracer)
            assert await conn.request("add", [1, 2]) == 3
    client, served = recorded.both()
    assert served.parent.span_id == client.context.span_id


@virtual_clock
async def test_mistakes():
    async with pair(methods=METHODS) as ends:
        await ends.client.request("add", [1, 2])
        with pytest.raises(RuntimeError, match="before the first request"):
            trace_calls(ends.client)
    with pytest.raises(TypeError, match="calls are traced of a server or a connection"):
        trace_calls(3)
    with pytest.raises(ValueError, match="ratio= must be between"):
        trace_calls(reliable_ws.Sessions(), ratio=1.5)
