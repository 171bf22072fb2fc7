"""Bytecodes of functions: how they are counted, and to which layer they belong."""

from __future__ import annotations

import asyncio
import sys

import websockets.frames

from benchmarks.bytecodes import ALL_CASES, LAYERS, Tracer, by_layer, cost, layer
from reliable_ws.adapters.websockets.frames import FrameReader
from reliable_ws.aio.pump import Pump
from reliable_ws.protocol.codec import decode


def inner():
    return 1


def outer(times):
    return sum(inner() for _ in range(times)) if times else outer(1)


def count(work) -> Tracer:
    tracer, before = Tracer(), sys.gettrace()
    sys.settrace(tracer)
    try:
        work()
    finally:
        sys.settrace(before)
    return tracer


def test_a_function_has_its_own_bytecodes_and_those_of_what_it_calls():
    once, often = count(lambda: outer(1)), count(lambda: outer(10))
    assert once.own[outer.__code__] == count(lambda: outer(1)).own[outer.__code__]
    assert once.own[inner.__code__] > 0
    assert often.own[inner.__code__] == 10 * once.own[inner.__code__]
    assert once.own[outer.__code__] == often.own[outer.__code__]
    assert often.inclusive[outer.__code__] > often.own[outer.__code__] + often.own[inner.__code__]


def test_a_function_that_calls_itself_counts_once():
    tracer = count(lambda: outer(0))
    ours = [code for code in tracer.own if code.co_filename == __file__]
    whole = sum(tracer.own[code] for code in ours if "lambda" not in code.co_name)
    assert tracer.inclusive[outer.__code__] == whole


def test_each_function_belongs_to_a_layer():
    assert layer(decode.__code__) == "reliable_ws/protocol"
    assert layer(Pump.flush.__code__) == "reliable_ws/driver, aio"
    assert layer(FrameReader.take_frame.__code__) == "reliable_ws/adapters"
    assert layer(websockets.frames.Frame.parse.__code__) == "websockets"
    assert layer(asyncio.BaseEventLoop.call_soon.__code__) == "asyncio"
    assert layer(compile("1", "<string>", "eval")) == "other"
    own = {decode.__code__: 2.0, Pump.flush.__code__: 3.0}
    assert by_layer(own) == {"reliable_ws/protocol": 2.0, "reliable_ws/driver, aio": 3.0}


def test_an_opening_takes_bytecodes_in_every_layer_of_ours(monkeypatch):
    name = "open and close"
    monkeypatch.setitem(ALL_CASES, name, ALL_CASES[name]._replace(short=1, long=2))
    sums, plain = (by_layer(cost(side, name)["own"]) for side in ("reliable", "plain"))
    ours = [name for name, part in LAYERS if part.startswith("reliable_ws")]
    assert all(sums[name] > 0 for name in ours)
    assert not any(plain[name] for name in ours)
