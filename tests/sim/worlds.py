"""Small worlds, for the explorer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from reliable_ws.protocol.config import Config

from .parts import Options


def small(**fields: Any) -> Config:
    """Limits of a small world; a deadline passes when the explorer says so."""
    return Config(
        open_timeout=1e6,
        idle_timeout=1e6,
        session_ttl=1e6,
        close_progress_timeout=20.0,
        close_timeout=1e7,
        **fields,
    )


NETWORK = frozenset(("dial", "pull", "arrive", "cut", "learn", "ack", "perish"))
READING = frozenset(("send", "take"))
BASE = Options(
    initiator=small(),
    acceptor=small(),
    messages=1,
    sizes=(2,),
    timed=False,
    eager=True,
    deeds=NETWORK | READING | {"close"},
    left=(("cut", 1),),
)


def world_of(also: str = "", *, config: Config | None = None, **changes: Any) -> Options:
    """A small world: BASE, and more deeds."""
    if config is not None:
        changes.update(initiator=config, acceptor=config)
    deeds = BASE.deeds | frozenset(also.split())
    left = changes.pop("left", {})
    without = frozenset(changes.pop("without", "").split())
    budget = tuple(({"cut": 1} | left).items())
    return replace(BASE, deeds=deeds - without, left=budget, **changes)


def stored(options: Options) -> Options:
    """A small world with stores that are given at once what changed."""
    return replace(options, deeds=options.deeds | {"commit", "told"}, submits=True)


def calls_of(also: str = "", count: int = 1, **changes: Any) -> Options:
    """A small world of calls, that ends when all that was asked is answered."""
    without = changes.pop("without", "send take close")
    goal = "answered" if "close" in without else "end"
    also = f"ask answer call_ack {also}"
    return world_of(also, calls=count, goal=goal, without=without, **changes)


IMPATIENT, LARGE_REQUEST, STREAM, RICH = (2, 1.0, 0), (4000, 1.0, 0), (2, None, 9), (2, None, 99)
"""Kinds of requests; an item weighs 9, so one stream has credit for one, the other for eleven."""

ONE = small(batch_messages=1, window_messages=4)
NARROW = small(window_messages=1, window_bytes=4, outbox_messages=4, outbox_bytes=1000)

MESSAGES: dict[str, Options] = {
    "2 each way, 1 cut": world_of(messages=2, preload=2, config=ONE),
    "1 each way, 2 cuts": world_of(left={"cut": 2}),
    "finish or close": world_of("finish", preload=1, config=ONE),
    "timeouts, no tombstone": world_of(
        "expire giveup forget", left={"expire": 1, "giveup": 1, "forget": 1}, preload=1
    ),
    "a crash": world_of("crash forget", left={"crash": 1, "forget": 1}, preload=1),
    "a crash, with stores": stored(
        world_of("crash hand", left={"crash": 1, "cut": 0}, preload=1, durable=(True, True))
    ),
    "a store that is given changes late": world_of(
        "crash submit commit told",
        left={"crash": 1, "cut": 0},
        preload=1,
        without="send",
        durable=(True, False),
    ),
    "a full store": stored(
        world_of("full lazy finish", left={"full": 1, "cut": 0}, preload=1, durable=(True, False))
    ),
    "kept with data": stored(
        world_of(
            "crash hand put apply",
            left={"crash": 1, "cut": 0, "put": 1},
            without="send",
            preload=1,
            messages=2,
            durable=(True, True),
        )
    ),
    "passed on": stored(
        world_of("pass_on", left={"pass_on": 2, "cut": 0}, preload=1, durable=(True, True))
    ),
    "an abort": world_of("abort", left={"abort": 1}, preload=1),
    "deliveries": world_of("hand confirm", preload=1),
    "deliveries out of order": world_of(
        "hand confirm", messages=2, preload=2, config=ONE, left={"cut": 0}
    ),
    "parts": world_of(frame_limit=256 + 2, sizes=(3,)),
    "window of one": world_of(
        "finish", messages=2, config=NARROW, without="close", left={"cut": 0}
    ),
    "frames that wait for each other": world_of(eager=False, left={"cut": 0}),
    "late links": world_of(eager=False, preload=1, config=ONE, without="ack"),
    "heartbeats": world_of("beat", left={"beat": 1}, preload=1),
    "dialling over an open link": world_of("redial", left={"redial": 1}, preload=1, config=ONE),
}
"""Worlds of messages in which connections break: up to minutes each."""

CALLS: dict[str, Options] = {
    "calls that lapse": calls_of(
        "elapse lapse", askers="i", left={"elapse": 1, "cut": 2}, requests=(IMPATIENT,)
    ),
    "a stream": calls_of("item grant drop", askers="i", left={"drop": 1}, requests=(STREAM,)),
    "calls and close": calls_of("drop", askers="i", without="send take", left={"drop": 1}),
    "calls and a close that waits": calls_of(
        "leave late_handlers", askers="i", without="send take close", left={"leave": 2, "cut": 1}
    ),
    "calls and a store at each side": stored(
        calls_of("crash", askers="i", left={"crash": 1, "cut": 0}, durable=(True, True))
    ),
    "calls and late changes": calls_of(
        "crash submit commit told",
        askers="i",
        left={"crash": 1, "cut": 0},
        durable=(False, True),
    ),
    "calls and finish": calls_of(
        "finish refuse", askers="a", without="send take", left={"refuse": 1, "cut": 0}
    ),
    "calls and timeouts": calls_of(
        "expire giveup abort",
        without="send take",
        left={"expire": 1, "giveup": 1, "abort": 1, "cut": 0},
    ),
}
"""Worlds of calls, of a few seconds each."""

LONG_CALLS: dict[str, Options] = {
    "calls": calls_of("drop", left={"drop": 1}),
    "calls, 2 cuts": calls_of(left={"cut": 2}),
    "2 calls, 2 cuts": calls_of(count=2, askers="i", left={"cut": 2}),
    "calls and a crash, with stores": stored(
        calls_of(
            "crash drop",
            askers="i",
            without="send take",
            left={"crash": 1, "cut": 0, "drop": 1},
            durable=(True, True),
        )
    ),
}
"""Larger ones."""

NO_CUT = {"cut": 0}
TINY: dict[str, Options] = {
    "no cut": world_of(left=NO_CUT),
    "no cut: finish": world_of("finish", left=NO_CUT, preload=1, without="close"),
    "no cut: timeouts": world_of(
        "expire giveup", left=NO_CUT | {"expire": 1, "giveup": 1}, preload=1
    ),
    "no cut: a crash": world_of("crash", left=NO_CUT | {"crash": 1}, preload=1),
    "no cut: an abort": world_of("abort", left=NO_CUT | {"abort": 1}, preload=1),
    "no cut: deliveries": world_of("hand confirm", left=NO_CUT, preload=1),
    "no cut: parts": world_of(frame_limit=256 + 2, sizes=(3,), left=NO_CUT),
    "no cut: late links": world_of(eager=False, left=NO_CUT, preload=1, config=ONE, without="ack"),
    "no cut: heartbeats": world_of("beat", left=NO_CUT | {"beat": 1}, preload=1),
    "no cut: dialling": world_of("redial", left=NO_CUT | {"redial": 1}, preload=1),
    "1 cut, both close": world_of(preload=1, without="send", config=ONE),
}
"""One kind of trouble at a time: a second or two each."""

LONG = MESSAGES | LONG_CALLS
"""Walked whole by ``make explore``; every run of the tests begins with each of them."""

QUICK = TINY | CALLS
"""Walked whole by every run of the tests: half a minute together."""

SMALL = QUICK | LONG

LARGE: dict[str, Options] = {
    "large: 2 each way, 1 cut": world_of(messages=2),
    "large: 2 each way, acks late": world_of(messages=2, preload=2, config=small(batch_messages=1)),
    "large: 1 each way, 3 cuts": world_of(left={"cut": 3}),
    "large: finish or close": world_of("finish"),
    "large: finish or close, 2 cuts": world_of("finish", left={"cut": 2}, preload=1),
    "large: timeouts": world_of(
        "expire giveup forget", left={"expire": 2, "giveup": 1, "forget": 1}
    ),
    "large: crashes": world_of("crash forget finish", left={"crash": 2, "forget": 1}, preload=1),
    "large: deliveries": world_of("hand confirm", messages=2, preload=2),
    "large: parts": world_of("finish", frame_limit=256 + 2, sizes=(5,)),
    "large: everything": world_of(
        "finish abort hand confirm expire giveup forget crash redial",
        left={"abort": 1, "expire": 1, "giveup": 1, "forget": 1, "crash": 1, "redial": 1},
        preload=1,
    ),
    "large: calls": calls_of("drop fail", count=2, left={"drop": 1}),
    "large: calls, 3 cuts": calls_of("drop", left={"drop": 1, "cut": 3}),
    "large: calls that lapse": calls_of(
        "elapse lapse", left={"elapse": 1, "cut": 2}, requests=(IMPATIENT,)
    ),
    "large: streams": calls_of("item grant", requests=(STREAM,)),
    "large: calls and the end": calls_of(
        "drop refuse finish fail", without="send take", left={"drop": 1, "refuse": 1}
    ),
    "large: calls and messages": calls_of("finish", messages=1, without=""),
    "large: frames that wait": world_of("redial", left={"redial": 1}, eager=False),
    "large: heartbeats": world_of("beat", left={"beat": 1}),
}
"""Worlds for a free evening: up to tens of millions of states, unless ``--most`` bounds them."""
