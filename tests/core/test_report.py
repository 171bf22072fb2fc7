"""Reports: what they say, however many messages they are about, and when they are listed."""

from __future__ import annotations

import copy
import pickle

import pytest

from reliable_ws.protocol import report as module
from reliable_ws.protocol.errors import closed
from reliable_ws.protocol.frames import Stop
from reliable_ws.protocol.payload import MsgpackCodec
from reliable_ws.protocol.report import End, Ending, LazyReport, Outcome, Report, Undelivered

from .helpers import NOW, Lone, counters, either_side, initiator, limits

LOST = Ending(End.LOST, 1006, "cut")
CONFIRMED, NOT_TAKEN, UNKNOWN, PENDING = (
    Outcome.CONFIRMED,
    Outcome.NOT_TAKEN,
    Outcome.UNKNOWN,
    Outcome.PENDING,
)


class Counting(MsgpackCodec):
    """Counts what is unpacked: that is what takes the time of a long report."""

    unpacked = 0

    def loads(self, data, /):
        self.unpacked += 1
        return super().loads(data)


def listed(lone: Lone) -> list[tuple[int, Outcome]]:
    return [(entry.number, entry.outcome) for entry in lone.session.report().undelivered]


def singly(lone: Lone) -> list[tuple[int, Outcome]]:
    """What the outcome of each message is, asked one by one."""
    outbox = lone.session.outbox
    outcomes = [(number, outbox.outcome(number)) for number in range(1, outbox.messages + 1)]
    return [entry for entry in outcomes if entry[1] is not CONFIRMED]


@pytest.mark.parametrize("upto", [None, 0, 3, 7, 12, 99])
@pytest.mark.parametrize(
    "final",
    [
        None,
        counters(9, 2, 7, stopped=True),
        counters(9, 2, 7, stopped=True, ranges=((4, 5), (7, 7), (9, 9))),
        counters(10, 2, 4, stopped=True, ranges=((6, 8),)),
        counters(9, 9, 9, stopped=True),
        counters(9, 2, 99, stopped=True),
        counters(0, 0, 0, stopped=True),
    ],
)
@either_side
def test_a_report_says_of_each_message_what_its_outcome_is(side, final, upto):
    """CLOSE-4, END-3"""
    lone = side(limits=limits(window_messages=10))
    lone.sends(*range(12))  # two of them are never transmitted
    for end in (False, True):
        if final is not None and not end:
            lone.hears(Stop(final))
        elif end:
            lone.session.end(NOW, LOST)
        assert listed(lone) == singly(lone)
        report = lone.session.report(upto=upto)
        last = 12 if upto is None else min(upto, 12)
        entries = [entry for entry in singly(lone) if entry[0] <= last]
        assert [(one.number, one.outcome) for one in report.undelivered] == entries
        assert [one.message for one in report.undelivered] == [number - 1 for number, _ in entries]
        assert report.sent == last
        assert report.confirmed == last - len(entries)
        assert report.first_undelivered == (entries[0][0] if entries else None)
        for outcome in (NOT_TAKEN, UNKNOWN, PENDING):
            assert report.count(outcome) == [one[1] for one in entries].count(outcome)
        assert report.count(CONFIRMED) == report.confirmed
        assert report.final is (report.count(PENDING) == 0)


def test_a_report_is_listed_when_it_is_looked_at():
    """An end with 32,000 unread messages costs nothing for each error."""
    codec = Counting()
    lone = initiator()
    lone.session.codec = lone.session.outbox._codec = codec
    lone.sends(*([n] for n in range(1000)))
    codec.unpacked = 0
    lone.session.end(NOW, LOST)
    for _ in range(10):
        error = lone.session.error()
        assert str(error) == "1000 sent, 0 confirmed, 1000 unknown; lost (1006, 'cut')"
    assert codec.unpacked == 0
    assert len(error.report.undelivered) == 1000
    assert error.report.undelivered[7] == Undelivered(8, UNKNOWN, [7])
    assert codec.unpacked == 1000


def test_a_report_of_a_session_that_lives_stays_what_it_was():
    """Also if it is looked at after the outcomes have changed."""
    lone = initiator()
    lone.sends("a", "b", "c")
    before = lone.session.report()
    lone.hears(Stop(counters(3, 2, 3, stopped=True)))
    assert before.undelivered == tuple(
        Undelivered(number, PENDING, text) for number, text in enumerate("abc", 1)
    )
    assert not before.final
    assert lone.session.report().undelivered == (Undelivered(3, UNKNOWN, "c"),)


def test_after_the_end_all_that_ask_get_one_report():
    """END-3: nothing changes any more. So a hundred errors hold the messages once."""
    lone = initiator()
    lone.sends("a", "b")
    alive = lone.session.report()
    lone.session.abort(NOW)
    report = lone.session.report()
    assert report is lone.session.report()
    assert report is lone.session.error().report
    assert [entry.outcome for entry in report.undelivered] == [UNKNOWN, UNKNOWN]
    assert not alive.final
    assert lone.session.report(upto=1).undelivered == report.undelivered[:1]


def test_a_lazy_report_is_a_report():
    """Equal to one with the same entries, shown, copied and pickled like it."""
    entry = Undelivered(2, UNKNOWN, "x")
    lazy = LazyReport(2, [module.Run(2, 2, UNKNOWN)], LOST, lambda: (entry,))
    plain = Report(2, 1, (entry,), LOST)
    assert lazy == plain
    assert plain == lazy
    assert hash(lazy) == hash(plain)
    assert lazy != Report(2, 1, (), LOST)
    assert lazy != "2 sent"
    assert repr(lazy) == repr(plain)
    assert str(closed(LOST, lazy)) == str(plain)
    for copied in (copy.copy(lazy), pickle.loads(pickle.dumps(lazy))):
        assert copied == plain
    with pytest.raises(AttributeError):
        lazy.sent = 3
