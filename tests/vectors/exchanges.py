"""Conversations of sides that both keep to the rules."""

from __future__ import annotations

from typing import Any

from tests.vectors.frames import HELLO
from tests.vectors.recorder import BYE, A, I, Recorder, begin


def exchanges() -> list[dict[str, Any]]:
    """Messages, ends, and what is lost and comes again."""
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
        .do("close", I, **BYE)
        .do("take", A, count=1)
        .end(),
        begin("close by the acceptor", "It stops and finishes; what it said is taken, then Done.")
        .send(A, "last")
        .pump()
        .do("close", A, **BYE)
        .do("take", I, count=1)
        .end(),
        begin("both finish", "Half-closes, no Stop at all: Done with the last Finish taken.")
        .send(I, "a")
        .do("finish", I, **BYE)
        .send(A, "b")
        .do("finish", A, **BYE)
        .do("take", I, count=1)
        .do("take", A, count=1)
        .end(),
        begin("closed on by the peer", "Stop settles: 1 confirmed, 2 handed over, 3 not taken.")
        .send(I, "one", "two", "three")
        .pump()
        .do("take", A, count=1)
        .do("hand over", A, count=1)
        .do("close", A, **BYE)
        .do("close", I, **BYE)
        .end(),
        begin("confirmed out of order", "A range in Stop: 2 is confirmed, 1 is not.")
        .send(I, "one", "two")
        .pump()
        .do("hand over", A, count=2)
        .do("confirm", A, number=2)
        .do("close", A, **BYE)
        .do("close", I, **BYE)
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
    first_part = parts.conversation.pull(I)
    assert first_part is not None
    parts.said(I, first_part)
    parts.pump(I)
    rows.append(parts.act("cut").do("dial").do("take", A, count=1).end())

    unknown = begin("unknown session", "The acceptor forgot: Refuse 4404; outcomes are unknown.")
    rows.append(unknown.send(I, "hi").pump().do("cut").do("forget").do("dial").end())

    tomb = begin("tombstone", "Done is lost; the tombstone answers with the final counters.")
    tomb.send(I, "hi").pump().do("close", I, **BYE).quiet("take", A, lose=A, count=1)
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
    done.send(I, "hi").pump().do("finish", I, **BYE).quiet("close", A, lose=A, **BYE).do("cut")
    rows.append(done.do("dial").end())

    met = begin("done by the position in a Hello", "No Welcome: Refuse 4410 with counters.")
    met.send(A, "hi").pump().do("take", I, count=1).quiet("close", A, lose=I, **BYE)
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
    rows.append(
        begin("a heartbeat by occasion", "What arrives is answered when ours is nearly due.")
        .do("wait", seconds=6.1)
        .send(A, "news")
        .pump()
        .end()
    )
    return rows
