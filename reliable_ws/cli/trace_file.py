"""Traces of the wire (``trace=``), read: what both ends have seen, put together.

Theory of operation. A WebSocket keeps the order of its messages. So the n-th message that one end
has sent on a link is the n-th that the other end has got (:func:`match`), and what has no partner
was lost with the link. The clocks of two machines differ: what was sent must have been sent before
it arrived, which bounds the difference from both sides (:func:`clock_difference`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reliable_ws.wire_trace import FORMAT, VERSION

from .common import Failure

__all__ = ["Event", "Trace", "described", "event_of", "left_out", "put_together", "read"]

SIDES = ("initiator", "acceptor")

EVENTS = frozenset(("opens", "sends", "gets", "lost"))
"""Others may be added to the format: readers skip them."""


@dataclass(slots=True, eq=False)
class Event:
    """One line of a trace."""

    time: float
    "Seconds since 1970; those of an acceptor by the initiator's clock, where both were read."
    session: str
    role: str
    link: int
    event: str
    "``opens``, ``sends``, ``gets`` or ``lost``."
    frames: list[dict[str, Any]] = field(default_factory=list)
    code: int | None = None
    reason: str = ""
    partner: Event | None = None
    "The same message, as the other end has seen it."
    place: int = 0
    "Its place among the events of its session, those of one time in the order of the file."
    again: bool = False
    "Whether it carries messages or calls that were sent before."


@dataclass(slots=True)
class Trace:
    """What was seen of one session."""

    session: str
    events: list[Event]
    "In the order of time."
    sides: tuple[str, ...]
    "Which ends have been read."
    begin: float
    "The time of the first event."
    left_out: int = 0
    "How many events before those are not shown."


def read(paths: Iterable[str], prefix: str = "") -> list[Trace]:
    """Read traces; return what they have of each session, in the order of its beginning.

    ``prefix``: only of sessions whose id begins so.

    Raises:
        Failure: A file cannot be read, or is no trace.
    """
    events = (event for path in paths for event in _lines(path))
    return put_together(event for event in events if event.session.startswith(prefix))


def put_together(events: Iterable[Event]) -> list[Trace]:
    """Return what events of one end, or of both, say of each session."""
    by_session: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.event in EVENTS:
            by_session[event.session].append(event)
    traces = [_trace(session, of_it) for session, of_it in by_session.items()]
    return sorted(traces, key=lambda trace: trace.events[0].time)


def _lines(path: str) -> Iterator[Event]:
    """Read one file."""
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from None
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            if "format" in record:
                _check(path, record)
                continue
            yield event_of(record)
        except (ValueError, KeyError, TypeError):
            if number == len(lines):  # a disk was full in the midst of it
                return
            raise Failure(f"{path}, line {number}: this is no line of a trace") from None


def event_of(record: dict[str, Any]) -> Event:
    """Return the event that a line of a trace has.

    Raises:
        KeyError, TypeError, ValueError: It is no such line.
    """
    return Event(
        time=float(record["time"]),
        session=str(record["session"]),
        role=str(record["role"]),
        link=int(record["link"]),
        event=str(record["event"]),
        frames=record.get("frames", []),
        code=record.get("code"),
        reason=record.get("reason", ""),
    )


def _check(path: str, head: dict[str, Any]) -> None:
    if head["format"] != FORMAT or head["version"] != VERSION:
        raise Failure(
            f"{path} is {head['format']}, version {head.get('version')}: "
            f"this program reads {FORMAT}, version {VERSION}"
        )


def _trace(session: str, events: list[Event]) -> Trace:
    """Put together what was seen of one session."""
    sides = tuple(side for side in SIDES if any(event.role == side for event in events))
    for side in sides:
        _mark_repeated([event for event in events if event.role == side])
    match(events)
    if len(sides) == len(SIDES):
        difference = clock_difference(events)
        for event in events:
            if event.role == "acceptor":
                event.time += difference
    events = sorted(events, key=lambda event: event.time)
    for place, event in enumerate(events):
        event.place = place
    return Trace(session, events, sides, events[0].time)


def match(events: list[Event]) -> None:
    """Find the two ends of each WebSocket message."""
    sent: dict[tuple[str, int], list[Event]] = defaultdict(list)
    got: dict[tuple[str, int], list[Event]] = defaultdict(list)
    for event in events:
        if event.event == "sends":
            sent[event.role, event.link].append(event)
        elif event.event == "gets":
            other = "acceptor" if event.role == "initiator" else "initiator"
            got[other, event.link].append(event)
    for key, sends in sent.items():
        for sending, getting in zip(sends, got[key], strict=False):
            sending.partner, getting.partner = getting, sending


def clock_difference(events: list[Event]) -> float:
    """Return how many seconds to add to the acceptor's times; 0.0 where they fit already."""
    least, most = float("-inf"), float("inf")
    for event in events:
        if event.event != "sends" or event.partner is None:
            continue
        if event.role == "initiator":
            least = max(least, event.time - event.partner.time)
        else:
            most = min(most, event.partner.time - event.time)
    if least <= 0.0 <= most:
        return 0.0
    if least == float("-inf"):
        return most
    return least if most == float("inf") else (least + most) / 2


def _mark_repeated(events: list[Event]) -> None:
    """Note which messages of one end were sent before."""
    highest = {"Messages": 0, "Calls": 0}
    for event in events:
        if event.event != "sends":
            continue
        for frame in event.frames:
            name = frame.get("frame", "")
            if name in highest:
                event.again |= int(frame["first"]) <= highest[name]
                count = frame["count"] if name == "Messages" else len(frame["entries"])
                highest[name] = max(highest[name], int(frame["first"]) + int(count) - 1)


def left_out(trace: Trace) -> str:
    """Return how many events are not shown, in words; empty if all are."""
    if not trace.left_out:
        return ""
    lines = "line" if trace.left_out == 1 else "lines"
    return f"{trace.left_out:,} earlier {lines} left out (--limit)"


def described(event: Event) -> str:
    """Return what a WebSocket message says, in words."""
    return "; ".join(map(_frame, event.frames)) or "nothing that is known here"


def _frame(frame: dict[str, Any]) -> str:
    name = frame.get("frame", "?")
    match name:
        case "Messages":
            numbers = _run(frame["first"], frame["count"])
            return f"Messages {numbers} ({frame['bytes']} B)"
        case "Calls":
            numbers = _run(frame["first"], len(frame["entries"]))
            entries = ", ".join(map(_entry, frame["entries"]))
            return f"Calls {numbers} ({entries})"
        case "Part":
            end = frame["offset"] + frame["bytes"]
            return f"Part of {frame['number']}: bytes {frame['offset']}-{end} of {frame['total']}"
        case "Hello" | "Welcome":
            kind = f"attempt {frame['attempt']}" if name == "Hello" else _kind(frame["resumed"])
            where = frame["position"]
            counters = where["counters"]
            return f"{name}, {kind}: sent {where['sent']}, {_counters(counters)}{_calls(frame)}"
        case "Ack":
            return f"Ack: {_counters(frame)}"
        case "Stop" | "Done":
            counters = frame["counters"]
            return f"{name}: {_counters(counters)}, handed {counters['handed']}"
        case "Finish" | "Refuse":
            return f"{name}: {frame['code']} {frame['reason']!r}"
        case "invalid":
            return f"no message of this protocol: {frame['reason']}"
    fields = [f"{key} {value}" for key, value in frame.items() if key != "frame"]
    return f"{name} {', '.join(fields)}"


def _counters(counters: dict[str, Any]) -> str:
    return f"received {counters['received']}, confirmed {counters['confirmed']}"


def _calls(greeting: dict[str, Any]) -> str:
    """Return how many calls have arrived, where any were made."""
    calls = greeting.get("calls") or {"received": 0, "sent": 0}
    return f", calls {calls['received']}" if calls["received"] or calls["sent"] else ""


def _kind(resumed: bool) -> str:  # noqa: FBT001 - as it stands in the file
    return "again" if resumed else "new"


def _run(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"


def _entry(entry: dict[str, Any]) -> str:
    words = str(entry["entry"]).lower()
    if "method" in entry:
        words += f" {entry['method']}"
    if "request" in entry:
        words += f" of {entry['request']}"
    if "code" in entry:
        words += f": {entry['code']}"
    return words
