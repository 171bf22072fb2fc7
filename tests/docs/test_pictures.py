"""The pictures in protocol.md show what the core sends, and what its tables of states say."""

from __future__ import annotations

import json
import re
import textwrap
from enum import Enum

import pytest

from reliable_ws.cli import main

from .pictures import (
    NOTE,
    PAGE,
    PICTURES,
    between,
    call,
    close,
    draw,
    resume,
    send,
    states,
    traced,
)

TEXT = PAGE.read_text()


@pytest.mark.parametrize("name", PICTURES)
def test_the_page_shows_what_is_so(name):
    """If this fails, the code or the page has changed: ``make pictures``."""
    found = between(name).findall(TEXT)
    assert [picture for _begin, picture, _end in found] == [PICTURES[name]()]


def test_a_conversation_is_a_trace_as_the_command_prints_it(tmp_path, capsys):
    """What stands in the picture without what applications do, which is in no trace."""
    for name, talk in (("send", send), ("resume", resume), ("close", close), ("call", call)):
        records = [one for one in traced(talk()) if one["event"] != NOTE]
        file = tmp_path / name
        file.write_text("".join(json.dumps(one) + "\n" for one in records))
        assert main(["trace", str(file)]) == 0
        printed = textwrap.dedent(capsys.readouterr().out.partition("\n")[2]).strip().splitlines()
        drawn = [one for one in PICTURES[name]().splitlines()[1:-1] if "  (" not in one[:9]]
        assert printed == drawn


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


def test_no_picture_is_wider_than_a_page():
    widest = max(len(line) for picture in PICTURES.values() for line in picture().splitlines())
    assert widest <= 121
