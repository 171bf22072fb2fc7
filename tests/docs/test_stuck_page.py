"""docs/stuck.md has every kind of reason, with the words that it has."""

from __future__ import annotations

import re
import typing

from reliable_ws import Reason
from reliable_ws.driver.explanation import WaitsFor

from .test_examples import ROOT

PAGE = (ROOT / "docs" / "stuck.md").read_text()
SOURCE = (ROOT / "reliable_ws" / "driver" / "explanation.py").read_text()
ROWS = re.findall(r"^\| `([a-z-]+)` \| (.+?) \| (.+?) \| .+ \|$", PAGE, re.MULTILINE)[1:]


def test_every_kind_is_there():
    fields = SOURCE.partition("class Reason")[2].partition("waits_for: WaitsFor")[0]
    assert {kind for kind, _, _ in ROWS} == set(re.findall(r"``([a-z-]+)``", fields))
    assert Reason.__dataclass_fields__.keys() == {"kind", "waits_for", "words", "seconds", "count"}


def test_whoever_is_waited_for():
    known = set(typing.get_args(WaitsFor))
    for kind, waits_for, _ in ROWS:
        assert {
            who.removesuffix(" at the server").removeprefix("or ") for who in waits_for.split(", ")
        } <= known, kind


def test_the_words_are_those_of_the_library():
    """The words between two ellipses, three in a row, stand in the source."""
    source = " ".join(re.findall(r"[\w()']+", SOURCE))
    for kind, _, words in ROWS:
        for piece in re.split(r"…|:|;", words):
            said = re.findall(r"[\w()']+", piece)
            said = [word for word in said if word not in ("messages", "deliveries", "requests")]
            for three in zip(said, said[1:], said[2:], strict=False):
                assert " ".join(three) in source, (kind, three)
