"""Both sides name their payload codec when they greet (HELLO-18)."""

from __future__ import annotations

import msgpack
import pytest

from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.errors import Violation
from reliable_ws.protocol.frames import TYPES
from reliable_ws.protocol.payload import MsgpackCodec
from reliable_ws.protocol.registry import SessionRegistry
from reliable_ws.protocol.session import Session
from tests.core.helpers import LARGE, hello, welcome
from tests.support.pair import ID, KEY

NOW = 1000.0


class Codec(MsgpackCodec):
    def __init__(self, name):
        super().__init__()
        self.name = name


def greet(initiator, acceptor):
    """Let an initiator greet an acceptor; return the session, its link, and the answer."""
    session = Session("initiator", ID, KEY, NOW, codec=initiator)
    registry = SessionRegistry(7, codec=acceptor)
    link = session.dial(NOW)
    arrival = registry.arrive(NOW)
    arrival.receive(link.transmit(NOW), NOW)
    answer = (arrival.link or arrival).transmit(NOW)
    session.receive(link, answer, NOW)
    return session, arrival, registry


@pytest.mark.parametrize(
    ("initiator", "acceptor"),
    [
        (None, None),
        (None, MsgpackCodec()),
        (Codec("msgpack"), None),
        (Codec("json"), Codec("json")),
        (Codec(None), Codec(None)),
        (Codec(None), Codec("custom")),
    ],
)
def test_sides_with_one_codec_open_a_link(initiator, acceptor):
    """HELLO-18."""
    session, arrival, _ = greet(initiator, acceptor)
    assert session.attached
    assert arrival.session.attached


def test_the_log_names_both_codecs_once_in_a_while():
    """HELLO-18: the acceptor's side has to see it, too; anybody can repeat it."""
    registry = SessionRegistry(7, codec=Codec("json"))

    def note(at, **changes):
        arrival = registry.arrive(at, principal="ann")
        arrival.receive(encode([hello(**changes)]), at)
        return arrival.note

    words = "of 'ann': refused (4415), payload codecs differ: initiator msgpack, acceptor json: "
    assert note(NOW).endswith(words + "both sides need the same payload_codec=")
    assert not note(NOW)
    assert note(NOW + 60, codec="yaml")


@pytest.mark.parametrize(
    ("initiator", "acceptor", "words"),
    [
        (Codec("json"), None, "initiator json, acceptor msgpack"),
        (None, Codec("json"), "initiator msgpack, acceptor json"),
        (Codec(None), None, "initiator custom, acceptor msgpack"),
        (Codec("json"), Codec("x" * 32), f"initiator json, acceptor {'x' * 32}"),
        (Codec("y" * 32), Codec("x" * 32), f"initiator {'y' * 32}, acceptor {'x' * 32}"),
    ],
)
def test_sides_with_two_codecs_learn_it_at_once(initiator, acceptor, words):
    """HELLO-18."""
    session, arrival, registry = greet(initiator, acceptor)
    assert arrival.refusal.endswith(f"a good Hello: payload codecs differ: {words}")
    assert registry.arrive(NOW).refusal.endswith("a good Hello")
    assert session.ended.code == 4415
    assert session.ended.reason == f"payload codecs differ: {words}"
    assert len(registry) == 0


def test_an_initiator_looks_at_the_codec_of_a_welcome():
    """HELLO-18: an acceptor of another kind may not look."""
    session = Session("initiator", ID, KEY, NOW, codec=Codec("json"))
    link = session.dial(NOW)
    link.transmit(NOW)
    session.receive(link, encode([welcome()]), NOW)
    assert session.ended.code == 4415
    (refuse,) = decode(link.transmit(NOW), LARGE)
    assert refuse.code == 4415


def test_a_session_that_is_held_stays_as_it_is():
    """HELLO-18."""
    _, arrival, registry = greet(None, None)
    second = registry.arrive(NOW)
    second.receive(encode([hello(attempt=2, codec="json")]), NOW)
    assert second.close_action.code == 4415
    assert arrival.session.attached


def test_a_codec_of_msgpack_is_not_named():
    """HELLO-18, FRAME-6."""
    for frame in (hello(), welcome()):
        assert encode([frame]) == msgpack.packb([[TYPES[type(frame)], *frame[:-1]]])
        named = frame._replace(codec="json")
        item = [TYPES[type(frame)], *frame[:-1], ["json"]]
        assert encode([named]) == msgpack.packb([item])
        assert decode(encode([named]), LARGE) == [named]
        more = [*item[:-1], ["json", 1, "more"], "more"]
        assert decode(msgpack.packb([more]), LARGE) == [named]


@pytest.mark.parametrize("other", [None, "json", 5, b"json"])
def test_what_is_no_array_is_no_codec(other):
    """HELLO-18, FRAME-6."""
    item = [TYPES[type(hello())], *hello()[:-1], other]
    assert decode(msgpack.packb([item]), LARGE) == [hello()]


@pytest.mark.parametrize("name", [[], [5], [""], ["x" * 33], ["a b"], ["\n"], ["ü"], [b"json"]])
def test_a_name_that_could_not_be_said_is_malformed(name):
    """HELLO-18."""
    for frame in (hello(), welcome()):
        item = [TYPES[type(frame)], *frame[:-1], name]
        with pytest.raises(Violation, match="codec"):
            decode(msgpack.packb([item]), LARGE)
