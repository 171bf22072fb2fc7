"""Groups of several nodes, the pure part: what was missed, and what is known of a publication."""

from __future__ import annotations

import msgpack
import pytest

from reliable_ws import Outcome, Recipient
from reliable_ws.cluster.publications import Heard
from reliable_ws.cluster.receipts import CODES, Mark, Name, Place, Receipts, Way

ANN, BOB = Name(b"a", "ann", 7), Name(b"b", "bob", 0)
PENDING, KEPT, CONFIRMED, NOT_TAKEN = (
    CODES[fate] for fate in (Outcome.PENDING, Outcome.KEPT, Outcome.CONFIRMED, Outcome.NOT_TAKEN)
)


def told(name: Name, fate: Outcome, node: str = "one") -> Recipient:
    return Recipient(name.session, name.identity, fate, node)


def receipts(*fates: int) -> Receipts:
    """A publication to two members at node 1, which has told of them."""
    here = Receipts()
    here.appended([(b"1", 2, "one")])
    here.report(b"1", "one", [ANN, BOB], bytes(fates))
    return here


# ---------------------------------------------------------------------- the place in a log


def test_a_place_goes_on_with_the_next_number_only() -> None:
    place = Place()
    assert not place.follows
    assert place.mark(b"e", 4, b"", 0)
    assert place.follows
    assert place.step(b"e", 5)
    assert place.step(b"e", 6)
    assert not place.step(b"e", 8)  # 7 is missing
    assert place.step(b"e", 9)
    assert not place.step(b"e", 9)  # a number that was given twice: the engine lost some
    assert not place.step(b"f", 10)
    place.leave()
    assert not place.follows


@pytest.mark.parametrize(
    ("mark", "is_whole"),
    [
        ((b"e", 4, b"", 0), True),
        ((b"e", 5, b"", 0), False),  # something was published while the node was away
        ((b"e", 3, b"", 0), False),  # the engine lost what this node has read
        ((b"f", 0, b"", 0), False),  # the engine lost the group, and nobody knows more
        ((b"f", 0, b"e", 4), True),  # it goes on from where this node stands
        ((b"f", 1, b"e", 4), False),  # and something was published since
        ((b"f", 0, b"e", 5), False),  # another node has read more
        ((b"f", 0, b"d", 4), False),
    ],
)
def test_the_engines_word_shows_whether_something_was_missed(
    mark: tuple[bytes, int, bytes, int], is_whole: bool
) -> None:
    place = Place()
    place.mark(b"e", 4, b"", 0)
    assert place.mark(*mark) is is_whole
    assert (place.epoch, place.number) == mark[:2]  # it goes on from there in any case
    assert place.step(mark[0], mark[1] + 1)


# ---------------------------------------------------------------------- receipts


def test_nothing_is_final_before_the_engine_has_said_who_gets_it() -> None:
    here = Receipts()
    assert here.pending
    assert here.told() == []
    here.appended([])
    assert not here.pending


def test_a_node_that_has_not_reported_is_waited_for() -> None:
    here = Receipts()
    here.appended([(b"1", 2, "one"), (b"2", 1, "two")])
    assert here.pending == 3
    assert here.told() == [Recipient(b"", None, Outcome.PENDING, "one")] * 2 + [
        Recipient(b"", None, Outcome.PENDING, "two")
    ]
    assert list(here.report(b"1", "one", (), b"")) == []  # nobody got it there after all
    assert here.pending == 1


def test_a_report_may_come_twice_late_and_before_the_engines_answer() -> None:
    here = Receipts()
    assert list(here.report(b"1", "one", [ANN, BOB], bytes([CONFIRMED, PENDING]))) == [
        told(ANN, Outcome.CONFIRMED)
    ]
    here.appended([(b"1", 2, "one")])
    assert (
        list(here.report(b"1", "one", [ANN, BOB], bytes([PENDING, PENDING]))) == []
    )  # an older one
    assert here.pending == 1
    last = bytes([CONFIRMED, NOT_TAKEN])
    assert list(here.report(b"1", "one", [ANN, BOB], last)) == [told(BOB, Outcome.NOT_TAKEN)]
    assert list(here.report(b"1", "one", [ANN, BOB], last)) == []
    assert not here.pending
    assert here.told() == [told(ANN, Outcome.CONFIRMED), told(BOB, Outcome.NOT_TAKEN)]


def test_members_of_a_node_that_is_gone_are_unknown_after_a_while() -> None:
    here = receipts(PENDING, CONFIRMED)
    here.gone(b"1", 10.0)
    here.gone(b"1", 12.0)  # since the first time
    assert list(here.overdue(14.9, 5.0)) == []
    assert here.pending == 1
    assert list(here.overdue(15.0, 5.0)) == [told(ANN, Outcome.UNKNOWN)]
    assert not here.pending
    # What comes later changes nothing: it was final.
    assert list(here.report(b"1", "one", [ANN, BOB], bytes([CONFIRMED, CONFIRMED]))) == []
    assert here.told() == [told(ANN, Outcome.UNKNOWN), told(BOB, Outcome.CONFIRMED)]


def test_who_died_before_it_told_leaves_members_without_names() -> None:
    here = Receipts()
    here.appended([(b"1", 2, "one")])
    here.gone(b"1", 0.0)
    assert list(here.overdue(5.0, 5.0)) == [Recipient(b"", None, Outcome.UNKNOWN, "one")] * 2
    assert here.told() == [Recipient(b"", None, Outcome.UNKNOWN, "one")] * 2
    assert not here.pending


def test_a_node_that_was_only_frozen_reports_when_it_is_back() -> None:
    here = receipts(PENDING, CONFIRMED)
    here.gone(b"1", 0.0)
    here.seen(b"1", 1.0)
    assert list(here.overdue(100.0, 5.0)) == []
    here.gone(b"1", 100.0)
    here.report(b"1", "one", [ANN, BOB], bytes([PENDING, CONFIRMED]))
    assert list(here.overdue(200.0, 5.0)) == []


def test_only_messages_with_a_number_are_looked_for_elsewhere() -> None:
    """A number that the session's log may not have yet would mean another message there."""
    here = receipts(PENDING, PENDING)
    assert list(here.shares[b"1"].sought()) == []  # its node lives
    here.gone(b"1", 0.0)
    assert list(here.shares[b"1"].sought()) == [ANN]
    assert list(here.taken_over(BOB.session, Outcome.CONFIRMED)) == []
    assert list(here.taken_over(ANN.session, Outcome.CONFIRMED)) == [told(ANN, Outcome.CONFIRMED)]
    assert list(here.taken_over(ANN.session, Outcome.NOT_TAKEN)) == []  # it was final
    assert here.close() == [told(BOB, Outcome.UNKNOWN)]


def test_a_session_that_has_left_a_node_that_lives_is_not_waited_for_without_end() -> None:
    here = receipts(KEPT, PENDING)
    here.seen(b"1", 10.0)
    here.seen(b"1", 12.0)  # since the first time
    assert list(here.overdue(14.9, 5.0)) == []
    assert list(here.overdue(15.0, 5.0)) == [told(ANN, Outcome.UNKNOWN)]
    assert list(here.overdue(100.0, 5.0)) == []  # the other one is still there
    assert here.pending == 1
    last = bytes([KEPT, KEPT])
    assert list(here.report(b"1", "one", [ANN, BOB], last)) == []
    here.seen(b"1", 100.0)
    assert list(here.overdue(104.9, 5.0)) == []
    assert list(here.overdue(105.0, 5.0)) == [told(BOB, Outcome.UNKNOWN)]
    assert not here.pending


def test_a_session_that_its_node_has_left_is_looked_for_at_once() -> None:
    other = Name(b"b", "bob", 9)
    here = Receipts()
    here.appended([(b"1", 2, "one")])
    here.report(b"1", "one", [ANN, other], bytes([KEPT, KEPT]))
    assert here.pending == 2
    assert here.told() == [told(ANN, Outcome.PENDING), told(other, Outcome.PENDING)]
    assert list(here.taken_over(ANN.session, Outcome.CONFIRMED)) == [told(ANN, Outcome.CONFIRMED)]
    assert list(here.shares[b"1"].sought()) == [other]  # still
    assert here.close() == [told(other, Outcome.UNKNOWN)]


def test_names_that_were_told_before_are_not_unpacked_again() -> None:
    here = Receipts()
    packed, pending = msgpack.packb([ANN, BOB]), bytes([PENDING, PENDING])
    assert list(here.report_packed(b"1", "one", packed, pending)) == []
    names = here.shares[b"1"].names
    assert names == [ANN, BOB]
    last = bytes([CONFIRMED, PENDING])
    assert list(here.report_packed(b"1", "one", packed, last)) == [told(ANN, Outcome.CONFIRMED)]
    assert here.shares[b"1"].names is names
    numbered = BOB._replace(number=9)  # its log has it now
    assert list(here.report_packed(b"1", "one", msgpack.packb([ANN, numbered]), last)) == []
    here.gone(b"1", 0.0)
    assert list(here.shares[b"1"].sought()) == [numbered]


def test_the_pause_between_two_reports_grows() -> None:
    here = Heard(b"publisher", 1, b"", 6, lambda _heard: None)
    pauses = []
    for _ in range(7):
        here.later(10.0)
        pauses.append(round(here.due_at - 10.0, 3))
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


# ---------------------------------------------------------------------- sessions that move


@pytest.mark.parametrize(
    ("mark", "has_missed"),
    [
        (Mark(b"e", 4, b"", 0), False),
        (Mark(b"e", 5, b"", 0), True),
        (Mark(b"f", 0, b"e", 4), False),  # the engine lost the group, and it goes on from there
        (Mark(b"f", 1, b"e", 4), True),
        (Mark(b"f", 0, b"", 0), True),
    ],
)
def test_who_moves_is_told_whether_something_went_by(mark: Mark, has_missed: bool) -> None:
    way = Way.unpack(Way(is_known=True, places={}).pack({"g": (b"e", 4)}))
    assert way.has_missed("g", mark) is has_missed
    assert not way.has_missed("g", Mark(b"e", 9, b"", 0))  # it has left, and joins again
    assert not way.has_missed("other", mark)  # it was no member there


def test_who_comes_from_a_process_that_died_may_have_missed_anything() -> None:
    way = Way.unpack(None)
    assert way.has_missed("g", Mark(b"e", 4, b"", 0))
    assert not way.has_missed("g", Mark(b"e", 4, b"", 0))
    # It moves on, as a member of one group. Of others it is still not known.
    way = Way.unpack(way.pack({"g": (b"e", 4)}))
    assert not way.has_missed("g", Mark(b"e", 4, b"", 0))
    assert way.has_missed("other", Mark(b"e", 4, b"", 0))


def test_a_place_goes_with_a_session_that_moves_twice_before_it_joins() -> None:
    first = Way(is_known=True, places={}).pack({"g": (b"e", 4)})
    way = Way.unpack(Way.unpack(first).pack({}))
    assert way.has_missed("g", Mark(b"e", 5, b"", 0))
