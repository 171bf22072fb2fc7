"""Everything that can change a state, as tables.

Two rules. A step that is not in a table is a violation: of the peer if a frame asked for it,
of this library if a command did. What follows from facts is not stored: "detached" is a session
without a link, "done" is a session whose two directions are done.

There are three small machines. A *link* moves through phases. In each phase it accepts only the
frames listed. A session has two directions that know nothing of each other: ``Sending`` for our
messages until their outcomes are known, ``Receiving`` for the peer's until we take no more. If the
session ends before a direction does, there is no evidence: messages end *unknown*
(``Sending.ENDED``). A Stop of the peer settles each of them.
"""

from __future__ import annotations

import enum

from .frames import (
    Ack,
    CallAck,
    Calls,
    Done,
    Finish,
    Frame,
    Messages,
    Part,
    Partial,
    Refuse,
    Stop,
    Want,
    Welcome,
)

__all__ = [
    "LINK",
    "RECEIVING",
    "SENDING",
    "Phase",
    "Receiving",
    "Sending",
    "Trigger",
]


class Phase(enum.Enum):
    """Where a link stands."""

    DIALING = "dialing"
    "The initiator said Hello, or is about to."
    INITIATED = "initiated"
    "Open, at the initiator."
    ACCEPTED = "accepted"
    "Open, at the acceptor."
    OVER = "over"
    "Inert: whatever still comes is not looked at."


LINK: dict[Phase, dict[type[Frame], Phase]] = {
    Phase.DIALING: {
        Welcome: Phase.INITIATED,
        Refuse: Phase.OVER,
    },
    Phase.INITIATED: {
        Messages: Phase.INITIATED,
        Part: Phase.INITIATED,
        Finish: Phase.INITIATED,
        Ack: Phase.INITIATED,
        Want: Phase.INITIATED,
        Partial: Phase.INITIATED,
        Stop: Phase.INITIATED,
        Calls: Phase.INITIATED,
        CallAck: Phase.INITIATED,
        Done: Phase.OVER,
        Refuse: Phase.OVER,
    },
    Phase.ACCEPTED: {
        Messages: Phase.ACCEPTED,
        Part: Phase.ACCEPTED,
        Finish: Phase.ACCEPTED,
        Ack: Phase.ACCEPTED,
        Want: Phase.ACCEPTED,
        Partial: Phase.ACCEPTED,
        Stop: Phase.ACCEPTED,
        Calls: Phase.ACCEPTED,
        CallAck: Phase.ACCEPTED,
        Refuse: Phase.OVER,
    },
    Phase.OVER: {},
}
"""Phase -> frame that may come -> phase after it (LINK-2)."""


class Sending(enum.Enum):
    """Our own direction."""

    OPEN = "open"
    FINISHING = "finishing"
    "Finish is queued behind the last message."
    FINISHED = "finished"
    "The peer has confirmed Finish, hence everything."
    STOPPED = "stopped"
    "The peer takes nothing more; its counters settle every message."
    ENDED = "ended"
    "The session ended first: what is not confirmed stays unknown, or never left."


class Receiving(enum.Enum):
    """The peer's direction."""

    OPEN = "open"
    FINISHING = "finishing"
    "The peer's Finish has arrived; messages before it wait to be taken."
    FINISHED = "finished"
    "Everything is taken, Finish included."
    STOPPED = "stopped"
    "We take nothing more; what we said of it is frozen."


class Trigger(enum.Enum):
    """What moves a half."""

    FINISH = "finish() or close()"
    CONFIRMED = "the peer confirmed our Finish"
    PEER_STOPPED = "the peer's counters are final"
    PEER_FINISHED = "the peer's Finish arrived"
    TAKEN = "the last message before the peer's Finish was taken"
    STOP = "close(), or the session's end"
    END = "the session's end"


SENDING: dict[Sending, dict[Trigger, Sending]] = {
    Sending.OPEN: {
        Trigger.FINISH: Sending.FINISHING,
        Trigger.PEER_STOPPED: Sending.STOPPED,
        Trigger.END: Sending.ENDED,
    },
    Sending.FINISHING: {
        Trigger.CONFIRMED: Sending.FINISHED,
        Trigger.PEER_STOPPED: Sending.STOPPED,
        Trigger.END: Sending.ENDED,
    },
    Sending.FINISHED: {
        Trigger.PEER_STOPPED: Sending.FINISHED,
        Trigger.END: Sending.FINISHED,
    },
    Sending.STOPPED: {
        Trigger.PEER_STOPPED: Sending.STOPPED,
        Trigger.END: Sending.STOPPED,
    },
    Sending.ENDED: {},
}
"""Half -> trigger -> half after it."""

RECEIVING: dict[Receiving, dict[Trigger, Receiving]] = {
    Receiving.OPEN: {
        Trigger.PEER_FINISHED: Receiving.FINISHING,
        Trigger.STOP: Receiving.STOPPED,
    },
    Receiving.FINISHING: {
        Trigger.TAKEN: Receiving.FINISHED,
        Trigger.STOP: Receiving.STOPPED,
    },
    Receiving.FINISHED: {
        Trigger.STOP: Receiving.FINISHED,
    },
    Receiving.STOPPED: {
        Trigger.STOP: Receiving.STOPPED,
    },
}
"""Half -> trigger -> half after it."""
