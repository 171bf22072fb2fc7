"""Which node answers a Hello: every case, without an engine."""

from __future__ import annotations

from typing import Any

import pytest

from reliable_ws.cluster.records import Found, State, pack_who, runs_of
from reliable_ws.cluster.routing import Claim, Here, PassOn, Refusal, Remember, route
from reliable_ws.protocol.frames import Code, Counters, Hello, Limits, Position
from reliable_ws.protocol.registry import hash_key

ME, OTHER = b"this-node", b"other-node"
KEY = b"k" * 32
RUN = b"run 1"
WHO = pack_who("ann")


def hello(attempt: int = 5, incarnation: int = 7, key: bytes = KEY) -> Hello:
    position = Position(Counters(0, 0, 0, False), 0, 1, 0)
    limits = Limits(1, 1, 4096, 1, 1, 1000, 1000)
    return Hello(1, 1, b"s" * 16, key, attempt, incarnation, position, limits)


def found(owner: bytes = OTHER, address: bytes | None = None, **fields: Any) -> Found:
    whole = {"key": hash_key(KEY), "who": WHO, "attempt": b"4", "level": b"relay", "run": RUN}
    whole |= fields
    return Found(owner, address, {name.encode(): value for name, value in whole.items()})


LOG: dict[str, Any] = {"level": b"log", "facts": b"..."}
PARKED: dict[str, Any] = {"level": b"park", "facts": b"...", "state": State.PARKED.value}


@pytest.mark.parametrize(
    ("said", "record", "is_young", "decision"),
    [
        pytest.param(hello(), None, False, Here(), id="unknown"),
        pytest.param(
            hello(),
            None,
            True,
            Refusal(Code.AWAY, "where this session lives is not known yet"),
            id="unknown, and the engine has just lost what it had: REFUSE-7",
        ),
        pytest.param(
            hello(), Found(OTHER, b"there", {}), False, PassOn(OTHER, b"there"), id="owner lives"
        ),
        pytest.param(
            hello(key=b"x" * 32),
            Found(OTHER, b"there", {}),
            False,
            PassOn(OTHER, b"there"),
            id="owner lives, and compares the key itself",
        ),
        pytest.param(hello(), found(), False, Here(), id="lost with its owner"),
        pytest.param(
            hello(),
            found(),
            True,
            Refusal(Code.AWAY, "where this session lives is not known yet"),
            id="perhaps the owner only has to renew its lease",
        ),
        pytest.param(
            hello(incarnation=0), found(), False, Claim(OTHER, anew=True), id="never welcomed"
        ),
        pytest.param(hello(), found(**LOG), False, Claim(OTHER, anew=False), id="log"),
        pytest.param(
            hello(), found(**LOG | {"run": b"run 0"}), False, Here(), id="log that lost its end"
        ),
        pytest.param(
            hello(attempt=4),
            found(**LOG),
            False,
            Refusal(Code.SUPERSEDED, "a later attempt was seen"),
            id="a stale Hello: RESUME-1",
        ),
        pytest.param(
            hello(), found(address=b"there", **PARKED), False, Claim(OTHER, anew=False), id="parked"
        ),
        pytest.param(
            hello(), found(**PARKED), True, Claim(OTHER, anew=False), id="parked is whole"
        ),
        pytest.param(
            hello(),
            found(**PARKED | {"state": State.LIVE.value}),
            False,
            Here(),
            id="what is left of a parked session that was taken: it is old",
        ),
        pytest.param(
            hello(),
            found(owner=ME, **PARKED | {"state": State.LIVE.value}),
            False,
            Claim(ME, anew=False),
            id="taken by this node, whose answer was lost",
        ),
        pytest.param(hello(key=b"x" * 32), found(**LOG), False, Here(), id="another key: HELLO-5"),
        pytest.param(
            hello(),
            found(**LOG | {"who": pack_who("bob")}),
            False,
            Here(),
            id="another principal: HELLO-5",
        ),
        pytest.param(
            hello(),
            found(state=State.ENDED.value, final=b"..."),
            False,
            Remember(),
            id="ended: TOMB-4",
        ),
        pytest.param(hello(), found(state=State.ENDED.value), False, Here(), id="ended, no more"),
    ],
)
def test_routes(said: Hello, record: Found | None, is_young: bool, decision: object) -> None:
    assert route(said, WHO, record, ME, RUN, is_young=is_young) == decision


def test_runs_come_in_the_order_of_their_numbers() -> None:
    import msgpack

    fields = {
        b"m10": msgpack.packb((1, b"b")),
        b"m2": msgpack.packb((8, b"a")),
        b"c1": msgpack.packb((1, b"c")),
        b"facts": b"",
    }
    assert [(run.first, run.last) for run in runs_of(fields, b"m")] == [(2, 9), (10, 10)]
