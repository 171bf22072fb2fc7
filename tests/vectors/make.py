"""Write the golden vectors: ``python -m tests.vectors.make``. A test compares the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack

from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.config import Config
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
    Hello,
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
    Welcome,
)
from reliable_ws.protocol.payload import seal_weight
from tests.support.pair import ID, KEY
from tests.vectors.stage import Stage, items_to_json, to_json

HERE = Path(__file__).parent

ZERO = Counters(0, 0, 0, False)
START = Position(ZERO, 0, 1, 0)
LIMITS = Config().limits(None)
CALLS = CallPosition(0, 0, 1)
HELLO = Hello(1, 1, ID, KEY, 1, 0, START, LIMITS, CALLS)
WELCOME = Welcome(1, False, 42, START, LIMITS, CALLS)
FINAL = Counters(8, 8, 7, False)
CALL_LETTERS = "CK"


# -------------------------------------------------------------------------- good and bad


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


def weights() -> list[dict[str, Any]]:
    """Payloads, and what each weighs in the window in bytes."""
    payloads = [
        "",
        "hi",
        "é",
        "😀",
        b"",
        b"\x00\xff",
        "x" * 300,
        msgpack.ExtType(1, b"\xc0"),
        msgpack.ExtType(1, msgpack.packb({"a": 1})),
        msgpack.ExtType(1, msgpack.packb(list(range(100)))),
    ]
    return [{"payload": to_json(payload), "weight": seal_weight(payload)} for payload in payloads]


# -------------------------------------------------------------------------- conversations


class Recorder:
    """Plays a conversation and writes down who does and who says what."""

    def __init__(self, name: str, about: str, **config: Any) -> None:
        self.row: dict[str, Any] = {"name": name, "about": about, "config": config, "steps": []}
        self.stage = Stage(config)

    def do(self, verb: str, at: str | None = None, **more: Any) -> Recorder:
        """Let something happen, and everything that is said because of it."""
        step = {"do": verb, **({"at": at} if at else {}), **more}
        self.row["steps"].append(step)
        self.stage.act(step)
        return self.pump()

    def send(self, at: str, *payloads: Any) -> Recorder:
        """Send messages in one turn."""
        for payload in payloads:
            step = {
                "do": "send",
                "at": at,
                "payload": to_json(payload),
                "weight": seal_weight(payload),
            }
            self.row["steps"].append(step)
            self.stage.act(step)
        return self

    def want(self, at: str, number: int) -> Recorder:
        step = {"do": "want", "at": at, "number": number}
        self.row["steps"].append(step)
        self.stage.act(step)
        return self

    def pump(self, lose: str = "") -> Recorder:
        """Write down what both sides say until both are silent; one side may be lost."""
        while True:
            silent = True
            for side in ("initiator", "acceptor"):
                while (data := self.stage.pull(side)) is not None:
                    silent = False
                    self._said(side, data, lost=side == lose)
            if silent:
                return self

    def _said(self, side: str, data: bytes, *, lost: bool = False, forged: bool = False) -> None:
        step: dict[str, Any] = {"from": side, "hex": data.hex(), "frames": items_to_json(data)}
        if lost:
            step["lost"] = True
        if forged:
            step["forged"] = True
        self.row["steps"].append(step)
        if not lost:
            self.stage.deliver(side, data)

    def forge(self, side: str, *frames: Frame) -> Recorder:
        """Put words into a side's mouth; the other's answer is not heard by it."""
        self._said(side, encode(frames), forged=True)
        other = "acceptor" if side == "initiator" else "initiator"
        while (data := self.stage.pull(other)) is not None:
            self._said(other, data, lost=True)
        return self

    def dial(self) -> Recorder:
        """Open a WebSocket on which nobody has spoken."""
        self.row["steps"].append({"do": "dial"})
        self.stage.act({"do": "dial"})
        return self

    def quiet(self, verb: str, at: str | None = None, *, lose: str = "", **more: Any) -> Recorder:
        """As :meth:`do`, while everything that ``lose`` says is lost."""
        step = {"do": verb, **({"at": at} if at else {}), **more}
        self.row["steps"].append(step)
        self.stage.act(step)
        return self.pump(lose)

    def end(self) -> dict[str, Any]:
        """Return the conversation with what both sides know in the end."""
        said = [step["frames"] for step in self.row["steps"] if "frames" in step]
        if any(frame[0] in CALL_LETTERS for frames in said for frame in frames):
            self.row["calls"] = True
        self.row["outcome"] = self.stage.outcome()
        return self.row


A, I = "acceptor", "initiator"  # noqa: E741


def conversations() -> list[dict[str, Any]]:
    """Whole exchanges, to be replayed step by step."""
    bye = {"code": 1000, "reason": "bye"}

    def begin(name: str, about: str, **config: Any) -> Recorder:
        return Recorder(name, about, **config).do("dial")

    rows = [
        begin("greeting", "Hello and Welcome; nothing else is said.").end(),
        begin("one confirmed message", "Want brings the Ack as soon as the message is taken.")
        .send(I, "hi")
        .want(I, 1)
        .pump()
        .do("take", A, count=1)
        .end(),
        begin("an ack that is not due", "What is new is told within 25 ms.")
        .send(I, "hi")
        .pump()
        .do("take", A, count=1)
        .do("wait", seconds=0.03)
        .end(),
        begin("an ack that rides", "The answer carries the Ack of the question.")
        .send(I, "question")
        .pump()
        .quiet("take", A, count=1)
        .send(A, "answer")
        .pump()
        .do("take", I, count=1)
        .end(),
        begin("close by the initiator", "Finish behind a message; Done once it is taken.")
        .send(I, "last")
        .pump()
        .do("close", I, **bye)
        .do("take", A, count=1)
        .end(),
        begin("close by the acceptor", "It stops and finishes; what it said is taken, then Done.")
        .send(A, "last")
        .pump()
        .do("close", A, **bye)
        .do("take", I, count=1)
        .end(),
        begin("both finish", "Half-closes, no Stop at all: Done with the last Finish taken.")
        .send(I, "a")
        .do("finish", I, **bye)
        .send(A, "b")
        .do("finish", A, **bye)
        .do("take", I, count=1)
        .do("take", A, count=1)
        .end(),
        begin("closed on by the peer", "Stop settles: 1 confirmed, 2 handed over, 3 not taken.")
        .send(I, "one", "two", "three")
        .pump()
        .do("take", A, count=1)
        .do("hand over", A, count=1)
        .do("close", A, **bye)
        .do("close", I, **bye)
        .end(),
        begin("confirmed out of order", "A range in Stop: 2 is confirmed, 1 is not.")
        .send(I, "one", "two")
        .pump()
        .do("hand over", A, count=2)
        .do("confirm", A, number=2)
        .do("close", A, **bye)
        .do("close", I, **bye)
        .end(),
    ]

    cut = begin("resume with replay", "Replay starts behind what was received, in both directions.")
    cut.send(I, "one", "two").pump().do("take", A, count=1)
    cut.send(I, "three").send(A, b"back").pump("initiator").do("cut").do("dial")
    rows.append(cut.do("take", A, count=2).do("take", I, count=1).end())

    lost = Recorder("a lost Welcome", "Hello again, with a higher attempt, is answered the same.")
    rows.append(lost.quiet("dial", lose=A).do("cut").do("dial").end())

    parts = begin(
        "resume inside a message",
        "All but the first part is lost, and cut anew, though all was sent.",
        max_frame=4096,
    )
    parts.send(I, b"x" * 9000)
    first_part = parts.stage.pull(I)
    assert first_part is not None
    parts._said(I, first_part)
    parts.pump(I)
    parts.row["steps"].append({"do": "cut"})
    parts.stage.act({"do": "cut"})
    rows.append(parts.do("dial").do("take", A, count=1).end())

    unknown = begin("unknown session", "The acceptor forgot: Refuse 4404; outcomes are unknown.")
    rows.append(unknown.send(I, "hi").pump().do("cut").do("forget").do("dial").end())

    tomb = begin("tombstone", "Done is lost; the tombstone answers with the final counters.")
    tomb.send(I, "hi").pump().do("close", I, **bye).quiet("take", A, lose=A, count=1)
    rows.append(tomb.do("cut").do("dial").end())

    asked = begin(
        "tombstone: a stale attempt", "A Hello that was answered counts: 4410, then 4409."
    )
    asked.do("abort", A, reason="fire").do("cut")
    again = HELLO._replace(attempt=2, incarnation=42)
    for hello in (again, again, again._replace(attempt=3, key=bytes(32))):
        asked.dial().forge(I, hello)
    rows.append(asked.end())

    done = begin(
        "Done after a resume",
        "Welcome says what the lost Stop said; the lost Finish is sent again.",
    )
    done.send(I, "hi").pump().do("finish", I, **bye).quiet("close", A, lose=A, **bye).do("cut")
    rows.append(done.do("dial").end())

    met = begin("done by the position in a Hello", "No Welcome: Refuse 4410 with counters.")
    met.send(A, "hi").pump().do("take", I, count=1).quiet("close", A, lose=I, **bye)
    rows.append(met.do("cut").do("dial").end())

    about = "Two of 46 fit into 100; what is larger goes alone."
    heavy = begin("a window in bytes", about, window_bytes=100, outbox_bytes=1000)
    heavy.send(I, "a" * 40, "b" * 40, "c" * 40, "d" * 200, "e")
    for number in (2, 3, 4, 5):
        heavy.want(I, number).pump().do("take", A, count=2 if number == 2 else 1)
    rows.append(heavy.end())

    rows.append(
        begin("abort", "Refuse with final counters: the peer learns what was not taken.")
        .send(I, "hi")
        .send(A, "ho")
        .pump()
        .do("abort", A, reason="fire")
        .end()
    )
    rows.append(
        begin("heartbeat", "After a third of the idle time, an Ack of nothing new.")
        .do("wait", seconds=7)
        .end()
    )

    rows += call_conversations()

    stopped = Counters(9, 0, 0, True)
    for name, *frames in [
        ("a gap", Messages(2, ["x"])),
        ("a repeat", Messages(1, ["x"]), Messages(1, ["x"])),
        ("behind Finish", Finish(1, 1000, ""), Messages(2, ["x"])),
        ("a Finish out of place", Finish(2, 1000, "")),
        ("Finish inside a message", Part(1, 0, 2, 0, b"x"), Finish(1, 1000, "")),
        ("a part out of place", Part(1, 1, 2, 0, b"x")),
        ("parts of different totals", Part(1, 0, 3, 0, b"x"), Part(1, 1, 2, 0, b"x")),
        ("a part of too large a message", Part(1, 0, 64 * 1024 * 1024 + 1, 0, b"x")),
        ("parts that are no text", Part(1, 0, 2, 1, b"\xc3"), Part(1, 1, 2, 1, b"x")),
        ("an ack of what was not sent", Ack(1, 0)),
        ("a Stop of what was not sent", Stop(stopped)),
        ("a Want that nothing reaches", Want(40_000)),
        ("a second Hello", HELLO),
        ("Welcome to an acceptor", WELCOME),
        ("Done to an acceptor", Done(ZERO)),
        ("a gap in the calls", Calls(2, [Void()])),
        ("a repeat in the calls", Calls(1, [Void()]), Calls(1, [Void()])),
        ("a call behind Finish", Finish(1, 1000, ""), Calls(1, [Void()])),
        ("an ack of a call that was not sent", CallAck(1)),
        ("a reply to what was never asked", Calls(1, [Reply(1, "")])),
        ("pieces that belong to nothing", Calls(1, [Piece(b"x"), Request("m", None, 0, "")])),
        ("pieces that make no payload", Calls(1, [Piece(b"\xa5"), Request("m", None, 0, None)])),
        ("a payload of no pieces", Calls(1, [Request("m", None, 0, None)])),
    ]:
        bad_one = begin(f"violation: {name}", "The acceptor ends with its final counters.")
        rows.append(bad_one.forge(I, *frames).end())
    rows.append(
        begin("violation: Done too early", "The initiator has neither stopped nor taken Finish.")
        .forge(A, Done(ZERO))
        .end()
    )
    full = begin("violation: more messages than the window", "Three at once.", window_messages=2)
    rows.append(full.forge(I, Messages(1, ["x"] * 3)).end())
    many = Calls(1, [Request("m", None, 0, "")] * 3)
    row = begin("violation: more requests than announced", "Three at once.", max_requests=2)
    rows.append(row.forge(I, many).end())
    row = begin("violation: more items than the credit", "A plain request has none.")
    row.do("request", I, method="m", payload="")
    rows.append(row.forge(A, Calls(1, [Item(1, "")])).end())
    early = Recorder("violation: not Hello", "The first envelope is something else.")
    rows.append(early.dial().forge(I, Ack(0, 0)).end())
    both = Recorder("violation: Hello and more", "The first envelope holds another frame.")
    rows.append(both.dial().forge(I, HELLO, Ack(0, 0)).end())

    long_ago = Position(ZERO, 7, 7, 0)
    for name, about, message, answer in [
        ("another version", "It was not offered: 4426.", False, WELCOME._replace(version=2)),
        ("another incarnation", "4422.", True, WELCOME._replace(incarnation=43)),
        ("state lost", "It cannot send 1 again: 4422.", False, WELCOME._replace(position=long_ago)),
        (
            "partial as long as the message",
            "4422.",
            True,
            WELCOME._replace(position=START._replace(partial=2)),
        ),
        (
            "partial of no message",
            "4422.",
            False,
            WELCOME._replace(position=START._replace(partial=2)),
        ),
    ]:
        bad_one = Recorder(
            f"bad Welcome: {name}", f"It is answered by Refuse with counters. {about}"
        )
        if message:
            bad_one.do("dial").do("cut").send(I, "hi")
        rows.append(bad_one.quiet("dial", lose=I).forge(A, answer).end())

    strange = Recorder("no Welcome, never before", "Something else: it ends without a word.")
    rows.append(strange.quiet("dial", lose=I).forge(A, Ack(0, 0)).end())
    strange = begin("no Welcome, but once before", "Something else: it comes again.").do("cut")
    rows.append(strange.quiet("dial", lose=I).forge(A, Ack(0, 0)).do("cut").do("dial").end())
    later = Recorder("refused: later", "4529 to a first Hello; the next one is welcomed.")
    later.quiet("dial", lose=I).forge(A, Refuse(4529, "busy", 1000, None))
    rows.append(later.do("cut").do("dial").end())
    more = Recorder("Welcome and more", "Messages in the envelope of Welcome are taken in.")
    more.quiet("dial", lose=I).forge(A, WELCOME, Messages(1, ["hi"]))
    rows.append(more.do("take", I, count=1).end())

    resume = HELLO._replace(attempt=2, incarnation=42)
    ahead = Position(ZERO, 5, 5, 0)
    told = Position(Counters(1, 1, 1, False), 0, 1, 0)
    for name, about, hello in [
        ("a stale attempt", "Not above the highest seen: 4409.", resume._replace(attempt=1)),
        ("another key", "As if unknown: 4404.", resume._replace(key=bytes(32))),
        ("another incarnation", "As if unknown: 4404.", resume._replace(incarnation=41)),
        ("no common version", "4426.", resume._replace(min_version=2, max_version=3)),
        ("state lost: first", "It cannot send 1 again.", resume._replace(position=ahead)),
        (
            "state lost: received",
            "It received what was never sent.",
            resume._replace(position=told),
        ),
        (
            "state lost: calls",
            "It received a call that was never sent.",
            resume._replace(calls=CallPosition(1, 0, 1)),
        ),
        ("calls no more", "It had a position of calls before.", resume._replace(calls=None)),
    ]:
        row = begin(f"refused: {name}", about).do("cut").dial().forge(I, hello)
        if "calls" in name:
            row.row["calls"] = True
        rows.append(row.end())
    return rows


def call_conversations() -> list[dict[str, Any]]:
    """Exchanges of sides that both take calls."""
    bye = {"code": 1000, "reason": "bye"}

    def begin(name: str, about: str, **config: Any) -> Recorder:
        return Recorder(name, about, **config).do("dial")

    def ask(recorder: Recorder, payload: Any = "", **more: Any) -> Recorder:
        return recorder.do("request", I, method="add", payload=to_json(payload), **more)

    rows = []
    call = ask(begin("a call", "Acks of calls ride, or come within 25 ms."), "1 2")
    rows.append(call.do("reply", A, request=1, payload="3").do("wait", seconds=0.03).end())
    call = ask(begin("a call with a deadline", "What is left of it travels."), timeout=5)
    rows.append(call.do("fault", A, request=1, code="timeout", message="").end())

    stream = ask(begin("a stream", "Two items of 8, one more for the credit, the end."), credit=10)
    for item in ("é", "hi"):
        stream.do("item", A, request=1, payload=item)
    stream.do("grant", I, request=1, total=26).do("item", A, request=1, payload="ho")
    rows.append(stream.do("reply", A, request=1, payload="").end())

    call = begin("taken back, and cancelled", "2 has not gone yet: a Void. 1 has: a Cancel.")
    ask(call).quiet("wait", seconds=0)
    for payload in ("two", "three"):
        step = {"do": "request", "at": I, "method": "add", "payload": payload}
        call.row["steps"].append(step)
        call.stage.act(step)
    step = {"do": "cancel", "at": I, "request": 2}
    call.row["steps"].append(step)
    call.stage.act(step)
    call.do("cancel", I, request=1).do("fault", A, request=1, code="cancelled", message="")
    rows.append(call.do("reply", A, request=3, payload="late").end())

    call = ask(begin("a lost reply", "It is said again; the request is not."))
    call.quiet("reply", A, lose=A, request=1, payload="3").do("cut").do("dial")
    rows.append(call.do("wait", seconds=0.03).end())

    call = begin("a lost request that has expired", "A Void has its number; it is never run.")
    call.quiet("request", I, lose=I, method="add", payload="", timeout=5).do("cut")
    rows.append(call.do("wait", seconds=6).do("dial").do("wait", seconds=0.03).end())

    pieces = begin("a call in pieces", "Some of them are lost and go again.", max_frame=4096)
    step = {"do": "request", "at": I, "method": "add", "payload": "x" * 9000}
    pieces.row["steps"].append(step)
    pieces.stage.act(step)
    for loss in (False, True):
        data = pieces.stage.pull(I)
        assert data is not None
        pieces._said(I, data, lost=loss)
    pieces.do("cut").do("dial")
    rows.append(pieces.do("reply", A, request=4, payload="done").end())

    call = ask(ask(begin("calls and the close", "Owed answers go before Finish.")))
    call.send(A, "last").pump().do("close", A, **bye)
    call.do("reply", A, request=1, payload="").do("fault", A, request=2, code="closing", message="")
    rows.append(call.do("take", I, count=1).do("close", I, **bye).end())

    call = begin("a stop and calls", "The last CallAck goes before Stop: 2 was not taken.")
    call.send(I, "untaken").pump()
    ask(call).quiet("request", I, lose=I, method="add", payload="")
    call.quiet("close", A, lose=I, **bye)
    rows.append(call.do("close", I, **bye).do("fault", A, request=1, code="x", message="").end())
    return rows


# -------------------------------------------------------------------------- files


def build() -> dict[str, str]:
    """Return the text of every file, by name."""
    parts = {
        "good.json": good(),
        "bad.json": bad(),
        "weights.json": weights(),
        "conversations.json": conversations(),
    }
    return {name: _text(rows) for name, rows in parts.items()}


def _text(rows: list[dict[str, Any]]) -> str:
    """One row per line, and one step per line: readable, and good to compare."""

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=True)

    out = []
    for row in rows:
        if "steps" not in row:
            out.append("  " + line(row))
            continue
        steps = ",\n".join(f"      {line(step)}" for step in row["steps"])
        head = {key: row[key] for key in ("name", "about", "config", "calls") if key in row}
        body = f'"steps": [\n{steps}\n    ],\n    "outcome": {line(row["outcome"])}'
        out.append("  {" + line(head)[1:-1] + ",\n    " + body + "\n  }")
    return "[\n" + ",\n".join(out) + "\n]\n"


if __name__ == "__main__":
    for name, text in build().items():
        (HERE / name).write_text(text)
