"""Conversations of two sides of the real core, written down."""

from __future__ import annotations

from typing import Any

from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.frames import Frame
from reliable_ws.protocol.payload import seal_weight
from tests.vectors.conversation import items_to_json, to_json
from tests.vectors.stored_conversation import conversation_of

A, I = "acceptor", "initiator"  # noqa: E741

BYE = {"code": 1000, "reason": "bye"}

CALL_LETTERS = "CK"


class Recorder:
    """Plays a conversation and writes down who does and who says what."""

    def __init__(self, name: str, about: str, *, stores: str = "", **config: Any) -> None:
        self.row: dict[str, Any] = {"name": name, "about": about, "config": config, "steps": []}
        if stores:
            self.row["stores"] = stores.split()
        self.conversation = conversation_of(self.row)

    def act(self, verb: str, at: str | None = None, **more: Any) -> Recorder:
        """Let something happen; nothing is said yet."""
        step = {"do": verb, **({"at": at} if at else {}), **more}
        self.row["steps"].append(step)
        self.conversation.act(step)
        if "stores" in self.row and self.conversation.got:
            step["gets"] = self.conversation.got
        return self

    def do(self, verb: str, at: str | None = None, **more: Any) -> Recorder:
        """Let something happen, and everything that is said because of it."""
        return self.act(verb, at, **more).pump()

    def send(self, at: str, *payloads: Any) -> Recorder:
        """Send messages in one turn."""
        for payload in payloads:
            self.act("send", at, payload=to_json(payload), weight=seal_weight(payload))
        return self

    def want(self, at: str, number: int) -> Recorder:
        return self.act("want", at, number=number)

    def pump(self, lose: str = "") -> Recorder:
        """Write down what both sides say until both are silent; one side may be lost."""
        while True:
            silent = True
            for side in ("initiator", "acceptor"):
                while (data := self.conversation.pull(side)) is not None:
                    silent = False
                    self.said(side, data, lost=side == lose)
            if silent:
                return self

    def said(self, side: str, data: bytes, *, lost: bool = False, forged: bool = False) -> None:
        """Write down an envelope, and bring it to the other side unless it is lost."""
        step: dict[str, Any] = {"from": side, "hex": data.hex(), "frames": items_to_json(data)}
        if lost:
            step["lost"] = True
        if forged:
            step["forged"] = True
        self.row["steps"].append(step)
        if not lost:
            self.conversation.deliver(side, data)

    def forge(self, side: str, *frames: Frame) -> Recorder:
        """Put words into a side's mouth; the other's answer is not heard by it."""
        self.said(side, encode(frames), forged=True)
        other = "acceptor" if side == "initiator" else "initiator"
        while (data := self.conversation.pull(other)) is not None:
            self.said(other, data, lost=True)
        return self

    def dial(self) -> Recorder:
        """Open a WebSocket on which nobody has spoken."""
        return self.act("dial")

    def quiet(self, verb: str, at: str | None = None, *, lose: str = "", **more: Any) -> Recorder:
        """As :meth:`do`, while everything that ``lose`` says is lost."""
        return self.act(verb, at, **more).pump(lose)

    def end(self) -> dict[str, Any]:
        """Return the conversation with what both sides know in the end."""
        said = [step["frames"] for step in self.row["steps"] if "frames" in step]
        if any(frame[0] in CALL_LETTERS for frames in said for frame in frames):
            self.row["calls"] = True
        self.row["outcome"] = self.conversation.outcome()
        return self.row


def begin(name: str, about: str, **config: Any) -> Recorder:
    """A conversation whose first WebSocket is open, and greeted on."""
    return Recorder(name, about, **config).do("dial")
