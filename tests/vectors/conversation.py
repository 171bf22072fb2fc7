"""Frames as JSON, and a conversation on which two sides of the real core play a conversation.

In JSON a frame is an array whose type is a letter; bytes are ``{"hex": "…"}``, an extension value
is ``{"ext": code, "hex": "…"}``.
"""

from __future__ import annotations

from typing import Any

import msgpack

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.frames import (
    ENTRIES,
    TYPES,
    CallPosition,
    Calls,
    Counters,
    Entry,
    Frame,
    Hello,
    Limits,
    Position,
    Welcome,
)
from reliable_ws.protocol.registry import SessionRegistry
from reliable_ws.protocol.report import Outcome
from reliable_ws.protocol.session import Session
from tests.support.calls import SessionCalls, session_calls
from tests.support.pair import Pair

BY_LETTER = {chr(number): kind for kind, number in TYPES.items()}
ENTRY_BY_LETTER = {chr(number): kind for kind, number in ENTRIES.items()}
LETTERS = {**TYPES, **ENTRIES}
NESTED = {
    "position": Position,
    "limits": Limits,
    "counters": Counters,
    "calls": CallPosition,
    "codec": str,
}


def to_json(value: Any) -> Any:
    """Return a frame, a field or a payload as JSON."""
    if isinstance(value, Hello | Welcome):
        codec = [] if value.codec is None else [[value.codec]]  # left out if it has no name
        return [chr(LETTERS[type(value)]), *map(to_json, value[:-1]), *codec]
    if type(value) in LETTERS:
        return [chr(LETTERS[type(value)]), *map(to_json, value)]
    if isinstance(value, msgpack.ExtType):
        return {"ext": value.code, "hex": value.data.hex()}
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return value


def items_to_json(data: bytes) -> Any:
    """Return the frames of an envelope as JSON, whatever is in their fields."""
    frames = []
    for letter, *fields in msgpack.unpackb(data):
        if letter == TYPES[Calls]:
            fields[1] = [[chr(entry[0]), *entry[1:]] for entry in fields[1]]
        frames.append([chr(letter), *map(to_json, fields)])
    return frames


def value_from(item: Any) -> Any:
    """Return a field or a payload from JSON."""
    if isinstance(item, dict):
        data = bytes.fromhex(item["hex"])
        return msgpack.ExtType(item["ext"], data) if "ext" in item else data
    return [value_from(part) for part in item] if isinstance(item, list) else item


def frame_from(item: list[Any]) -> Frame:
    """Return a frame from JSON."""
    kind = BY_LETTER[item[0]]
    if kind is Calls:
        return Calls(item[1], [entry_from(entry) for entry in item[2]])
    if kind in (Hello, Welcome) and len(item) == len(kind._fields):
        item = [*item, None]  # a codec that was left out
    fields = []
    for name, field in zip(kind._fields, map(value_from, item[1:]), strict=True):
        nested = NESTED.get(name)
        fields.append(field if nested is None or field is None else _nested(nested, field))
    return kind(*fields)


def entry_from(item: list[Any]) -> Entry:
    """Return one entry of a run of calls from JSON."""
    return ENTRY_BY_LETTER[item[0]](*map(value_from, item[1:]))


def _nested(kind: Any, fields: list[Any]) -> Any:
    if kind is Position:
        return Position(_nested(Counters, fields[0]), *fields[1:])
    if kind is Counters:
        return Counters(*fields[:4], tuple(map(tuple, fields[4])))
    return kind(*fields)


class Conversation:
    """Two sides, one wire at a time, and the steps of a conversation."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.pair = Pair(Config(**config))
        self.got: list[list[Any]] = []
        "What the last step has handed over: each message, and whether it is flagged (RESUME-7)."

    def pull(self, side: str) -> bytes | None:
        """Return the next envelope that a side sends on the newest wire."""
        if not self.pair.wires:
            return None
        wire = self.pair.wire
        return (wire.dialer if side == "initiator" else wire.listener).transmit(self.pair.now)

    def deliver(self, sender: str, data: bytes) -> None:
        """Bring an envelope to the other side."""
        if sender == "initiator":
            self.pair.wire.up.append(data)
            self.pair.deliver_up()
        else:
            self.pair.wire.down.append(data)
            self.pair.deliver_down()

    def act(self, step: dict[str, Any]) -> None:
        """Do what an application, the network or the clock does in this step."""
        pair, at = self.pair, step.get("at")
        self.got = []
        match step["do"], at:
            case "dial", _:
                pair.dial()
            case "cut", _:
                pair.cut()
            case "wait", _:
                pair.now += step["seconds"]
                pair.tick()
            case "forget", _:
                pair.registry = SessionRegistry(77, pair.config)
            case verb, _:
                self._verb(verb, pair.client if at == "initiator" else pair.server, step)
                for side in (pair.client, pair._server):
                    if side is not None:
                        side.poll(pair.now)
                if pair._server is not None and pair._server.ended:
                    pair.registry.retire(pair._server, pair.now)

    def _verb(self, verb: str, session: Session, step: dict[str, Any]) -> None:
        now = self.pair.now
        match verb:
            case "send":
                session.send_sealed(value_from(step["payload"]), step["weight"])
            case "want":
                session.want(step["number"])
            case "take":
                for _ in range(step["count"]):
                    payload = session.take()
                    self._handed(session, session.inbox.confirmed, payload)
            case "hand over":
                for _ in range(step["count"]):
                    self._handed(session, *session.deliver())
            case "confirm":
                session.confirm(step["number"])
            case "request" | "reply" | "fault" | "item" | "grant" | "cancel":
                self._call(verb, session_calls(session), step)
            case "finish":
                session.finish(now, step["code"], step["reason"])
            case "close":
                session.close(now, step["code"], step["reason"])
            case "abort":
                session.abort(now, reason=step["reason"])
            case _:
                raise AssertionError(verb)

    def _handed(self, session: Session, number: int, payload: Any) -> None:
        flagged = number <= session.inbox.redelivered_upto
        self.got.append([to_json(payload), flagged])

    def _call(self, verb: str, calls: SessionCalls, step: dict[str, Any]) -> None:
        payload = value_from(step.get("payload"))
        match verb:
            case "request":
                timeout = step.get("timeout")
                by = None if timeout is None else self.pair.now + timeout
                calls.request(step["method"], payload, by, step.get("credit", 0))
            case "reply":
                calls.reply(step["request"], payload)
            case "fault":
                calls.session.fault(step["request"], step["code"], step["message"])
            case "item":
                calls.item(step["request"], payload)
            case "grant":
                calls.session.grant(step["request"], step["total"])
            case _:
                calls.session.cancel(step["request"])

    def outcome(self) -> dict[str, Any]:
        """Return what each side knows in the end."""
        return {
            "initiator": _known(self.pair.client),
            "acceptor": _known(self.pair._server),
        }


def _known(session: Session | None) -> dict[str, Any] | None:
    if session is None:
        return None
    known: dict[str, Any] = {"end": session.ended and session.ended.code}
    numbers = range(1, session.outbox.messages + 1)
    for outcome in (Outcome.CONFIRMED, Outcome.NOT_TAKEN, Outcome.UNKNOWN, Outcome.PENDING):
        known[outcome.value] = [n for n in numbers if session.outcome(n) is outcome]
    return known
