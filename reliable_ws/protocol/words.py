"""What travels, in words, for logs. No payload and no key is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .codec import decode
from .errors import Violation
from .frames import (
    Ack,
    CallAck,
    Calls,
    Counters,
    Done,
    Finish,
    Frame,
    Hello,
    Messages,
    Part,
    Partial,
    Position,
    Refuse,
    Stop,
    Want,
    Welcome,
)

__all__ = ["WORDS", "describe"]


def describe(data: bytes | str) -> str:
    """Return what a WebSocket message says."""
    try:
        frames = decode(data, len(data))
    except Violation as fault:
        return f"what is no message of this protocol: {fault.reason}"
    return "; ".join(WORDS[type(frame)](frame) for frame in frames) or "nothing that is known here"


def _run(first: int, count: int, noun: str) -> str:
    return f"{noun} {first}" if count == 1 else f"{noun}s {first} to {first + count - 1}"


def _messages(frame: Messages) -> str:
    return _run(frame.first, len(frame.payloads), "message")


def _calls(frame: Calls) -> str:
    kinds = ", ".join(type(entry).__name__.lower() for entry in frame.entries)
    return f"{_run(frame.first, len(frame.entries), 'call')} ({kinds})"


def _part(frame: Part) -> str:
    end = frame.offset + len(frame.data)
    return f"bytes {frame.offset} to {end} of {frame.total} of message {frame.number}"


def _position(position: Position) -> str:
    return f"I have sent {position.sent}, {_counters(position.counters)}"


def _counters(counters: Counters) -> str:
    stopped = ", and take no more" if counters.stopped else ""
    return f"received {counters.received}, confirmed {counters.confirmed}{stopped}"


def _hello(frame: Hello) -> str:
    return f"Hello, attempt {frame.attempt}: {_position(frame.position)}"


def _welcome(frame: Welcome) -> str:
    return f"Welcome, {'again' if frame.resumed else 'new'}: {_position(frame.position)}"


WORDS: dict[type[Frame], Callable[[Any], str]] = {
    Ack: lambda frame: f"Ack: received {frame.received}, confirmed {frame.confirmed}",
    CallAck: lambda frame: f"CallAck: received call {frame.received}",
    Calls: _calls,
    Done: lambda frame: f"Done: {_counters(frame.counters)}",
    Finish: lambda frame: f"Finish {frame.number}: {frame.code} {frame.reason!r}",
    Hello: _hello,
    Messages: _messages,
    Part: _part,
    Partial: lambda frame: f"Partial: {frame.held} bytes of message {frame.number} are here",
    Refuse: lambda frame: f"Refuse: {frame.code} {frame.reason!r}",
    Stop: lambda frame: f"Stop: {_counters(frame.counters)}",
    Want: lambda frame: f"Want: tell me when message {frame.number} is taken",
    Welcome: _welcome,
}
"""Each frame in words."""
