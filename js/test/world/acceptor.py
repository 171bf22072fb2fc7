"""An acceptor without a network: a line of JSON for each step, a line for what it says then.

The Python core is the other end of world.test.js, which owns the wire and the clock. It
answers each request with what it was asked, and each stream with three items of that.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from reliable_ws.protocol import Arrival, Config, Session, SessionRegistry
from reliable_ws.protocol.events import Cancelled, Event, Granted, Replied, Requested
from reliable_ws.protocol.payload import seal_weight

ITEMS = 3


class Acceptor:
    """A registry, the newest WebSocket, and the application."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.registry = SessionRegistry(41, Config(**config))
        self.arrival: Arrival | None = None
        self.session: Session | None = None
        self.runs: list[str] = []
        self.answers: list[list[Any]] = []
        self.streams: dict[int, dict[str, Any]] = {}

    def step(self, do: str, now: float, **options: Any) -> dict[str, Any]:
        """Do one thing; return what came of it, and everything that is said then."""
        result = getattr(self, f"do_{do}")(now, **options)
        session = self.session
        if session is not None:
            self._dispatch(session.poll(now))
            if session.ended:
                self.registry.retire(session, now)
        said, over = [], None
        arrival = self.arrival
        if arrival is not None:
            link = arrival.link or arrival
            while (data := link.transmit(now)) is not None:
                said.append(data.hex())
            over = link.close_action and link.close_action.code
        return {"result": result, "said": said, "over": over}

    def do_arrive(self, now: float) -> None:
        """A WebSocket comes."""
        self.arrival = self.registry.arrive(now)

    def do_receive(self, now: float, data: str) -> None:
        """An envelope comes on it."""
        arrival = self.arrival
        if arrival is None:
            return
        if arrival.link is None or arrival.session is None:
            events = arrival.receive(bytes.fromhex(data), now)
            self.session = arrival.session or self.session
        else:
            events = arrival.session.receive(arrival.link, bytes.fromhex(data), now)
        self._dispatch(events)

    def do_cut(self, now: float) -> None:
        """It is gone."""
        arrival, self.arrival = self.arrival, None
        if arrival is not None and arrival.link is not None and arrival.session is not None:
            self._dispatch(arrival.session.lost(arrival.link, None, "", now))

    def do_tick(self, now: float) -> None:
        """Time passes."""
        if self.session is not None:
            self._dispatch(self.session.tick(now))

    def do_send(self, _now: float, text: str) -> int:
        """Send a text, if there is room; return its number or 0."""
        session = self.session
        if session is None or session.ended or not session.outbox.has_room(len(text.encode()) + 6):
            return 0
        return session.send(text)

    def do_take(self, _now: float, count: int) -> list[Any]:
        """Take messages, at most so many."""
        session = self.session
        return [session.take() for _ in range(min(count, len(session.inbox)))] if session else []

    def do_request(self, _now: float, text: str) -> int:
        """Ask, if there is room; return the number or 0."""
        session = self.session
        if session is None or session.ended or not session.outgoing_calls.has_room:
            return 0
        return session.request("echo", text, seal_weight(text))

    def do_close(self, now: float) -> None:
        """Close the session."""
        if self.session is not None:
            self._dispatch(self.session.close(now))

    def do_report(self, _now: float) -> dict[str, Any]:
        """Say what was run, answered, sent and confirmed."""
        report = self.session.report() if self.session else None
        sent = (report.sent, report.confirmed) if report else (0, 0)
        return {"runs": self.runs, "answers": self.answers, "sent": sent}

    def _dispatch(self, events: list[Event]) -> None:
        session = self.session
        if session is None:
            return
        for event in events:
            match event:
                case Requested(number, _method, payload, _by, credit):
                    self.runs.append(str(payload))
                    if credit:
                        stream = {"payload": payload, "credit": credit, "sent": 0, "items": 0}
                        self.streams[number] = stream
                        self._stream(number)
                    else:
                        session.reply(number, payload, seal_weight(payload))
                case Granted(number, total) if number in self.streams:
                    self.streams[number]["credit"] = total
                    self._stream(number)
                case Cancelled(number):
                    self.streams.pop(number, None)
                    session.fault(number, "cancelled", "")
                case Replied(number, payload):
                    self.answers.append([number, payload])

    def _stream(self, number: int) -> None:
        session, stream = self.session, self.streams[number]
        if session is None:
            return
        weight = seal_weight(stream["payload"])
        while stream["items"] < ITEMS and stream["sent"] < stream["credit"]:
            session.item(number, stream["payload"], weight)
            stream["sent"] += weight
            stream["items"] += 1
        if stream["items"] == ITEMS:
            del self.streams[number]
            session.reply(number, "end", seal_weight("end"))


def main() -> None:
    """Do what comes on stdin, line by line."""
    acceptor = Acceptor(json.loads(sys.stdin.readline()))
    for line in sys.stdin:
        step = json.loads(line)
        now = step.pop("now") / 1000
        print(json.dumps(acceptor.step(step.pop("do"), now, **step)), flush=True)


main()
