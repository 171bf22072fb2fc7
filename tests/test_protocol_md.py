"""protocol.md is run: its examples, its tables, its tags."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from reliable_ws.driver import rpc_server
from reliable_ws.protocol import (
    codec,
    config,
    cursor,
    frames,
    link,
    payload,
    registry,
    state,
)
from reliable_ws.protocol.calls import fragments, incoming
from reliable_ws.protocol.codec import decode, encode
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.payload import seal_weight
from tests.vectors.conversation import frame_from, to_json, value_from

ROOT = Path(__file__).parent.parent
NO_TAGS = {"SHA", "UTF"}
"""What looks like a tag and is none: SHA-256, UTF-8."""

TEXT = (ROOT / "protocol.md").read_text()


# -------------------------------------------------------------------------- reading


def examples() -> list[Any]:
    """Each fenced block of hex: its bytes, and the frames that it says they are."""
    found = []
    for block in re.findall(r"```hex\n(.*?)```", TEXT, re.DOTALL):
        dump, _, meaning = block.partition("\n= ")
        digits = [re.match(r"(?: *[0-9a-f]{2}\b)+", line).group() for line in dump.splitlines()]
        title = re.search(r"  ([A-Z]\w+)", block)
        found.append(
            pytest.param(
                bytes.fromhex("".join(digits)),
                json.loads(meaning),
                id=title.group(1) if title else dump.splitlines()[0][-30:],
            )
        )
    return found


def table(*head: str) -> list[list[str]]:
    """Return the rows of the one table with these first columns in its head."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", TEXT, re.MULTILINE):
        rows = [
            [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
            for line in block.splitlines()
        ]
        if rows[0][: len(head)] == list(head):
            found.append(rows[2:])
    assert len(found) == 1, f"{len(found)} tables with the head {head}"
    return found[0]


def defined() -> list[str]:
    return re.findall(r"\*\*([A-Z]+-\d+)\*\*", TEXT)


def cited(*folders: str) -> Counter[str]:
    """Return the tags in our sources, this file apart."""
    found: Counter[str] = Counter()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            if path != Path(__file__):
                tags = re.findall(r"\b([A-Z]+)-(\d+)\b", path.read_text())
                found.update(f"{name}-{number}" for name, number in tags if name not in NO_TAGS)
    return found


# -------------------------------------------------------------------------- examples


@pytest.mark.parametrize(("data", "meaning"), examples())
def test_an_example_reads_as_it_says_and_is_what_we_write(data, meaning):
    decoded = decode(data, config.MIN_FRAME)
    assert to_json(decoded) == meaning
    assert [frame_from(item) for item in meaning] == decoded
    assert encode(decoded) == data


def test_every_frame_has_an_example():
    shown = {item[0] for param in examples() for item in param.values[1]}
    assert shown == {chr(number) for number in frames.TYPES.values()}
    runs = [item for param in examples() for item in param.values[1] if item[0] == "C"]
    shown = {entry[0] for run in runs for entry in run[2]}
    assert shown == {chr(number) for number in frames.ENTRIES.values()}


def test_weights():
    rows = table("content", "weight")
    for content, weight in rows:
        assert seal_weight(value_from(json.loads(content.strip("`")))) == int(weight)
    assert len(rows) >= 5


# -------------------------------------------------------------------------- tags


def test_each_tag_is_defined_once():
    twice = [tag for tag, count in Counter(defined()).items() if count > 1]
    assert not twice
    families: dict[str, list[int]] = {}
    for tag in defined():
        family, number = tag.split("-")
        families.setdefault(family, []).append(int(number))
    for family, numbers in families.items():
        assert sorted(numbers) == list(range(1, len(numbers) + 1)), f"{family} has gaps"


def test_text_refers_to_tags_that_exist():
    families = "|".join({tag.split("-")[0] for tag in defined()})
    assert set(re.findall(rf"\b(?:{families})-\d+\b", TEXT)) <= set(defined())


def test_the_code_keeps_every_rule_and_no_other():
    assert set(cited("reliable_ws")) == set(defined())


def test_the_tests_prove_every_rule_and_no_other():
    assert set(cited("tests")) == set(defined())


def test_the_client_in_another_language_cites_rules_that_exist():
    sources = (ROOT / "js/src").rglob("*.ts")
    tags = {tag for path in sources for tag in re.findall(r"\b[A-Z]+-\d+\b", path.read_text())}
    families = {tag.split("-")[0] for tag in defined()}
    ours = {tag for tag in tags if tag.split("-")[0] in families}
    assert len(ours) > 10
    assert ours <= set(defined())


# -------------------------------------------------------------------------- tables


@pytest.mark.parametrize(
    ("head", "types"),
    [(("type", "hex", "frame"), frames.TYPES), (("entry", "hex", "name"), frames.ENTRIES)],
    ids=["frames", "entries"],
)
def test_types(head, types):
    rows = table(*head)
    said = {name: (letter.strip("`"), int(number, 16)) for letter, number, name, *_ in rows}
    ours = {kind.__name__: (chr(number), number) for kind, number in types.items()}
    assert said == ours
    for _letter, _hex, name, cell, _last in rows:
        listed = re.sub(r"\(.*?\)", "", cell)
        kind = next(kind for kind in types if kind.__name__ == name)
        assert len(listed.split(",")) == max(1, len(kind._fields)), name


def test_nested_arrays():
    for name, cell in table("array", "fields"):
        kind = {
            "counters": frames.Counters,
            "position": frames.Position,
            "limits": frames.Limits,
            "calls": frames.CallPosition,
        }.get(name)
        if kind is not None:
            listed = re.sub(r"\(.*?\)|;.*", "", cell)
            assert len(listed.split(",")) == len(kind._fields), name


def test_codes():
    rows = table("code", "name", "reconnect")
    said = {name: int(code) for code, name, *_ in rows}
    ours = {name: code for name, code in vars(frames.Code).items() if name.isupper()}
    assert said == ours
    for code, _name, reconnect, _meaning in rows:
        assert reconnect == ("yes" if frames.may_resume(int(code)) else "no"), code
    assert list(said.values()) == sorted(said.values())


def test_codes_of_faults():
    said = {code.strip("`") for code, *_ in table("fault", "meaning")}
    ours = {rpc_server.NOT_FOUND, rpc_server.BAD_PARAMS, rpc_server.CLOSING, rpc_server.TIMEOUT}
    assert said == ours | {rpc_server.CANCELLED, rpc_server.INTERNAL, incoming.OVERLOADED}


def test_fixed_limits():
    said = {what: quantity(value) for what, value, _rule in table("what", "value", "rule")}
    assert said == {
        "highest number": frames.MAX_NUMBER,
        "elements of an array": codec.MAX_LIST,
        "elements of all arrays of an envelope": codec.MAX_ELEMENTS,
        "ranges": codec.MAX_RANGES,
        "bytes of a reason": codec.MAX_REASON,
        "weight besides content": payload.OVERHEAD,
        "bytes of a part": cursor.LARGEST_PART,
        "smallest max frame": config.MIN_FRAME,
        "smallest max message": config.MIN_MESSAGE,
        "bytes of a method's name, or of a fault's code": frames.LONGEST_NAME,
        "bytes of a fault's message": frames.LONGEST_WORDS,
        "bytes of an entry of calls": fragments.LARGEST_ENTRY,
        "shortest idle time that is honoured": link.LEAST_IDLE_MS / 1000,
        "longest ttl that is honoured by tombstones": registry.LONGEST_TTL,
    }


def test_defaults():
    rows = table("`Config`", "default")
    said = {name.strip("`"): quantity(default) for name, default, *_ in rows}
    assert said == {field.name: field.default for field in fields(Config)}


def test_announced_limits():
    names = {
        announced.replace(" ", "_")
        for _name, _default, announced, _meaning in table("`Config`", "default")
        if announced
    }
    ours = {name.removesuffix("_ms") for name in frames.Limits._fields}
    assert names == ours


def quantity(text: str) -> float | None:
    """Return what "4 MiB", "25 ms" or "as `window_bytes`" means."""
    if text.startswith("as `"):
        return None
    number, _, unit = text.partition(" ")
    scale = {"": 1, "s": 1.0, "ms": 1e-3, "d": 86_400.0, "KiB": 1024, "MiB": 1024**2}[unit]
    return int(number) * scale


def test_link_table():
    rows = table("frame", "dialing")
    phases = ["dialing", "initiated", "accepted", "over"]
    assert phases == [phase.value for phase in state.Phase]
    said = {
        (phase, row[0]): after
        for row in rows
        for phase, after in zip(phases, row[1:], strict=True)
        if after != "–"
    }
    assert said == {
        (phase.value, kind.__name__): after.value
        for phase, moves in state.LINK.items()
        for kind, after in moves.items()
    }


@pytest.mark.parametrize(
    ("columns", "ours"),
    [
        (["open", "finishing", "finished", "stopped", "ended"], state.SENDING),
        (["open", "finishing", "finished", "stopped"], state.RECEIVING),
    ],
    ids=["sending", "receiving"],
)
def test_halves(columns, ours):
    assert columns == [half.value for half in ours]
    # the wider table begins like the narrower one: the width decides
    blocks = re.findall(r"(?:^\|.*\n)+", TEXT, re.MULTILINE)
    head = f"| trigger | {' | '.join(columns)} |\n"
    (block,) = [block for block in blocks if block.startswith(head)]
    said = {}
    for line in block.splitlines()[2:]:
        trigger, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        for half, after in zip(columns, cells, strict=True):
            if after != "–":
                said[half, trigger.split(":")[0]] = after
    assert said == {
        (half.value, trigger.name): after.value
        for half, moves in ours.items()
        for trigger, after in moves.items()
    }
