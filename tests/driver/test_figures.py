"""Figures of many sessions look where a look changes something, and tell what every look would."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from reliable_ws.driver.figures import STALLED, Figures
from reliable_ws.driver.stalls import Stalls
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.inbox import Inbox
from reliable_ws.protocol.outbox import Outbox
from reliable_ws.protocol.payload import DEFAULT_CODEC

CONFIG = Config(window_messages=8, window_bytes=2000, max_message=1000, outbox_messages=12)


class Side:
    """What drives a session without a network."""

    def __init__(self) -> None:
        self.stalls = Stalls()
        self.rpc_client = None
        self.outbox, self.inbox = Outbox(CONFIG, DEFAULT_CODEC), Inbox(CONFIG)
        self.session = SimpleNamespace(
            ended=None,
            outbox=self.outbox,
            inbox=self.inbox,
            resumes=0,
            replayed=0,
            link=object(),
            role="acceptor",
            incoming_calls=SimpleNamespace(served={}),
        )

    def look(self, now):
        self.stalls.look(self.session, now)

    def step(self, chance):
        """Send, transmit, confirm, receive or take some."""
        outbox, inbox = self.outbox, self.inbox
        payload = b"x" * chance.choice((10, 400, 400))
        match chance.randrange(9):
            case 0 | 1:
                if outbox.has_room(len(payload)):
                    outbox.accept(payload, len(payload))
            case 2:
                outbox.transmitted = min(outbox.last, outbox.confirmed + 8)
            case 3:
                if outbox.confirmed < outbox.transmitted:
                    outbox.confirm(chance.randint(outbox.confirmed + 1, outbox.transmitted))
            case 4 | 6 | 7 | 8:
                if inbox.received - inbox.confirmed < 8 and inbox.held + len(payload) < 2000:
                    inbox.arrived(inbox.received + 1, [payload], len(payload))
            case 5:
                for _ in range(chance.randint(0, len(inbox.queue)) if chance.random() < 0.5 else 0):
                    inbox.take()


@pytest.mark.parametrize("seed", range(10))
def test_a_look_is_left_out_only_where_it_changes_nothing(seed):
    chance = random.Random(seed)
    sides, now = [Side() for _ in range(5)], 1000.0
    always = [Stalls() for _ in sides]
    for _ in range(60):
        now += chance.choice((0.7, 3.0, 11.0))
        for side, stalls in zip(sides, always, strict=True):
            for _ in range(chance.choice((0, 0, 1, 4))):
                side.step(chance)
            stalls.look(side.session, now)
        figures = Figures()
        figures.add_slice(sides, now)
        pairs = list(zip(sides, always, strict=True))
        out = [stalls.unconfirmed_for(side.outbox.confirmed, now) for side, stalls in pairs]
        waits = [stalls.untaken_for(side.inbox.confirmed, now) for side, stalls in pairs]
        assert figures.outbox_seconds == max(out)
        assert figures.inbox_seconds == max(waits)
        assert figures.outbox_stalled == sum(age >= STALLED for age in out)
        assert figures.inbox_stalled == sum(age >= STALLED for age in waits)
        assert figures.window_full_peers == pytest.approx(sum(one.full_there for one in always))
        assert figures.window_full_here == pytest.approx(sum(one.full_here for one in always))
        for side, stalls in pairs:
            told = side.stalls.has_reader_stopped(side.session, now)
            assert told == stalls.has_reader_stopped(side.session, now)
    assert figures.sent == sum(side.outbox.last for side in sides)
    assert figures.transmitted == sum(side.outbox.transmitted for side in sides)
    assert figures.confirmed == sum(side.outbox.confirmed for side in sides)
    assert figures.received == sum(side.inbox.received for side in sides)
    assert figures.taken == figures.acknowledged == sum(side.inbox.handed for side in sides)
    assert figures.sessions == {"open": len(sides)}
    assert figures.window_full_peers  # some were full
    assert figures.window_full_here
