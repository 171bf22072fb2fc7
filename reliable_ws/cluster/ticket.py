"""What one node tells another of a WebSocket that it passes on, signed. Pure.

The ticket is the first message on the inner WebSocket. It says who the peer is, so it is believed
only with the cluster's secret, for a short time, and at the node that it was written for.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, NamedTuple

import msgpack

__all__ = ["LIFE", "BadTicket", "Ticket", "read_ticket", "write_ticket"]

LIFE = 60.0
"""Seconds for which a ticket is good: clocks of the nodes may differ by as much."""

SIGNATURE = 32
"""Bytes of the signature: HMAC-SHA256."""


class BadTicket(ValueError):
    """A ticket that is not believed."""


class Ticket(NamedTuple):
    """What a node tells of a WebSocket."""

    node: bytes
    "The node that it is for."
    session: bytes
    is_new: bool
    "Whether the peer was never welcomed."
    who: bytes
    "The principal, packed."
    max_frame: int | None
    "The largest message that the peer's WebSocket takes here."
    view: dict[str, Any]
    "What the application may look at (:mod:`.view`)."


def write_ticket(ticket: Ticket, secret: bytes, wall: float) -> bytes:
    """Return a signed ticket. ``wall`` is the time in seconds since 1970."""
    body: bytes = msgpack.packb((wall + LIFE, *ticket))
    return _sign(secret, body) + body


def read_ticket(data: bytes | str, secret: bytes, node: bytes, wall: float) -> Ticket:
    """Return what a signed ticket says.

    Raises:
        BadTicket: It is not signed with this secret, or too old, or for another node.
    """
    if isinstance(data, str) or len(data) < SIGNATURE:
        raise BadTicket("no ticket")
    signature, body = data[:SIGNATURE], data[SIGNATURE:]
    if not hmac.compare_digest(signature, _sign(secret, body)):
        raise BadTicket("the signature is wrong: nodes of one cluster need the same secret=")
    until, *fields = msgpack.unpackb(body)
    ticket = Ticket(*fields)
    if not wall < until <= wall + 2 * LIFE:
        raise BadTicket("it is too old: the clocks of the nodes differ by more than a minute")
    if ticket.node != node:
        raise BadTicket("it is for another node")
    return ticket


def _sign(secret: bytes, body: bytes) -> bytes:
    return hmac.new(secret, b"reliable-ws relay 1" + body, hashlib.sha256).digest()
