"""The greeting of two sides on a new link: their positions, and whether these fit together.

Hello and Welcome carry the same: where a side stands in both directions, and what it accepts. The
acceptor checks Hello before it sends Welcome. The initiator checks Welcome. Then each side knows
what the other has received, and sends from there on (RESUME-3, RESUME-4).
"""

from __future__ import annotations

from .calls.incoming import IncomingCalls
from .calls.outgoing import OutgoingCalls
from .calls.queue import CallQueue
from .errors import Violation
from .frames import OVERHEAD, CallPosition, Code, Counters, Position
from .inbox import Inbox
from .outbox import Outbox
from .payload import MsgpackCodec, PayloadCodec, name_of

__all__ = [
    "call_position",
    "check_calls",
    "check_position",
    "codecs_differ",
    "position",
    "told_codec",
]


def position(outbox: Outbox, inbox: Inbox, counters: Counters) -> Position:
    """Return where this side stands with messages (HELLO-4). ``counters`` are the inbox's."""
    return Position(counters, outbox.transmitted, outbox.confirmed + 1, inbox.partial)


def call_position(queue: CallQueue, incoming: IncomingCalls) -> CallPosition:
    """Return where this side stands with calls (CALL-4)."""
    return CallPosition(incoming.tellable, queue.transmitted, queue.acked + 1)


def told_codec(codec: PayloadCodec) -> str | None:
    """Return what a greeting says of the payload codec: nothing of msgpack (HELLO-18)."""
    name = name_of(codec)
    return None if name == MsgpackCodec.name else name


def codecs_differ(initiator: str | None, acceptor: str | None) -> Violation:
    """Return what to raise where two sides have said different payload codecs (HELLO-18)."""
    names = [name or MsgpackCodec.name for name in (initiator, acceptor)]
    return Violation(Code.CODEC, "payload codecs differ: initiator {}, acceptor {}".format(*names))


def check_position(peer: Position, outbox: Outbox, inbox: Inbox) -> None:
    """Check the peer's position in messages (RESUME-3).

    Raises:
        Violation: The position shows that one side has lost its state.
    """
    counters = peer.counters
    # Our messages: the peer knows no more than was sent, and no less than it confirmed.
    if counters.confirmed < outbox.confirmed:
        raise Violation(Code.VIOLATION, "state lost: confirmed has fallen")
    if counters.received > outbox.transmitted:
        raise Violation(Code.VIOLATION, "counters of what was never sent")
    # The peer's messages: it can go on behind what we have, and has sent that.
    if not inbox.stopped:
        if peer.first > inbox.received + 1:
            raise Violation(Code.VIOLATION, "state lost: messages are not available any more")
        if peer.sent < inbox.received:
            raise Violation(Code.VIOLATION, "state lost: sent has fallen")
    # The message that it holds a part of is longer than that part.
    if peer.partial > 0 and not _fits(outbox, counters.received + 1, peer.partial):
        raise Violation(Code.VIOLATION, "more of a message than was sent")


def _fits(outbox: Outbox, number: int, partial: int) -> bool:
    """Whether the peer can hold so many bytes of this message of ours (PART-11)."""
    if number > outbox.messages:
        return False
    weight = outbox.end_of(number) - outbox.end_of(number - 1)
    return partial < weight - OVERHEAD


def check_calls(
    peer: CallPosition | None,
    queue: CallQueue,
    outgoing: OutgoingCalls,
    incoming: IncomingCalls,
    *,
    stopped: bool,
) -> None:
    """Check the peer's position in calls (CALL-21).

    ``stopped``: whether our intake is frozen, so that the peer's calls do not matter any more.

    Raises:
        Violation: The position shows that one side has lost its state.
    """
    if peer is None:
        if outgoing.limit:
            raise Violation(Code.VIOLATION, "state lost: calls are not known any more")
        return
    if not queue.acked <= peer.received <= queue.transmitted:
        raise Violation(Code.VIOLATION, "state lost: calls received")
    if not stopped and not peer.first - 1 <= incoming.received <= peer.sent:
        raise Violation(Code.VIOLATION, "state lost: calls sent")
