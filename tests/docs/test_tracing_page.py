"""docs/tracing.md says what is in the file of a trace."""

from __future__ import annotations

import json
import re

from reliable_ws import WireTrace
from reliable_ws.cli.trace import lines
from reliable_ws.cli.trace_file import read
from reliable_ws.protocol import records
from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.frames import TYPES, Ack, Messages
from reliable_ws.protocol.session import Session
from reliable_ws.wire_trace import LinkTrace

from .sequences import ID, IMAGE, SEQUENCE, drawing, sequence
from .test_examples import ROOT

PAGE = (ROOT / "docs" / "tracing.md").read_text()
FIELDS = {
    name: set(re.findall(r"`(\w+)`", fields))
    for names, fields in re.findall(r"^\| (`[A-Z].*?) \| (.*) \|$", PAGE, re.MULTILINE)
    for name in re.findall(r"`(\w+)`", names)
}


def test_every_frame_is_there_with_its_fields():
    assert FIELDS.keys() == {kind.__name__ for kind in TYPES}
    for kind in TYPES:
        told = set(kind._fields) - records.HIDDEN
        if kind.__name__ == "Messages":
            told = {"first", "count", "bytes"}
        elif told & records.CONTENT:
            told = told - records.CONTENT | {"bytes"}
        expected = FIELDS[kind.__name__] - ({"held"} if kind.__name__ == "Want" else set())
        assert told <= expected | {"entry"}, kind


def test_the_lines_are_such_lines(tmp_path):
    file = tmp_path / "trace"
    trace = LinkTrace(WireTrace(file), Session("initiator", bytes(16), bytes(32), 0.0), lambda: 0.0)
    trace("sends", encode([Messages(1, [b"one"])]))
    trace("gets", encode([Ack(1, 1)]))
    trace.lost(None, "")
    said = [json.loads(line) for line in re.findall(r"^\{.*\}$", PAGE, re.MULTILINE)]
    made = [json.loads(line) for line in file.read_bytes().splitlines()]
    for one, other in zip(said, made, strict=True):
        assert list(one) == list(other)
        assert one.get("event") == other.get("event")
        assert one.get("frames") == other.get("frames")
    page = tmp_path / "page"
    page.write_text("\n".join(map(json.dumps, said)))
    (read_back,) = read([str(page)])
    assert "client -> server  Messages 1 (3 B)" in "\n".join(lines(read_back))


def test_the_sequence_is_what_the_command_prints():
    """If this fails, the code or the page has changed: ``make pictures``."""
    (found,) = SEQUENCE.finditer(PAGE)
    text = sequence()
    assert found[0] == found[1] + text + found[2]
    assert "[did not arrive]" in text
    assert "[sent again]" in text


def test_the_image_is_a_drawing_of_the_same_conversation():
    """The image is made from this page, so each line of the sequence has its arrow there."""
    text = drawing()
    assert f"Session {ID}, seen by the client and server" in text
    sent = [line for line in sequence().splitlines() if " -> " in line]
    assert text.count("marker-end") == len(sent)
    assert f"images/{IMAGE.name})" in PAGE
