"""What travels as plain values: every kind of frame, without payloads and keys."""

from __future__ import annotations

import json

import msgpack
import pytest

from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.frames import (
    Ack,
    Calls,
    Counters,
    Done,
    Fault,
    Finish,
    Item,
    Messages,
    Part,
    Piece,
    Request,
    Void,
)
from reliable_ws.protocol.records import records_of
from tests.support.pair import Pair

COUNTERS = {"received": 5, "confirmed": 3, "handed": 4, "stopped": True, "ranges": [[5, 5]]}


@pytest.mark.parametrize(
    ("frame", "record"),
    [
        (Ack(2, 1), {"frame": "Ack", "received": 2, "confirmed": 1}),
        (
            Messages(3, ["sécret", b"xy", msgpack.ExtType(1, b"\x81\xa1a\x01")]),
            {"frame": "Messages", "first": 3, "count": 3, "bytes": 7 + 2 + 4},
        ),
        (
            Part(7, 100, 1000, 0, b"secret"),
            {"frame": "Part", "number": 7, "offset": 100, "total": 1000, "kind": 0, "bytes": 6},
        ),
        (Finish(9, 1001, "bye"), {"frame": "Finish", "number": 9, "code": 1001, "reason": "bye"}),
        (Done(Counters(5, 3, 4, True, ((5, 5),))), {"frame": "Done", "counters": COUNTERS}),
        (
            Calls(4, [Request("add", 500, 0, b"secret"), Piece(b"sec"), Item(2, None), Void()]),
            {
                "frame": "Calls",
                "first": 4,
                "entries": [
                    {
                        "entry": "Request",
                        "method": "add",
                        "timeout_ms": 500,
                        "credit": 0,
                        "bytes": 6,
                    },
                    {"entry": "Piece", "bytes": 3},
                    {"entry": "Item", "request": 2},
                    {"entry": "Void"},
                ],
            },
        ),
        (
            Calls(1, [Fault(1, "oops", "words of the application", None)]),
            {
                "frame": "Calls",
                "first": 1,
                "entries": [{"entry": "Fault", "request": 1, "code": "oops"}],
            },
        ),
    ],
)
def test_a_frame_is_its_name_and_its_fields(frame, record):
    assert json.loads(json.dumps(records_of(encode([frame])))) == [record]


def test_a_greeting_has_the_session_and_no_key():
    pair = Pair()
    link = pair.client.dial(pair.now)
    (record,) = records_of(link.transmit(pair.now))
    assert record["session"] == pair.client.id.hex()
    assert record["limits"]["ttl_ms"] > 0
    assert pair.client.key.hex() not in json.dumps(record)


def test_what_is_no_message_is_said_to_be_none():
    (record,) = records_of(b"\xc1")
    assert record["frame"] == "invalid"
    assert record["reason"]
