"""The pictures in protocol.md: four conversations of the real core, and the tables of states.

The conversations are traces of the wire, as ``trace=`` writes them, printed by the code of
``python -m reliable_ws trace``.

``make pictures`` draws them anew, each between two marks of its own. A test fails
where the page shows something else.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from operator import itemgetter
from pathlib import Path
from typing import Any

from reliable_ws.cli.trace import ENDS, line, line_of, shown
from reliable_ws.cli.trace_file import event_of, put_together
from reliable_ws.protocol.records import records_of
from reliable_ws.protocol.state import LINK, RECEIVING, SENDING, Phase, Receiving, Sending
from tests.vectors.recorder import BYE, A, I, Recorder, begin

__all__ = ["PICTURES", "between", "draw"]

PAGE = Path(__file__).parents[2] / "protocol.md"

ON_ITS_WAY = 0.0004
"""Seconds that each WebSocket message takes in these conversations."""

STEP = 0.0001
"""Seconds that pass before an application does something, or a WebSocket breaks."""

SESSION = "30313233343536373839616263646566"
"""The id that the sides of a conversation have."""

NOTE = "notes"
"""A line that is in no trace: what an application does."""


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
    """Return a conversation as ``python -m reliable_ws trace`` prints it, with what is done."""
    records = list(traced(talk))
    (trace,) = put_together(event_of(one) for one in records if one["event"] != NOTE)
    said = [(one["time"], one["words"]) for one in records if one["event"] == NOTE]
    said += [(event.time, line_of(event, trace)) for event in shown(trace)]
    begin = trace.events[0].time
    lines = [line(at - begin, words) for at, words in sorted(said, key=itemgetter(0))]
    return "```text\n" + textwrap.dedent("\n".join(lines)) + "\n```"


def traced(talk: Recorder) -> Iterator[dict[str, Any]]:
    """Go through the lines of both ends' traces, and what the applications do in between."""
    now, link, has_opened = 0.0, 0, False

    def record(role: str, event: str, **more: Any) -> dict[str, Any]:
        return {"time": now, "session": SESSION, "role": role, "link": link, "event": event, **more}

    for step in talk.row["steps"]:
        if "do" in step:
            now += STEP
        match step:
            case {"do": "dial"}:
                link, has_opened = link + 1, False
                yield record(I, "opens")
            case {"do": "cut"}:
                yield record(I, "lost")
                yield record(A, "lost")
            case {"do": "wait", "seconds": seconds}:
                now += seconds
            case {"do": _, "at": role}:
                yield record(role, NOTE, words=f"({ENDS[role][0]} {_done(step)})")
            case {"from": role, "hex": data}:
                frames = records_of(bytes.fromhex(data))
                yield record(role, "sends", frames=frames)
                now += ON_ITS_WAY
                if "lost" not in step:
                    if not has_opened:  # a server knows the session of a WebSocket by its Hello
                        yield record(A, "opens")
                        has_opened = True
                    yield record(I if role == A else A, "gets", frames=frames)


def _done(step: dict[str, Any]) -> str:
    """Return what an application does, in words."""
    match step:
        case {"do": "send", "payload": payload}:
            return f"sends {json.dumps(payload)}"
        case {"do": "want", "number": number}:
            return f"waits for confirmation of {number}"
        case {"do": "take", "count": count}:
            return f"takes {count} message{'s' * (count > 1)}"
        case {"do": "close"}:
            return "closes"
        case {"do": "request", "method": method}:
            return f"requests {json.dumps(method)}"
        case {"do": "reply", "request": request}:
            return f"has run request {request}"
    raise AssertionError(step)


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
