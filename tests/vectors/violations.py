"""Conversations with a side that breaks the rules, or greets in vain."""

from __future__ import annotations

from typing import Any

from reliable_ws.protocol.frames import (
    Ack,
    CallAck,
    CallPosition,
    Calls,
    Counters,
    Done,
    Finish,
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
from tests.vectors.frames import HELLO, START, WELCOME, ZERO
from tests.vectors.recorder import A, I, Recorder, begin


def violations() -> list[dict[str, Any]]:
    """What a peer must not say, and how the session ends."""
    rows = []
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
    return rows


def greetings() -> list[dict[str, Any]]:
    """Greetings that are answered by no, or by nothing."""
    rows = []
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

    copied = begin(
        "refused: an old copy, while the holder has a link",
        "A Hello from a copy of the initiator's state: 4409, and the session goes on.",
    )
    copied.send(I, "hi").pump().do("take", A, count=1)
    rows.append(copied.dial().forge(I, HELLO._replace(attempt=2, incarnation=42)).end())

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
