"""The pictures in protocol.md show what the core sends, and what its tables of states say."""

from __future__ import annotations

import re
from enum import Enum

import pytest

from .pictures import PAGE, PICTURES, between, draw, in_words, states

TEXT = PAGE.read_text()


@pytest.mark.parametrize("name", PICTURES)
def test_the_page_shows_what_is_so(name):
    """If this fails, the code or the page has changed: ``python -m tests.docs.pictures``."""
    found = between(name).findall(TEXT)
    assert [picture for _begin, picture, _end in found] == [PICTURES[name]()]


def test_no_other_picture_is_marked():
    assert re.findall(r"<!-- picture: (\w+) -->", TEXT) == list(PICTURES)


def test_a_picture_that_is_not_true_any_more_is_drawn_anew():
    stale = TEXT.replace("Messages 1", "Messages 7").replace("open --> stopped: STOP\n", "")
    assert stale != TEXT
    assert draw(stale) == TEXT


def test_a_page_without_the_marks_is_not_touched():
    with pytest.raises(AssertionError, match="0 places for the picture send"):
        draw("")


def test_a_table_that_changes_changes_its_picture():
    class Lamp(Enum):
        OFF = "off"
        ON = "on"

    class Press(Enum):
        SHORT = 1
        LONG = 2

    table = {Lamp.OFF: {Press.SHORT: Lamp.ON, Press.LONG: Lamp.ON}, Lamp.ON: {}}
    assert states(table, Lamp.OFF).splitlines()[1:-1] == [
        "stateDiagram-v2",
        "    [*] --> off",
        "    off --> on: SHORT, LONG",
    ]


def test_a_frame_without_words_is_no_picture():
    with pytest.raises(AssertionError):
        in_words(["P", 1, 0, 1, 0, {"hex": "00"}])


def test_no_picture_is_wider_than_a_terminal():
    widest = max(len(line) for picture in PICTURES.values() for line in picture().splitlines())
    assert widest <= 100
