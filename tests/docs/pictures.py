"""The pictures in protocol.md: four conversations of the real core, and the tables of states.

``python -m tests.docs.pictures`` draws them anew, each between two marks of its own. A test fails
where the page shows something else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from reliable_ws.protocol.state import LINK, RECEIVING, SENDING, Phase, Receiving, Sending
from tests.vectors.recorder import BYE, A, I, Recorder, begin

__all__ = ["PICTURES", "between", "draw"]

PAGE = Path(__file__).parents[2] / "protocol.md"

WIDTH = 53
"""Columns of what the initiator says; the acceptor's stands behind the arrows."""

ARROWS = {(I, False): "-->", (I, True): "--x", (A, False): "<--", (A, True): "x--"}
"""By who speaks, and whether it is lost."""


# --------------------------------------------------------------------- conversations


def send() -> Recorder:
    """One message, and its confirmation."""
    talk = Recorder("send", "")
    talk.do("dial")
    talk.send(I, "hi").want(I, 1).pump()
    return talk.do("take", A, count=1)


def resume() -> Recorder:
    """A WebSocket that breaks with a message on its way."""
    talk = begin("resume", "")
    talk.send(I, "a").pump().do("take", A, count=1)
    talk.send(I, "b").pump(lose=A)
    talk.send(I, "c").want(I, 3).pump(lose=I)
    talk.act("cut").do("dial")
    return talk.do("take", A, count=2)


def close() -> Recorder:
    """The initiator closes; its last message is still taken, the acceptor's is not."""
    talk = begin("close", "")
    talk.send(A, "news").pump()
    talk.send(I, "last")
    talk.do("close", I, **BYE)
    return talk.do("take", A, count=1)


def call() -> Recorder:
    """A request that runs while the WebSocket breaks."""
    talk = begin("call", "")
    talk.do("request", I, method="add", payload="1+2", timeout=5)
    talk.act("cut")
    talk.act("reply", A, request=1, payload="3")
    return talk.do("dial").do("wait", seconds=0.025)


def drawn(talk: Recorder) -> str:
    """Return a conversation as a text of two columns."""
    lines = [f"{'initiator':<{WIDTH + 5}}acceptor"]
    for step in talk.row["steps"]:
        if "do" in step:
            lines += _happened(step)
            continue
        said = list(map(in_words, step["frames"]))
        arrow = ARROWS[step["from"], "lost" in step]
        for line in said:
            left, right = (line, "") if step["from"] == I else ("", line)
            lines.append(f"  {left:<{WIDTH - 2}}{arrow}  {right}".rstrip())
            arrow = " " * len(arrow)
    return "```text\n" + "\n".join(lines) + "\n```"


def _happened(step: dict[str, Any]) -> list[str]:
    match step:
        case {"do": "dial"}:
            words = "opens a WebSocket"
        case {"do": "cut"}:
            return [f"{'(the WebSocket breaks)':^{2 * WIDTH}}".rstrip()]
        case {"do": "wait", "seconds": seconds}:
            return [f"{f'({1000 * seconds:g} ms pass)':^{2 * WIDTH}}".rstrip()]
        case {"do": "send", "payload": payload}:
            words = f"sends {json.dumps(payload)}"
        case {"do": "want", "number": number}:
            words = f"waits for confirmation of {number}"
        case {"do": "take", "count": count}:
            words = f"takes {count} message{'s' * (count > 1)}"
        case {"do": "close"}:
            words = "closes"
        case {"do": "request", "method": method}:
            words = f"requests {json.dumps(method)}"
        case {"do": "reply", "request": request}:
            words = f"has run request {request}"
        case _:
            raise AssertionError(step)
    return [" " * (WIDTH + 5 if step.get("at") == A else 0) + f"({words})"]


def in_words(frame: list[Any]) -> str:
    """Return a frame, as JSON, in a line of text."""
    letter, *fields = frame
    match letter:
        case "H":
            return f"Hello: attempt {fields[4]}, {_position(fields[6], fields[8])}"
        case "W":
            return f"Welcome: {_position(fields[3], fields[5])}"
        case "M":
            return f"Messages {fields[0]}: {', '.join(map(json.dumps, fields[1]))}"
        case "A":
            return f"Ack: received {fields[0]}, confirmed {fields[1]}"
        case "%":
            return f"Partial: {fields[1]} bytes of {fields[0]}"
        case "N" | "K":
            return f"{'Want' if letter == 'N' else 'CallAck'}: {fields[0]}"
        case "F":
            return f"Finish: number {fields[0]}, code {fields[1]}, {json.dumps(fields[2])}"
        case "S" | "D":
            return f"{'Stop' if letter == 'S' else 'Done'}: {_counters(fields[0])}"
        case "C":
            return f"Calls {fields[0]}: {', '.join(map(_entry, fields[1]))}"
    raise AssertionError(frame)


def _position(position: list[Any], calls: list[int]) -> str:
    counters, _sent, _first, _partial = position
    beside = f", calls {calls[0]}" if any(calls[:2]) else ""
    return f"received {counters[0]}, confirmed {counters[1]}{beside}"


def _counters(counters: list[Any]) -> str:
    received, confirmed, handed, *_ = counters
    return f"received {received}, confirmed {confirmed}, handed {handed}"


def _entry(entry: list[Any]) -> str:
    match entry:
        case ["Q", method, *_]:
            return f"Request {json.dumps(method)}"
        case ["R", request, payload]:
            return f"Reply to {request}: {json.dumps(payload)}"
    raise AssertionError(entry)


# --------------------------------------------------------------------- states


def states(table: Mapping[Any, Mapping[Any, Enum]], *begins: Enum) -> str:
    """Return a table of states as a diagram: one arrow for all that lead the same way."""
    lines = ["stateDiagram-v2", *(f"    [*] --> {state.value}" for state in begins)]
    for before, moves in table.items():
        ways: dict[Enum, list[str]] = {}
        for mover, after in moves.items():
            ways.setdefault(after, []).append(getattr(mover, "__name__", None) or mover.name)
        for after, names in ways.items():
            lines.append(f"    {before.value} --> {after.value}: {', '.join(names)}")
    return "```mermaid\n" + "\n".join(lines) + "\n```"


# --------------------------------------------------------------------- the page


PICTURES: dict[str, Callable[[], str]] = {
    "send": lambda: drawn(send()),
    "resume": lambda: drawn(resume()),
    "close": lambda: drawn(close()),
    "call": lambda: drawn(call()),
    "link": lambda: states(LINK, Phase.DIALING, Phase.ACCEPTED),
    "sending": lambda: states(SENDING, Sending.OPEN),
    "receiving": lambda: states(RECEIVING, Receiving.OPEN),
}


def between(name: str) -> re.Pattern[str]:
    """Match a picture with its marks; the picture is the second group."""
    begin_mark, end_mark = f"<!-- picture: {name} -->\n", f"\n<!-- end of {name} -->"
    return re.compile(f"({re.escape(begin_mark)})(.*?)({re.escape(end_mark)})", re.DOTALL)


def draw(page: str) -> str:
    """Return the page with every picture drawn anew."""
    for name, picture in PICTURES.items():
        text = picture()
        page, count = between(name).subn(lambda match: match[1] + text + match[3], page)  # noqa: B023
        assert count == 1, f"{count} places for the picture {name}"
    return page


if __name__ == "__main__":
    PAGE.write_text(draw(PAGE.read_text()))
