"""docs/security.md: its table has the floods of the benchmark, and its limits are the code's."""

from __future__ import annotations

import inspect
import re

from benchmarks.hostile import FLOODS
from reliable_ws import Config, MsgpackCodec
from reliable_ws.driver.log_limit import BURST
from reliable_ws.protocol.codec import MAX_ELEMENTS
from reliable_ws.protocol.payload import NUMERIC_KEYS
from reliable_ws.protocol.registry import MAX_GREETING
from reliable_ws.sync import Sessions

from .test_examples import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text()


def test_each_flood_of_the_benchmark_has_its_row():
    rows = re.findall(r"^\| (.+?) \| (\d+) \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    assert [name for name, *_ in rows] == list(FLOODS)


def test_its_limits_are_those_of_the_code():
    said = " ".join(PAGE.split())
    codec = MsgpackCodec()
    for what in (
        f"at most {MAX_ELEMENTS:,} elements",
        f"{codec.max_size // 2**20} MiB (`max_size`)",
        f"{codec.max_items:,} items in all (`max_items`)",
        f"{NUMERIC_KEYS:,} keys that are neither text nor bytes",
        f"keeps {MAX_GREETING:,} bytes",
        f"writes {BURST} lines at once",
        f"`window_bytes` ({Config().window_bytes // 2**20} MiB)",
    ):
        assert what in said


def test_what_it_names_of_the_configuration_exists():
    for name in re.findall(r"`((?:max|window|open|idle|part)_\w+)`", PAGE):
        options = inspect.signature(Sessions).parameters
        assert hasattr(Config(), name) or hasattr(MsgpackCodec(), name) or name in options, name
