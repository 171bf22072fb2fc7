"""What happened, as participles: returned by every step of a session, in order.

Small immutable values; tests compare them, drivers dispatch on their type. One event stands
for a whole batch of messages, never for one.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from .report import Ending

__all__ = [
    "Arrived",
    "Confirmed",
    "Detached",
    "Ended",
    "Event",
    "Opened",
    "PeerFinished",
    "Settled",
]


class Opened(NamedTuple):
    """The greeting is complete and the link carries messages."""

    resumed: bool
    "Whether the session existed before this link."
    replayed: int
    "How many numbers are sent again on this link."


class Arrived(NamedTuple):
    """Messages can be taken from the inbox."""

    messages: int


class Confirmed(NamedTuple):
    """The peer's application has taken everything up to this number."""

    number: int


class Settled(NamedTuple):
    """The outcome of everything that was sent is known: the peer takes nothing more."""


class PeerFinished(NamedTuple):
    """The peer's last word has arrived; messages before it may still wait to be taken."""

    code: int
    reason: str


class Detached(NamedTuple):
    """The link is over, the session lives: open another WebSocket."""

    code: int | None
    reason: str
    retry: float | None = None
    "Seconds that the peer asked us to wait first."


class Ended(NamedTuple):
    """The session is over and its report final."""

    ending: Ending


Event: TypeAlias = Opened | Arrived | Confirmed | Settled | PeerFinished | Detached | Ended
