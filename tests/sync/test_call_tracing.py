"""Spans of calls among threads: one trace for caller and handler, as in an event loop."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import sampling
from opentelemetry.trace import SpanKind

import reliable_ws
from reliable_ws import Backoff, Methods, RemoteError, RequestTimeout
from reliable_ws.sync import Sessions, connect, serve, wrap
from reliable_ws.telemetry import trace_calls
from tests.aio.test_call_tracing import Recorded

from .conftest import pair, run, until
from .network import SECONDS
from .pipe import pipe

METHODS = Methods()
SEEN: list[int] = []


@METHODS.register
def add(a: int, b: int) -> int:
    SEEN.append(trace.get_current_span().get_span_context().span_id)
    return a + b


@METHODS.register
def fail() -> None:
    raise RemoteError("no-stock", "nothing is left")


@METHODS.register
def count(upto: int):
    yield from range(upto)


def traced(client, server, recorded, **options):
    trace_calls(client, tracer=recorded.tracer, **options)
    trace_calls(server, tracer=recorded.tracer, **options)


def test_caller_and_handler_are_one_trace():
    """CALL-47"""
    recorded = Recorded()
    with pair(methods=METHODS) as (client, server):
        traced(client, server, recorded)
        with recorded.tracer.start_as_current_span("around"):
            assert client.request("add", [1, 2], timeout=SECONDS) == 3
    (ours,), (theirs,) = recorded.spans(SpanKind.CLIENT), recorded.spans(SpanKind.SERVER)
    (around,) = recorded.spans(SpanKind.INTERNAL)
    assert theirs.parent.span_id == ours.context.span_id
    assert ours.parent.span_id == around.context.span_id
    assert SEEN[-1] == theirs.context.span_id
    assert dict(ours.attributes) == {"rpc.system.name": "reliable_ws", "rpc.method": "add"}


def test_a_request_that_is_sent_again_stays_in_its_trace():
    """CALL-47"""
    recorded, sessions = Recorded(), Sessions(methods=METHODS)
    trace_calls(sessions, tracer=recorded.tracer)

    def open_one():
        near, far = pipe()
        run(lambda: wrap(far, sessions=sessions))
        return near

    begun = open_one()
    with wrap(begun, reopen=open_one, reconnect=Backoff(initial=0, longest=0)) as conn:
        trace_calls(conn, tracer=recorded.tracer)
        begun.freeze()  # the request is cut off on its way
        asking = run(lambda: conn.request("add", [1, 2], timeout=SECONDS))
        until(lambda: conn.figures().requests == 1)
        begun.cut()
        assert asking.result(SECONDS) == 3
        assert conn.stats.resumes == 1
    (ours,), (theirs,) = recorded.spans(SpanKind.CLIENT), recorded.spans(SpanKind.SERVER)
    assert theirs.parent.span_id == ours.context.span_id


def test_streams_and_errors():
    recorded = Recorded()
    with pair(methods=METHODS) as (client, server):
        traced(client, server, recorded)
        assert list(client.stream("count", [3], timeout=SECONDS)) == [0, 1, 2]
        with pytest.raises(RemoteError):
            client.request("fail", timeout=SECONDS)
        with pytest.raises(RemoteError):
            list(client.stream("fail", timeout=SECONDS))
    until(lambda: len(recorded.spans(SpanKind.SERVER)) == 3)  # each ends after its answer
    for kind in (SpanKind.CLIENT, SpanKind.SERVER):
        spans = sorted(recorded.spans(kind), key=lambda span: span.start_time)
        told = [(s.name, s.attributes.get("error.type")) for s in spans]
        assert told == [("count", None), ("fail", "no-stock"), ("fail", "no-stock")]


def test_a_request_that_times_out_says_what_is_known():
    recorded, methods = Recorded(), Methods()
    with pair(methods=methods) as (client, server):
        traced(client, server, recorded)
        done = run(server.wait_closed)
        methods.register(name="wait")(lambda: done.result(SECONDS) and None)
        with pytest.raises(RequestTimeout):
            client.request("wait", timeout=0.1)
        client.close()
    (span,) = recorded.spans(SpanKind.CLIENT)
    assert span.attributes["error.type"] == "RequestTimeout"
    assert span.attributes["reliable_ws.outcome"] == "taken"


def test_a_server_and_what_is_left_out():
    """Calls of a trace that is not sampled, and all that are in none, with ratio=0."""
    recorded, off = Recorded(), Recorded(sampling.ALWAYS_OFF)

    def handler(conn):
        conn.wait_closed()

    with serve(handler, "127.0.0.1", 0, methods=METHODS) as server:
        trace_calls(server, tracer=recorded.tracer, ratio=0.0)
        with connect(f"ws://127.0.0.1:{server.port}", proxy=None) as conn:
            trace_calls(conn, tracer=recorded.tracer, ratio=0.0)
            assert conn.request("add", [1, 2], timeout=SECONDS) == 3
            with off.tracer.start_as_current_span("around"):
                assert conn.request("add", [1, 2], timeout=SECONDS) == 3
                assert list(conn.stream("count", [1], timeout=SECONDS)) == [0]
            assert not recorded.exporter.get_finished_spans()
            with recorded.tracer.start_as_current_span("around"):
                assert conn.request("add", [1, 2], timeout=SECONDS) == 3
        server.drain(5)
    assert len(recorded.spans(SpanKind.SERVER)) == 1


def test_too_late():
    with pair(methods=METHODS) as (client, _server):
        client.request("add", [1, 2], timeout=SECONDS)
        with pytest.raises(RuntimeError, match="before the first request"):
            trace_calls(client)
    trace_calls(reliable_ws.sync.Sessions())
