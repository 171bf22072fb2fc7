"""Each example runs by itself, without a warning, and says what it is there to show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import websockets

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("[!_]*.py"))  # the others are imported by them
SECONDS = 60

VERSION = websockets.__version__
KEPT = ["your account", "is closed", "as of today"]
PLAIN = [] if VERSION in {"13.1", "14.0"} else KEPT

WEB = [
    r"apples: packed \(1 connection cut\)",
    r"pears: packed \(1 connection cut\)",
    r"plums: packed \(1 connection cut\)",
    r"3 times resumed: 3 sent, 3 confirmed; finished \(1000\)",
]
SAYS = {
    "aiohttp_app": WEB,
    "channels_app": WEB,
    "falcon_app": WEB,
    "fastapi_app": WEB,
    "picows_app": WEB,
    "wrap_existing": [
        r"confirmed: apples",
        r"confirmed: plums",
        r"received: order 1: 10 x apples, accepted",
        r"received: order 3: 30 x plums, accepted",
        r"closed: 3 sent, 3 confirmed; finished \(1000\)",
    ],
    "send_then_close": [
        re.escape(f"websockets {VERSION}: {PLAIN}"),
        re.escape(f"reliable_ws: {KEPT}"),
        r"reliable_ws server: 3 sent, 3 confirmed; finished \(1000\)",
    ],
    "survive_network": [
        r"client: opened",
        r"the network is gone \(1 connection reset\)",
        r"client: detached",
        r"the network is back",
        r"client: resumed, \d+ sent again",
        r"client: 20000 sent, 20000 confirmed; finished \(1000\)",
        r"server: 20000 received, in order: True",
    ],
    "confirm_after_work": [
        r"worker: done with job 1",
        r"sender: job 1 is done",
        r"worker: job 3 failed \(disk full\), stays unconfirmed",
        r"sender: job 3 was begun, and nobody says that it is done",
        r"sender: job 4 was not begun: safe to send again",
        r"sender: 5 sent, 2 confirmed, 2 not taken, 1 unknown; finished \(1000\)",
    ],
    "rpc": [
        r"customer: 2 pears\? yes",
        r"left: 1",
        r"error: sold-out no 1 plums left {'left': 0}",
        r"tick 0",
        r"tick 2",
        r"timeout: no answer to 'ticks' in time; the peer got it",
    ],
    "threads": [
        r"apples for 2: confirmed",
        r"pears for 3: confirmed",
        r"received:",
        r"  apples packed",
        r"  pears packed",
        r"closed: 2 sent, 2 confirmed; finished \(1000\)",
    ],
    "broadcast": [
        r"first: fast: confirmed",
        r"first: slow: confirmed",
        r"first: dying: confirmed",
        r"second: slow: pending",
        r"second: dying: not taken",
        r"later: slow: confirmed",
        r"members now: 2",
    ],
    "durable_orders": [
        "both processes were killed 5 times in mid-stream",
        "200 orders: 0 lost, 0 packed twice, in order: True",
    ],
    "durable_other_database": [
        "both processes were killed 5 times in mid-stream",
        "200 orders: each packed once: True",
    ],
    "prove_it": [
        r"\d+ faults survived",
        r"the longest took \d+ s on the virtual clock: Strike\(.*\)",
    ],
    "restart_workers": [
        r"worker \d+ was restarted",
        r"worker \d+ was restarted",
        r"worker \d+ was restarted",
        r"\d+ orders: all answered, in order; \d+ came a second time, and were flagged",
        r"\d+ WebSockets were lost, and no session",
    ],
    "chat_room": [
        r"\d{3,} lines, in the same order for all: True",
    ],
    "report": [
        r"websockets: 5 sent, no error, close code 1000",
        r"reliable_ws: 5 sent, 2 confirmed, 2 not taken, 1 unknown; finished \(1000\)",
        r"  number 3, 'order 3': unknown",
        r"  number 4, 'order 4': not taken",
        r"  number 5, 'order 5': not taken",
    ],
}
UNORDERED = {"send_then_close"}
"""Two sides print, each when it knows."""


def output_of(path: Path) -> str:
    """What a program prints; it ends well, and warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_says_what_it_shows(path):
    lines = output_of(path).splitlines()
    at = 0
    for pattern in SAYS[path.stem]:
        start = 0 if path.stem in UNORDERED else at
        found = [n for n in range(start, len(lines)) if re.fullmatch(pattern, lines[n])]
        assert found, f"{pattern!r} is not in {lines[start:]}"
        at = found[0] + 1


def test_there_are_no_others():
    assert {path.stem for path in EXAMPLES} == set(SAYS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_is_short(path):
    assert len(path.read_text().splitlines()) < 60
