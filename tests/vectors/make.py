"""Write the golden vectors: ``python -m tests.vectors.make``. A test compares the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack

from reliable_ws.protocol.payload import seal_weight
from tests.vectors.bad import bad
from tests.vectors.calls import calls
from tests.vectors.conversation import to_json
from tests.vectors.exchanges import exchanges
from tests.vectors.good import good
from tests.vectors.restarts import restarts
from tests.vectors.violations import greetings, violations

HERE = Path(__file__).parent

HEAD = ("name", "about", "config", "calls", "stores")
"What is in the first line of a conversation."


def weights() -> list[dict[str, Any]]:
    """Payloads, and what each weighs in the window in bytes."""
    payloads = [
        "",
        "hi",
        "é",
        "😀",
        b"",
        b"\x00\xff",
        "x" * 300,
        msgpack.ExtType(1, b"\xc0"),
        msgpack.ExtType(1, msgpack.packb({"a": 1})),
        msgpack.ExtType(1, msgpack.packb(list(range(100)))),
    ]
    return [{"payload": to_json(payload), "weight": seal_weight(payload)} for payload in payloads]


def build() -> dict[str, str]:
    """Return the text of every file, by name."""
    parts = {
        "good.json": good(),
        "bad.json": bad(),
        "weights.json": weights(),
        "conversations.json": [*exchanges(), *calls(), *violations(), *greetings(), *restarts()],
    }
    return {name: _text(rows) for name, rows in parts.items()}


def _text(rows: list[dict[str, Any]]) -> str:
    """One row per line, and one step per line: readable, and good to compare."""

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=True)

    out = []
    for row in rows:
        if "steps" not in row:
            out.append("  " + line(row))
            continue
        steps = ",\n".join(f"      {line(step)}" for step in row["steps"])
        head = {key: row[key] for key in HEAD if key in row}
        body = f'"steps": [\n{steps}\n    ],\n    "outcome": {line(row["outcome"])}'
        out.append("  {" + line(head)[1:-1] + ",\n    " + body + "\n  }")
    return "[\n" + ",\n".join(out) + "\n]\n"


if __name__ == "__main__":
    for name, text in build().items():
        (HERE / name).write_text(text)
