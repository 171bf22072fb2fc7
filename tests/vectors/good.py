"""Envelopes that are understood."""

from __future__ import annotations

from typing import Any

import msgpack

from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.frames import (
    MAX_NUMBER,
    Ack,
    CallAck,
    CallPosition,
    Calls,
    Cancel,
    Counters,
    Credit,
    Done,
    Entry,
    Fault,
    Finish,
    Frame,
    Item,
    Messages,
    Part,
    Piece,
    Position,
    Refuse,
    Reply,
    Request,
    Stop,
    Void,
    Want,
)
from tests.vectors.conversation import to_json
from tests.vectors.frames import FINAL, HELLO, START, WELCOME, ZERO


def good() -> list[dict[str, Any]]:
    """Envelopes that are understood."""
    rows: list[dict[str, Any]] = []

    def add(name: str, *frames: Frame) -> None:
        rows.append({"name": name, "hex": encode(frames).hex(), "frames": to_json(frames)})

    def call(name: str, *entries: Entry, first: int = 1) -> None:
        add(f"Calls: {name}", Calls(first, list(entries)))
        rows[-1]["calls"] = True

    def other(name: str, data: bytes, *frames: Frame) -> None:
        """Not as we would encode it, and understood all the same."""
        row = {"name": name, "hex": data.hex(), "frames": to_json(frames), "canonical": False}
        rows.append(row)

    def raw(item: Any) -> bytes:
        return msgpack.packb([item])

    add("Hello, the first", HELLO)
    later = Position(Counters(9, 4, 7, False, ((6, 6),)), 12, 10, 4096)
    add("Hello, to resume", HELLO._replace(attempt=3, incarnation=42, position=later))
    stopped = START._replace(counters=ZERO._replace(stopped=True))
    add("Hello, stopped", HELLO._replace(attempt=2, incarnation=42, position=stopped))
    add("Hello, several versions", HELLO._replace(max_version=3))
    add("Welcome, new", WELCOME)
    add("Welcome, resumed", WELCOME._replace(resumed=True, position=later))
    without = "of a side without calls"
    add(f"Hello {without}", HELLO._replace(calls=None))
    add(f"Welcome {without}", WELCOME._replace(calls=None))
    for greeting in (HELLO, WELCOME):
        item = msgpack.unpackb(encode([greeting]))[0][:-1]
        words = f"{type(greeting).__name__} {without} that says nothing of them"
        other(words, raw(item), greeting._replace(calls=None))
    add("Hello, to resume calls", HELLO._replace(attempt=3, calls=CallPosition(7, 9, 5)))
    add("Refuse, later", Refuse(4529, "busy", 1000, None))
    add("Refuse, final", Refuse(4410, "", 0, FINAL))
    add("Refuse, unknown", Refuse(4404, "no such session here", 0, None))
    add("Messages, text and bytes", Messages(4, ["hi", b"\x00\xff"]))
    add("Messages, empty text and empty bytes", Messages(1, ["", b""]))
    value = msgpack.ExtType(1, msgpack.packb({"a": 1}))
    add("Messages, a value", Messages(6, [value]))
    add("Messages, text beyond ASCII", Messages(1, ["é€😀\x00"]))
    add("Messages, text that begins with U+FEFF", Messages(1, ["\ufeffhi"]))
    add("Messages, a value without data", Messages(1, [msgpack.ExtType(1, b"")]))
    moment = msgpack.packb(msgpack.Timestamp(1, 0))
    add("Messages, a value that is a timestamp", Messages(1, [msgpack.ExtType(1, moment)]))
    add("Messages, the highest number", Messages(MAX_NUMBER, ["last"]))
    add("Messages, a run of 40", Messages(1, ["x"] * 40))
    add("Part, the first", Part(7, 0, 5, 1, b"hel"))
    add("Part, the last", Part(7, 3, 5, 1, b"lo"))
    add("Part, text that is cut inside a character", Part(7, 0, 3, 1, b"\xe2\x82"))
    add("Part, bytes, whole", Part(1, 0, 2, 0, b"\x00\xff"))
    add("Part, of a value", Part(1, 1, 4, 2, b"\xa1"))
    add("Finish", Finish(8, 1000, ""))
    add("Finish, with a reason of 123 bytes", Finish(1, 4999, "r" * 123))
    add("Ack", Ack(5, 3))
    add("Ack of nothing: a heartbeat", Ack(0, 0))
    add("Ack, the highest number", Ack(MAX_NUMBER, MAX_NUMBER))
    add("Want", Want(8))
    add("Stop", Stop(Counters(9, 4, 7, True, ((6, 6),))))
    many = tuple((n, n) for n in range(2, 130, 2))
    add("Stop, with 64 ranges", Stop(Counters(200, 0, 150, True, many)))
    add("Stop, after a crash: handed is not known", Stop(Counters(3, 3, MAX_NUMBER, True)))
    add("Done", Done(FINAL))
    add("four frames", Ack(3, 3), Want(4), Messages(4, ["hi"]), Finish(5, 1000, "bye"))

    call("Request", Request("add", None, 0, value))
    call("Request with a deadline, for a stream", Request("é" * 127, 5000, 262144, "x"), first=9)
    call("Reply", Reply(1, value))
    call("Fault", Fault(1, "method-not-found", "there is no method 'add'", b""))
    call("Fault with the longest words", Fault(1, "e" * 255, "é" * 500, value))
    call("Item", Item(2, b"\x00\xff"))
    call("Cancel", Cancel(MAX_NUMBER))
    call("Credit", Credit(2, MAX_NUMBER))
    call("Pieces, and their Reply", Piece(b"\xa5hel"), Piece(b"lo"), Reply(1, None))
    call("the ends of others", Request("m", 0, 0, None), Fault(1, "", "", None), Item(1, None))
    call("Void", Void())
    every = [Void(), Cancel(1), Credit(1, 5), Item(1, ""), Reply(1, ""), Request("", None, 0, "")]
    call("some of each", *every, first=MAX_NUMBER)
    add("CallAck", CallAck(5))
    rows[-1]["calls"] = True

    other(
        "an unknown frame that is not critical is skipped",
        msgpack.packb([[0], [0x41, 5, 3]]),
        Ack(5, 3),
    )
    other("nothing but skipped frames", msgpack.packb([[0x3F, "x", [1, [2]]]]))
    anything = [1.5, 2**64 - 1, -(2**63), msgpack.ExtType(5, b"x")]
    other("a skipped frame may hold anything", msgpack.packb([[0, *anything]]))
    other("a skipped frame, 16 arrays deep", b"\x91\x92\x00" + b"\x91" * 13 + b"\x90")
    other(
        "integers need not be short",
        bytes.fromhex("91 93 cc41 cd0005 cf0000000000000003"),
        Ack(5, 3),
    )
    other(
        "a signed integer that is not negative",
        bytes.fromhex("91 93 41 d005 d30000000000000003"),
        Ack(5, 3),
    )
    other("a signed zero", bytes.fromhex("91 93 41 d000 d10000"), Ack(0, 0))
    other(
        "arrays and text need not be short",
        bytes.fromhex("dd00000001 dc0003 4d 04 91 da00026869"),
        Messages(4, ["hi"]),
    )
    other(
        "an extension of 8 bits",
        bytes.fromhex("91 93 4d 01 91 c70101c0"),
        Messages(1, [msgpack.ExtType(1, b"\xc0")]),
    )
    add("Hello with the name of a payload codec", HELLO._replace(codec="json"))
    add("Welcome with the name of a payload codec", WELCOME._replace(codec="json"))
    grown = msgpack.unpackb(encode([HELLO]))[0]
    other("Hello with a field of a later version", raw([*grown, "new"]), HELLO)
    other("calls with a field of a later version", raw([*grown[:-1], [0, 0, 1, "new"]]), HELLO)
    grown[8] = [*grown[8], 7]
    other("limits with a field of a later version", raw(grown), HELLO)
    grown = msgpack.unpackb(encode([WELCOME]))[0]
    other("Welcome with a field of a later version", raw([*grown, None]), WELCOME)
    other(
        "Refuse with a field of a later version",
        raw([0x58, 4410, "", 0, None, 1]),
        Refuse(4410, "", 0, None),
    )
    return rows
