"""The golden vectors, against the real codec and the real core."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import Violation
from reliable_ws.protocol.payload import seal_weight
from tests.vectors import make
from tests.vectors.conversation import frame_from, items_to_json, to_json, value_from
from tests.vectors.stored_conversation import conversation_of

MAX_FRAME = Config().max_frame


def load(name: str) -> list[dict[str, Any]]:
    return json.loads((Path(make.__file__).parent / name).read_text())


def rows(name: str) -> list[Any]:
    loaded = load(name)
    assert len({row["name"] for row in loaded}) == len(loaded), "names are unique"
    return [pytest.param(row, id=row["name"]) for row in loaded]


def test_the_files_are_what_the_generator_makes():
    for name, text in make.build().items():
        assert (Path(make.__file__).parent / name).read_text() == text, f"{name}: make it anew"


@pytest.mark.parametrize("row", rows("good.json"))
def test_good(row):
    """FRAME-1, FRAME-3, FRAME-6, FRAME-8, FRAME-15."""
    data = bytes.fromhex(row["hex"])
    frames = decode(data, MAX_FRAME)
    assert to_json(frames) == row["frames"]
    assert [frame_from(item) for item in row["frames"]] == frames
    if row.get("canonical", True):
        assert encode(frames) == data
    elif frames:
        assert encode(frames) != data


@pytest.mark.parametrize("row", rows("bad.json"))
def test_bad(row):
    """FRAME-2, FRAME-4, FRAME-5, MSG-5, COUNT-2, COUNT-3, PART-2, CALL-2, CALL-14."""
    with pytest.raises(Violation) as caught:
        decode(bytes.fromhex(row["hex"]), row.get("max_frame", MAX_FRAME))
    assert caught.value.code == row["code"]


def test_a_text_message_is_malformed():
    """FRAME-1."""
    with pytest.raises(Violation) as caught:
        decode("[]", MAX_FRAME)
    assert caught.value.code == 4400


@pytest.mark.parametrize("row", load("weights.json"), ids=lambda row: str(row["payload"])[:30])
def test_weights(row):
    """WINDOW-2."""
    assert seal_weight(value_from(row["payload"])) == row["weight"]


@pytest.mark.parametrize("row", rows("conversations.json"))
def test_conversations(row):
    """Each side says exactly what is written, when it is written."""
    conversation = conversation_of(row)
    for step in row["steps"]:
        if "do" in step:
            conversation.act(step)
            assert conversation.got == step.get("gets", conversation.got)
            continue
        data = bytes.fromhex(step["hex"])
        assert items_to_json(data) == step["frames"]
        if not step.get("forged"):
            said = conversation.pull(step["from"])
            assert said is not None, f"{step['from']} is silent, not saying {step['frames']}"
            assert said.hex() == step["hex"]
        if not step.get("lost"):
            conversation.deliver(step["from"], data)
    if not any(step.get("forged") for step in row["steps"]):  # it never says what is not written
        assert conversation.pull("initiator") is None
        assert conversation.pull("acceptor") is None
    assert conversation.outcome() == row["outcome"]
