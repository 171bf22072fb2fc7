"""What a mutant is, and where each is looked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.sim.parts import Options
from tests.sim.worlds import (
    IMPATIENT,
    LARGE_REQUEST,
    NARROW,
    ONE,
    RICH,
    STREAM,
    calls_of,
    small,
    stored,
    world_of,
)

Replace = Callable[[Any, str, Any], None]


class Mutant(NamedTuple):
    """One guard removed."""

    name: str
    install: Callable[[Replace], None]
    world: str
    "Where the explorer looks for it."
    changes: dict[str, Any]
    "What the world is told, where the guard is not in the core alone."


WORLDS: dict[str, Options] = {
    "cut": world_of(preload=1),
    "finish": world_of("finish", preload=1),
    "two": world_of("hand confirm", messages=2, preload=2, config=ONE, left={"cut": 0}),
    "deliveries": world_of("hand confirm", preload=1),
    "timeouts": world_of("expire giveup", left={"expire": 1, "giveup": 1}, preload=1),
    "forget": world_of("forget crash", left={"forget": 1, "crash": 1}, preload=1),
    "parts": world_of(frame_limit=256 + 2, sizes=(3,)),
    "redial": world_of("redial", left={"redial": 1}, preload=1),
    "waiting": world_of("redial", left={"redial": 1}, eager=False, without="send"),
    "window": world_of(config=NARROW, messages=2, preload=2, left={"cut": 0}),
    "a call": calls_of(askers="i"),
    "a call, dropped": calls_of("drop", askers="i", left={"drop": 1}),
    "a call, late": calls_of("elapse lapse", askers="i", left={"elapse": 1}, requests=(IMPATIENT,)),
    "a call, close": calls_of(askers="i", without="send take"),
    "a call, leave": calls_of(
        "leave late_handlers", askers="ia", without="send take close", left={"leave": 2, "cut": 0}
    ),
    "a call, finish": calls_of("finish", askers="i", without="send take", left={"cut": 0}),
    "one at a time": calls_of(count=2, askers="i", config=small(max_requests=1), left={"cut": 0}),
    "large calls": calls_of(
        "elapse lapse",
        askers="i",
        left={"elapse": 1},
        requests=(LARGE_REQUEST,),
        config=small(max_frame=4096),
    ),
    "a stream": calls_of("item grant", askers="i", requests=(STREAM,), left={"cut": 0}),
    "a crowded stream": calls_of(
        "item",
        askers="i",
        requests=(RICH,),
        left={"cut": 0},
        items=3,
        config=small(outbox_bytes=30),
    ),
    "stores": stored(
        world_of("crash hand", left={"crash": 1, "cut": 0}, preload=1, durable=(True, True))
    ),
    "stores, full": stored(
        world_of("full lazy", left={"full": 1, "cut": 0}, preload=1, durable=(True, True))
    ),
    "stores, a call": stored(
        calls_of("crash", askers="i", left={"crash": 1, "cut": 0}, durable=(True, True))
    ),
}

DIRECTED: dict[str, Options] = {
    "stores, only handed": stored(
        world_of(
            "crash hand",
            left={"crash": 1, "cut": 0},
            preload=1,
            without="send take",
            durable=(False, True),
        )
    ),
    "stores, an end": stored(world_of(left={"cut": 1}, without="send take", durable=(False, True))),
    "stores, a stream": stored(
        calls_of(
            "crash item grant",
            askers="i",
            requests=(STREAM,),
            left={"crash": 1, "cut": 0},
            durable=(True, False),
        )
    ),
    "stores, asked": stored(
        calls_of("crash", askers="i", left={"crash": 1, "cut": 0}, durable=(True, False))
    ),
    "stores, taken back": stored(
        calls_of(
            "crash drop", askers="i", left={"crash": 1, "drop": 1, "cut": 0}, durable=(True, False)
        )
    ),
    "stores, applied": stored(
        world_of(
            "crash hand apply",
            messages=2,
            preload=2,
            left={"crash": 1, "cut": 0},
            without="send take close",
            durable=(False, True),
        )
    ),
    "stores, applied once": stored(
        world_of(
            "crash hand apply",
            preload=1,
            left={"crash": 1, "cut": 0},
            without="send take",
            durable=(False, True),
        )
    ),
}
"""Worlds in which one guard is all that matters, for guards that schedules seldom need."""

WORLDS |= DIRECTED

ALONE = "-"
"""Nowhere: the simulator alone sees it, as it takes a clock, large calls, or several crashes."""

MUTANTS: list[Mutant] = []


def mutant(name: str, world: str = "cut", **changes: Any) -> Any:
    def keep(install: Callable[[Replace], None]) -> Callable[[Replace], None]:
        MUTANTS.append(Mutant(name, install, world, changes))
        return install

    return keep
