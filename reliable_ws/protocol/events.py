"""What happened: the events that the verbs of a session return, in order.

They are small immutable values. Drivers dispatch on their type. One event stands for a whole batch
of messages.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from .frames import Payload
from .report import Ending

__all__ = [
    "Arrived",
    "CallEvent",
    "Cancelled",
    "Confirmed",
    "Detached",
    "Eased",
    "EndKept",
    "Ended",
    "Event",
    "Faulted",
    "Granted",
    "Itemized",
    "Opened",
    "PeerFinished",
    "Replied",
    "Requested",
    "Settled",
    "SilenceLearned",
    "Stored",
    "Withdrawn",
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
    """The peer's Finish has arrived. Messages before it may still wait to be taken."""

    code: int
    reason: str


class Detached(NamedTuple):
    """The link is over, the session lives: open another WebSocket."""

    code: int | None
    reason: str
    retry: float | None = None
    "Seconds that the peer asked us to wait first."


class SilenceLearned(NamedTuple):
    """WebSockets were cut time and again when they had been silent for so long (LIVE-8).

    From the next link on both sides speak more often.
    """

    limit: float
    "Seconds."


class Stored(NamedTuple):
    """With a store: our messages up to this number are kept (STORE-2)."""

    number: int


class EndKept(NamedTuple):
    """With a store: it has the end of the session, or it is given nothing more.

    From here on the report is final. Until then, another process could go on with the session.
    """


class Withdrawn(NamedTuple):
    """The store is full: our messages above this number were taken back, and never went (STORE-7).

    Their numbers are given to other messages.
    """

    number: int


class Requested(NamedTuple):
    """The peer asks for something to be done."""

    id: int
    method: str
    payload: Payload
    by: float | None
    "When the requester stops waiting, by our clock."
    credit: int
    "Bytes of items that may be sent before more is granted; 0: a plain request."


class Replied(NamedTuple):
    """The peer has answered, or ended its stream."""

    id: int
    payload: Payload


class Faulted(NamedTuple):
    """The peer could not answer."""

    id: int
    code: str
    message: str
    payload: Payload


class Itemized(NamedTuple):
    """The peer sent one item of a stream."""

    id: int
    payload: Payload


class Cancelled(NamedTuple):
    """The peer no longer waits for the answer to a request of its own."""

    id: int


class Granted(NamedTuple):
    """The peer takes more items of a stream."""

    id: int
    total: int
    "Bytes of items in all that may be sent."


class Eased(NamedTuple):
    """Items of streams that waited for room may go on."""


class Ended(NamedTuple):
    """The session is over and its report final."""

    ending: Ending


CallEvent: TypeAlias = Requested | Replied | Faulted | Itemized | Cancelled | Granted | Eased

Event: TypeAlias = (
    Opened
    | Arrived
    | Confirmed
    | Settled
    | PeerFinished
    | Detached
    | SilenceLearned
    | Stored
    | EndKept
    | Withdrawn
    | Ended
    | CallEvent
)
