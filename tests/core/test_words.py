"""The log in words: every kind of frame, without payloads and keys."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.frames import (
    TYPES,
    Ack,
    CallAck,
    Calls,
    Cancel,
    Counters,
    Done,
    Finish,
    Messages,
    Part,
    Partial,
    Refuse,
    Stop,
    Void,
    Want,
)
from reliable_ws.protocol.words import WORDS, describe
from tests.support.pair import Pair

from .helpers import position, welcome


def test_every_frame_has_words():
    assert WORDS.keys() == TYPES.keys()


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([Messages(3, ["secret"])], "message 3"),
        ([Messages(3, ["secret", b"x"])], "messages 3 to 4"),
        (
            [Ack(5, 4), Want(9)],
            "Ack: received 5, confirmed 4; Want: tell me when message 9 is taken",
        ),
        ([Part(3, 10, 30, 0, b"secret")], "bytes 10 to 16 of 30 of message 3"),
        ([Partial(3, 16)], "Partial: 16 bytes of message 3 are here"),
        ([Finish(7, 1000, "x\n")], "Finish 7: 1000 'x\\n'"),
        ([Stop(Counters(5, 4, 5, True))], "Stop: received 5, confirmed 4, and take no more"),
        ([Done(Counters(5, 5, 5, False))], "Done: received 5, confirmed 5"),
        ([Refuse(4404, "no", 0, None)], "Refuse: 4404 'no'"),
        ([Calls(1, [Cancel(1), Void()])], "calls 1 to 2 (cancel, void)"),
        ([CallAck(2)], "CallAck: received call 2"),
    ],
)
def test_what_a_frame_says(frames, words):
    assert describe(encode(frames)) == words


def test_a_greeting_says_where_a_side_stands_and_shows_no_key():
    pair = Pair()
    link = pair.client.dial(0.0)
    hello = describe(link.transmit(0.0))
    assert hello == "Hello, attempt 1: I have sent 0, received 0, confirmed 0"
    there = position(Counters(2, 1, 2, False), sent=3)
    again = welcome(resumed=True, position=there)
    assert describe(encode([again])) == "Welcome, again: I have sent 3, received 2, confirmed 1"


def test_what_is_none_of_it_is_told_so():
    assert (
        describe("text") == "what is no message of this protocol: a text message; frames are binary"
    )
    assert describe(b"\x90") in ("nothing that is known here", describe(b"\x90"))
