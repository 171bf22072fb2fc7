"""Two honest sides that come to an end."""

from __future__ import annotations

import pytest

from reliable_ws.protocol.config import Config
from reliable_ws.protocol.report import End, Outcome
from reliable_ws.protocol.session import Session
from tests.support.pair import Pair

PENDING = Outcome.PENDING
BOTH = ("client", "server")
either = pytest.mark.parametrize("who", BOTH)


def opened(config: Config | None = None) -> Pair:
    pair = Pair(config)
    pair.connect()
    return pair


def do(pair: Pair, who: str, verb: str, *args, **options) -> None:
    """Let one application do something, and note what happened."""
    session = getattr(pair, who)
    events = getattr(session, verb)(pair.now, *args, **options)
    if who == "client":
        pair.client_events += events
    else:
        pair._server_said(events)


def take(pair: Pair, who: str) -> list:
    return pair.client_take() if who == "client" else pair.server_take()


def other(who: str) -> str:
    return "server" if who == "client" else "client"


def outcomes(session: Session) -> list[Outcome]:
    return [session.outcome(number + 1) for number in range(session.outbox.messages)]


def ended(pair: Pair, kind: End = End.FINISHED, code: int = 1000) -> bool:
    ends = [pair.client.ended, pair.server.ended]
    return all(end is not None and (end.kind, end.code) == (kind, code) for end in ends)
