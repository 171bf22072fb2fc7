"""Which node answers a Hello. Pure: what is known comes in, a decision comes out.

Theory of operation. A node asks the engine only for sessions that it does not hold. The engine
names the session's *owner*. While the owner's lease lives, its WebSockets are relayed to it, and
the owner decides everything. Once the lease is over, or the owner has parked the session, the node
that is asked *claims* it, if the engine has enough of it. A claim is refused by the engine if it is
not above the highest attempt, so of two nodes that claim only one gets it, and an owner that was
only frozen is refused from then on.

Where the engine has just lost its memory, nothing is concluded from what is missing (``is_young``).
"""

from __future__ import annotations

import hmac
from typing import NamedTuple, TypeAlias

from reliable_ws.protocol.frames import Code, Hello
from reliable_ws.protocol.registry import hash_key

from .records import Found, State

__all__ = ["Claim", "Decision", "Here", "PassOn", "Refusal", "Remember", "route"]


class Here(NamedTuple):
    """The registry of this node answers: it makes the session, or does not know it."""


class PassOn(NamedTuple):
    """The owner lives: pass the WebSocket on."""

    owner: bytes
    address: bytes


class Claim(NamedTuple):
    """Nobody has the session any more, and the engine has enough to go on with."""

    owner: bytes
    "Whom it is taken from."
    anew: bool
    "Whether the peer was never welcomed: nothing is to be gone on with."


class Remember(NamedTuple):
    """The session has ended, and its owner is gone: answer from what the engine has."""


class Refusal(NamedTuple):
    """Say why not."""

    code: int
    reason: str


Decision: TypeAlias = Here | PassOn | Claim | Remember | Refusal

LATER = Refusal(Code.AWAY, "where this session lives is not known yet")


def route(
    hello: Hello, who: bytes, found: Found | None, node: bytes, run: bytes, *, is_young: bool
) -> Decision:
    """Decide about a Hello for a session that this node does not hold.

    ``who``: the principal of the WebSocket, packed. ``found``: what the engine has, ``None`` for
    nothing. ``node``: the one that asks. ``run``: which engine this is. ``is_young``: whether it
    lost what it had, so recently that owners may not have registered again.
    """
    if found is None:
        # It would have been made if the Hello had said that it is new.
        return LATER if is_young else Here()
    lives = found.address is not None and found.owner != node
    if lives and found.state is not State.PARKED:
        return PassOn(found.owner, found.address or b"")
    # Nobody else decides about it. The comparison is HELLO-5's.
    if not (hmac.compare_digest(found.key, hash_key(hello.key)) and found.who == who):
        return Here()  # the registry refuses it, like any that it does not know
    if found.state is State.ENDED:
        return Remember() if b"final" in found.fields else Here()
    if is_young and found.state is State.LIVE:
        return LATER  # the lease may be missing for no other reason
    if hello.attempt <= found.attempt and found.owner != node:  # RESUME-1
        return Refusal(Code.SUPERSEDED, "a later attempt was seen")
    if found.has_all(run) or (found.owner == node and b"facts" in found.fields):
        return Claim(found.owner, anew=False)
    if hello.incarnation == 0:
        return Claim(found.owner, anew=True)
    return Here()  # lost with its owner
