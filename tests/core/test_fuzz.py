"""Any input is either understood or blamed on the peer; nothing else ever escapes (FRAME-5)."""

from __future__ import annotations

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import ConnectionClosed, OutboxFull, Violation
from reliable_ws.protocol.events import Ended
from reliable_ws.protocol.frames import Code, Frame
from reliable_ws.protocol.registry import SessionRegistry
from reliable_ws.protocol.report import End, Outcome
from tests.support.calls import session_calls
from tests.support.examples import examples

from .helpers import INCARNATION, NO_CALLS_YET, NOW, SIDES, SMALL, Lone, hello, limits, raw, welcome
from .test_codec import EVERY

KINDS = {End.VIOLATION, End.REFUSED, End.SUPERSEDED, End.FINISHED}

numbers = st.sampled_from([0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 2**31, 2**53 - 1])
few = st.integers(0, 3)
junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=9)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=9))
    | st.builds(msgpack.Timestamp, st.integers(-(2**60), 2**60), st.integers(0, 10**9 - 1)),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good envelope with something wrong in it: an item, a byte, its length."""
    frame = draw(st.sampled_from(EVERY))
    array = msgpack.unpackb(encode([frame]), max_map_len=9)
    for _ in range(draw(st.integers(0, 2))):
        place = array[0]
        while draw(st.booleans()):
            inner = [item for item in place if isinstance(item, list) and item]
            if not inner:
                break
            place = draw(st.sampled_from(inner))
        place[draw(st.integers(0, len(place) - 1))] = draw(junk)
    data = bytearray(msgpack.packb(array))
    for _ in range(draw(st.integers(0, 2))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.none() | st.integers(0, len(data)))])


anything = st.binary(max_size=300) | st.text(max_size=99) | mutated() | junk.map(msgpack.packb)


@examples(1000)
@given(anything)
def test_decoding_gives_good_frames_or_a_violation(data):
    """FRAME-5: and what it gives can be encoded again, to the same."""
    try:
        frames = decode(data, 4096)
    except Violation as violation:
        fault: Violation | None = violation
    else:
        fault = None
        assert not frames or decode(encode(frames), 2**20) == frames
    assert fault is None or fault.code in (Code.MALFORMED, Code.VIOLATION)
    assert fault is None or fault.reason.isprintable()


@examples(300)
@given(st.sampled_from(SIDES), st.lists(anything, min_size=1, max_size=4))
def test_a_link_understands_or_blames(side, inputs):
    lone = side(SMALL)
    lone.sends("a", "b")
    for data in inputs:
        lone.hears_raw(data)
        lone.says()
    refresh(lone)


@examples(300)
@given(st.lists(anything, min_size=1, max_size=3), st.booleans())
def test_an_arrival_understands_or_blames(inputs, known):
    registry = SessionRegistry(INCARNATION - 1, SMALL)
    if known:
        registry.arrive(NOW).receive(encode([hello()]), NOW)
    arrival = registry.arrive(NOW)
    for data in inputs:
        arrival.receive(data, NOW)
    assert (arrival.link is None) or (arrival.close_action is None)
    assert len(registry) <= 2
    if arrival.close_action is not None:
        answer = arrival.transmit(NOW)
        assert answer is not None
        assert decode(answer, 2**20)


def refresh(lone: Lone) -> None:
    """The session ended as a session may end, or lives; it holds no more than it may."""
    session = lone.session
    if session.ended is not None:
        assert session.ended.kind in KINDS
        assert session.report().final
        assert len(str(session.ended)) < 1000
    assert sum(isinstance(event, Ended) for event in lone.events) <= 1
    assert session.inbox.held + session.inbox.partial <= 2 * (40_000 + 30_000) + 64 * 5
    assert len(session.inbox) <= SMALL.window_messages


# ------------------------------------------------------------------ a peer that lies well


counter_sets = st.tuples(few | numbers, few, few, st.sampled_from([True, True, False])).map(
    lambda drawn: [max(drawn[:3]), drawn[1], drawn[2], drawn[3], []]
)
acks = st.tuples(few | numbers, few).map(lambda drawn: (max(drawn), drawn[1]))
texts = st.sampled_from(["", "a", "xyz"])
payloads = st.lists(texts | st.just(b"x" * 900), min_size=1, max_size=5)
near = numbers | st.just(-1)
"""-1: the number that is right at that moment."""

lies = st.one_of(
    st.tuples(st.just("M"), near, payloads),
    st.tuples(st.just("M"), st.just(-1), payloads),
    acks.map(lambda drawn: ("A", *drawn)),
    st.tuples(st.just("N"), numbers),
    st.tuples(st.just("F"), near, st.just(1000), texts),
    st.tuples(
        st.just("P"), near, numbers, numbers, st.integers(0, 2), st.binary(min_size=1, max_size=4)
    ),
    st.tuples(st.just("S"), counter_sets),
    st.tuples(st.just("D"), counter_sets),
    st.tuples(st.just("X"), st.sampled_from([4410, 4409, 4499, 4529]), texts, numbers, st.none()),
    st.tuples(
        st.just("X"), st.sampled_from([4410, 4529, 1000]), texts, numbers, st.none() | counter_sets
    ),
)
entries = st.one_of(
    st.tuples(st.just(81), texts, st.none() | numbers, few, st.none() | texts),
    st.tuples(st.just(82), few, st.none() | texts),
    st.tuples(st.just(69), few, texts, texts, st.none() | texts),
    st.tuples(st.just(73), few, texts | st.just("x" * 900)),
    st.tuples(st.just(67), few),
    st.tuples(st.just(71), few, numbers),
    st.tuples(st.just(80), st.binary(min_size=1, max_size=4) | st.just(b"\xa1x")),
    st.just((86,)),
)
call_lies = st.one_of(
    st.tuples(st.just("C"), near | st.just(-1), st.lists(entries, min_size=1, max_size=4)),
    st.tuples(st.just("C"), st.just(-1), st.lists(entries, min_size=1, max_size=2)),
    st.tuples(st.just("K"), few),
)
call_deeds = st.sampled_from(["ask", "ask", "answer", "cancel", "item", "grant"])
plain_lies = st.one_of(  # right at first sight
    st.tuples(few, few).map(lambda drawn: ("A", max(drawn), min(drawn))),
    st.tuples(few, few, few).map(lambda drawn: ("S", [3, min(drawn), max(drawn), True, []])),
)
deeds = st.sampled_from(
    ["send", "send", "take", "deliver", "confirm", "close", "finish", "wait", "lost", "abort"]
)
SHORT = Config(
    window_messages=4,
    window_bytes=4000,
    max_frame=8192,
    max_message=30_000,
    max_requests=3,
    session_ttl=60,
)


def positions(lone: Lone) -> st.SearchStrategy:
    return st.tuples(counter_sets, numbers, st.integers(1, 6), st.just(0) | numbers)


@examples(500)
@given(st.data(), st.sampled_from(SIDES))
def test_no_lie_makes_a_session_raise_or_take_back_an_outcome(data, side):
    """CLOSE-4, ACK-7: frames of the right form with any numbers, between deeds of ours."""
    lone = side(
        SHORT, limits=limits(window_messages=3, max_frame=4096, max_requests=3), calls=NO_CALLS_YET
    )
    lone.sends("a", "b", "c")
    final: dict[int, Outcome] = {}
    opened: list[int] = []
    never: set[int] = set()
    for step in data.draw(
        st.lists(lies | plain_lies | call_lies | call_deeds | deeds, min_size=4, max_size=25)
    ):
        if isinstance(step, str):
            act(lone, step, opened, data)
        else:
            letter, *fields = step
            ledger = session_calls(lone.session) if letter == "C" else lone.session.inbox
            number = ledger.received + 1
            fields = [number if field == -1 else field for field in fields]
            lone.hears_raw(raw([ord(letter), *fields]))
        said: list[Frame] = lone.says()
        assert len(said) < 100
        for number in range(1, lone.session.outbox.messages + 1):
            outcome = lone.session.outcome(number)
            assert final.get(number, outcome) is outcome
            if outcome is not Outcome.PENDING:
                final[number] = outcome
        assert len(lone.session.inbox) <= 4
        judge_calls(lone, never)
    if lone.session.ended is not None:
        assert lone.session.report().final
        assert sum(isinstance(event, Ended) for event in lone.events) <= 1


def judge_calls(lone: Lone, never: set[int]) -> None:
    """What is held is bounded; and what was said to be not taken stays so."""
    calls = session_calls(lone.session)
    assert len(calls.served) + len(calls.answers) <= SHORT.max_requests
    assert len(calls.open) <= 3
    assert calls.pieces is None or len(calls.pieces.data) <= SHORT.max_message + 6
    assert calls.queue.weight == sum(kept[1] for kept in calls.queue._kept.values())
    assert calls._streams is None or set(calls._streams._granted) <= set(calls.open)
    for number in range(1, calls.queue.transmitted + 1):
        if calls.was_taken(number) is False:
            never.add(number)
        elif number in never:
            assert number not in (calls._never or ())
            never.discard(number)  # cancel() was told


def act_on_calls(lone: Lone, trigger: str, data: st.DataObject) -> None:
    calls, now = session_calls(lone.session), lone.now
    mine, theirs = sorted(calls.open), sorted(calls.served)
    match trigger:
        case "ask" if calls.has_room:
            by = data.draw(st.none() | st.just(now + 1))
            calls.request("do", data.draw(texts | st.just("x" * 9000)), by, data.draw(few))
        case "cancel" if mine:
            calls.cancel(data.draw(st.sampled_from(mine)))
        case "grant" if mine:
            calls.grant(data.draw(st.sampled_from(mine)), data.draw(few))
        case "answer" if theirs:
            calls.reply(data.draw(st.sampled_from(theirs)), data.draw(texts))
        case "item" if theirs:
            calls.item(data.draw(st.sampled_from(theirs)), data.draw(texts))


def act(lone: Lone, trigger: str, opened: list[int], data: st.DataObject) -> None:
    session = lone.session
    match trigger:
        case "ask" | "cancel" | "grant" | "answer" | "item":
            act_on_calls(lone, trigger, data)
        case "send":
            try:
                session.send(data.draw(texts | st.just(b"y" * 3000)))
            except (OutboxFull, ConnectionClosed):
                pass
        case "take" if len(session.inbox):
            lone.takes(1)
        case "deliver" if len(session.inbox):
            opened.append(session.inbox.deliver()[0])
        case "confirm" if opened and not session.inbox.stopped:
            session.inbox.confirm(opened.pop(data.draw(st.integers(0, len(opened) - 1))))
            lone.events += session.poll(lone.now)
        case "close" | "finish":
            lone.events += getattr(session, trigger)(lone.now)
        case "abort" if data.draw(st.booleans()):
            lone.events += session.abort(lone.now)
        case "wait":
            lone.now += data.draw(st.sampled_from([0.03, 1, 7, 25, 200]))
            lone.events += session.tick(lone.now)
        case "lost":
            lone.events += lone.session.lost(
                lone.link, data.draw(st.sampled_from([None, 1009])), "", lone.now
            )
            again(lone, data)


def again(lone: Lone, data: st.DataObject) -> None:
    """Greet anew, with a position that may be a lie as well."""
    session = lone.session
    if session.ended is not None:
        return
    drawn = data.draw(positions(lone))
    honest = data.draw(st.booleans())
    if honest:
        outbox, inbox = session.outbox, session.inbox
        drawn = ([outbox.acked, outbox.confirmed, outbox.confirmed, False, []], 9, 1, 0)
        drawn = (drawn[0], max(inbox.received, 0), inbox.confirmed + 1, 0)
    calls = session_calls(session)
    drawn_calls = data.draw(st.tuples(few | numbers, numbers, st.integers(1, 6)) | st.none())
    if honest:
        drawn_calls = (calls.queue.acked, calls.received, 1)
    told = drawn_calls and list(drawn_calls)
    if lone.registry is None:
        lone.link = session.dial(lone.now)
        lone.says()
        lone.hears_raw(raw([87, 1, True, INCARNATION, list(drawn), list(welcome().limits), told]))
        return
    arrival = lone.registry.arrive(lone.now)
    greeting = [72, *hello(attempt=session.attempt + 1)]
    greeting[7] = list(drawn)
    greeting[9] = told
    lone.events += arrival.receive(raw(greeting), lone.now)
    lone.link = arrival.link or lone.link
