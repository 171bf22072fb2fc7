"""Envelopes that are refused."""

from __future__ import annotations

from typing import Any

import msgpack

from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.frames import (
    Ack,
    Messages,
)
from tests.support.pair import ID
from tests.vectors.frames import HELLO, WELCOME


def bad() -> list[dict[str, Any]]:
    """Envelopes that are refused, and the code."""
    rows: list[dict[str, Any]] = []

    def add(name: str, data: bytes, code: int = 4400, **more: Any) -> None:
        rows.append({"name": name, "hex": data.hex(), "code": code, **more})

    def frame(name: str, *fields: Any) -> None:
        letter, *rest = fields
        number = ord(letter) if isinstance(letter, str) and len(letter) == 1 else letter
        add(name, msgpack.packb([[number, *rest]]))

    # the envelope
    add("nothing", b"")
    add("not msgpack", b"\xc1")
    add("cut short", encode([Ack(5, 3)])[:-1])
    add("something behind the array", encode([Ack(5, 3)]) + b"\x00")
    add("an integer", msgpack.packb(5))
    add("nil", msgpack.packb(None))
    add("a map", msgpack.packb({}))
    add("no frames", msgpack.packb([]))
    add("a frame that is no array", msgpack.packb([5]))
    add("a frame without a type", msgpack.packb([[]]))
    add("a map inside", msgpack.packb([[0, {"a": 1}]]))
    add("4097 frames", msgpack.packb([[0]] * 4097))
    add("4097 payloads", msgpack.packb([[0x4D, 1, [""] * 4097]]))
    add("8193 elements in all arrays", msgpack.packb([[78, 1]] * 2731))
    add("an empty map in a skipped frame", msgpack.packb([[0, {}]]))
    add("an array that declares 2^32-1 elements", b"\xdd\xff\xff\xff\xff")
    add("bytes that declare 2^32-1", b"\x91\x93\x4d\x01\x91\xc6\xff\xff\xff\xff")
    add("nesting without end", b"\x91" * 1000)
    add("a skipped frame with text that is not UTF-8", b"\x91\x92\x00\xa1\xff")
    large = encode([Messages(1, ["x" * 4096])])
    add("above the announced limit", large, 4422, max_frame=4096)
    add("above the announced limit, and malformed", b"\xc1" * 4097, 4422, max_frame=4096)
    # the type
    frame("type: text", "Ack", 5, 3)
    frame("type: a float", float(0x41), 5, 3)
    frame("type: true", True)
    frame("type: nil", None)
    frame("type: that of an entry", "Q", 1)
    frame("type: an unknown letter", "Z")
    frame("type: a small letter is critical as well", "a", 5, 3)
    frame("type: negative", -1)
    frame("type: above 127", 128)
    add("one malformed frame among good ones", msgpack.packb([[0x41, 0, 0], [0x5A]]))
    # Messages
    frame("Messages: number 0", "M", 0, ["x"])
    frame("Messages: a negative number", "M", -1, ["x"])
    frame("Messages: number 2^53", "M", 2**53, ["x"])
    frame("Messages: a float", "M", 1.0, ["x"])
    frame("Messages: true", "M", True, ["x"])
    frame("Messages: a number as text", "M", "1", ["x"])
    frame("Messages: no payloads", "M", 1, [])
    frame("Messages: payloads that are no array", "M", 1, "x")
    frame("Messages: a field too many", "M", 1, ["x"], 0)
    frame("Messages: a field too few", "M", 1)
    frame("Messages: a payload that is an integer", "M", 1, ["x", 5])
    frame("Messages: a payload that is nil", "M", 1, [None])
    frame("Messages: a payload that is an array", "M", 1, [[1]])
    frame("Messages: extension code 0", "M", 1, [msgpack.ExtType(0, b"x")])
    frame("Messages: extension code 2", "M", 1, [msgpack.ExtType(2, b"x")])
    add("Messages: extension code -5", b"\x91\x93\x4d\x01\x91\xd4\xfb\x00")
    add("Messages: a timestamp", b"\x91\x93\x4d\x01\x91\xd6\xff\x00\x00\x00\x00")
    add("Messages: text that is not UTF-8", b"\x91\x93\x4d\x01\x91\xa1\xff")
    add("Messages: text with half a surrogate pair", b"\x91\x93\x4d\x01\x91\xa3\xed\xa0\x80")
    # Part
    frame("Part: number 0", "P", 0, 0, 1, 0, b"x")
    frame("Part: total 0", "P", 1, 0, 0, 0, b"x")
    frame("Part: beyond its total", "P", 1, 2, 2, 0, b"x")
    frame("Part: empty", "P", 1, 0, 1, 0, b"")
    frame("Part: text for bytes", "P", 1, 0, 1, 1, "x")
    frame("Part: kind 3", "P", 1, 0, 1, 3, b"x")
    frame("Part: kind false", "P", 1, 0, 1, False, b"x")
    frame("Part: a negative offset", "P", 1, -1, 1, 0, b"x")
    frame("Part: a field too few", "P", 1, 0, 1, 0)
    # Finish
    frame("Finish: number 0", "F", 0, 1000, "")
    frame("Finish: code 999", "F", 1, 999, "")
    frame("Finish: code 5000", "F", 1, 5000, "")
    frame("Finish: a reason of 124 bytes", "F", 1, 1000, "é" * 62)
    frame("Finish: a reason of bytes", "F", 1, 1000, b"")
    frame("Finish: a field too few", "F", 1, 1000)
    # Ack and Want
    frame("Ack: confirmed above received", "A", 3, 4)
    frame("Ack: negative", "A", 3, -1)
    add("Ack: negative, in 8 bits", b"\x91\x93\x41\xd0\xff\xd0\xff")
    add("Ack: negative, in 64 bits", b"\x91\x93\x41\x00\xd3" + b"\xff" * 8)
    frame("Ack: 2^53", "A", 2**53, 0)
    frame("Ack: false", "A", 0, False)
    frame("Ack: a field too many", "A", 3, 3, 3)
    frame("Want: 0", "N", 0)
    frame("Want: nothing", "N")
    # calls
    frame("CallAck: nothing", "K")
    frame("CallAck: negative", "K", -1)
    frame("CallAck: a field too many", "K", 1, 1)
    frame("Calls: number 0", "C", 0, [[0x56]])
    frame("Calls: no entries", "C", 1, [])
    frame("Calls: entries that are no array", "C", 1, None)
    frame("Calls: a field too many", "C", 1, [[0x56]], 0)
    for name, *entry in [
        ("no array", 5),
        ("no type", []),
        ("a type of text", ["V"]),
        ("an unknown type", [0x5A]),
        ("an unknown type that is not critical", [1]),
        ("a frame's type", [0x41, 0, 0]),
        ("Request: a field too few", [0x51, "add", None, 0]),
        ("Request: a field too many", [0x51, "add", None, 0, "", 0]),
        ("Request: a method of bytes", [0x51, b"add", None, 0, ""]),
        ("Request: a method of 256 bytes", [0x51, "é" * 128, None, 0, ""]),
        ("Request: a negative timeout", [0x51, "add", -1, 0, ""]),
        ("Request: a timeout of 2^53", [0x51, "add", 2**53, 0, ""]),
        ("Request: no credit", [0x51, "add", None, None, ""]),
        ("Request: a payload that is an integer", [0x51, "add", None, 0, 5]),
        ("Request: a payload of extension code 2", [0x51, "add", None, 0, msgpack.ExtType(2, b"")]),
        ("Reply: request 0", [0x52, 0, ""]),
        ("Reply: no payload", [0x52, 1]),
        ("Reply: a payload that is an array", [0x52, 1, [1]]),
        ("Fault: a field too few", [0x45, 1, "", ""]),
        ("Fault: a code that is an integer", [0x45, 1, 404, "", b""]),
        ("Fault: a code of 256 bytes", [0x45, 1, "e" * 256, "", b""]),
        ("Fault: a message of 1001 bytes", [0x45, 1, "e", "m" * 1001, b""]),
        ("Item: request 0", [0x49, 0, ""]),
        ("Item: a payload that is true", [0x49, 1, True]),
        ("Cancel: nothing", [0x43]),
        ("Cancel: request 0", [0x43, 0]),
        ("Credit: a float", [0x47, 1, 5.0]),
        ("Credit: a field too few", [0x47, 1]),
        ("Piece: empty", [0x50, b""]),
        ("Piece: text", [0x50, "x"]),
        ("Void: a field too many", [0x56, 0]),
    ]:
        frame(f"Calls: {name}", "C", 1, entry)
    # counters
    frame("Stop: not stopped", "S", [9, 4, 7, False, []])
    frame("Stop: confirmed above received", "S", [3, 4, 3, True, []])
    frame("Done: handed above received, and not stopped", "D", [3, 3, 4, False, []])
    frame("Stop: stopped is an integer", "S", [3, 3, 3, 1, []])
    frame("Stop: a counter too few", "S", [3, 3, True, []])
    frame("Stop: a counter too many", "S", [3, 3, 3, True, [], 0])
    frame("Stop: counters that are no array", "S", 5)
    frame("Stop: ranges that are no array", "S", [9, 4, 7, True, 5])
    frame("Stop: a range of one number", "S", [9, 4, 7, True, [[6]]])
    frame("Stop: a range next to confirmed", "S", [9, 4, 7, True, [[5, 5]]])
    frame("Stop: a range that ends before it begins", "S", [9, 4, 7, True, [[7, 6]]])
    frame("Stop: ranges that touch", "S", [9, 1, 7, True, [[3, 4], [5, 6]]])
    frame("Stop: ranges out of order", "S", [9, 1, 9, True, [[6, 7], [3, 4]]])
    frame("Stop: a range above received", "S", [9, 4, 7, True, [[6, 10]]])
    frame("Stop: 65 ranges", "S", [200, 0, 150, True, [[n, n] for n in range(2, 132, 2)]])
    frame("Done: no counters", "D")
    frame("Done: nil", "D", None)
    # the greeting
    frame("Refuse: a field too few", "X", 4410, "", 0)
    frame("Refuse: code 0", "X", 0, "", 0, None)
    frame("Refuse: a negative time", "X", 4529, "", -1, None)
    frame("Refuse: bad counters", "X", 4410, "", 0, [1, 2, 3, True, []])
    hello: list[Any] = msgpack.unpackb(encode([HELLO]))[0]
    for name, index, value in [
        ("min version 0", 1, 0),
        ("max version below min", 2, 0),
        ("a session id of 15 bytes", 3, ID[:15]),
        ("a session id of text", 3, "0123456789abcdef"),
        ("a key of 33 bytes", 4, bytes(33)),
        ("attempt 0", 5, 0),
        ("a negative incarnation", 6, -1),
        ("a position of three", 7, [[0, 0, 0, False, []], 0, 1]),
        ("first 0", 7, [[0, 0, 0, False, []], 0, 0, 0]),
        ("a negative partial", 7, [[0, 0, 0, False, []], 0, 1, -1]),
        ("counters of text", 7, ["zero!", 0, 1, 0]),
        ("six limits", 8, [1, 1, 4096, 1, 1, 1]),
        ("a limit of 0", 8, [1, 1, 4096, 1, 1, 1, 0]),
        ("a limit that is a float", 8, [1, 1, 4096.0, 1, 1, 1, 1]),
        ("a position of two calls", 9, [0, 0]),
        ("calls from 0", 9, [0, 0, 0]),
        ("calls that are true", 9, True),
    ]:
        frame(f"Hello: {name}", *hello[:index], value, *hello[index + 1 :])
        if "calls" in name:
            rows[-1]["calls"] = True
    frame("Hello: max frame 4095", *hello[:8], [1, 1, 4095, 1, 1, 1, 1])
    frame("Hello: a field too few", *hello[:8])
    welcome: list[Any] = msgpack.unpackb(encode([WELCOME]))[0]
    for name, index, value in [
        ("version 0", 1, 0),
        ("resumed is an integer", 2, 1),
        ("incarnation 0", 3, 0),
        ("no position", 4, None),
        ("no limits", 5, None),
    ]:
        frame(f"Welcome: {name}", *welcome[:index], value, *welcome[index + 1 :])
    frame("Welcome: a field too few", *welcome[:5])
    return rows
