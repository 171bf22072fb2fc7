"""Messages that are confirmed when their work is done, whatever hands them over."""

from __future__ import annotations

from typing import Any, Protocol

from reliable_ws.protocol.errors import PayloadError

from .log_limit import LogLimit
from .status import logger

__all__ = ["BaseDelivery", "log_left_out"]


def log_left_out(name: str, error: PayloadError, limit: LogLimit, now: float) -> None:
    """Log that an iteration goes on without a message that cannot be decoded (MSG-4).

    The codec's own words may hold what the peer sent, so only the kind of its error is logged.
    """
    if limit.admits(now):
        logger.warning(
            "%s: message %d (%d bytes) cannot be decoded (%s); it counts as taken, and the "
            "iteration goes on without it%s",
            name,
            error.number,
            len(error.raw),
            type(error.__cause__).__name__,
            limit.more(),
        )


class Receiver(Protocol):
    """What hands messages over."""

    def confirm(self, number: int) -> None:
        """Confirm one; again: no effect."""

    @property
    def session_id(self) -> bytes:
        """The id of the session."""
        raise NotImplementedError


class BaseDelivery:
    """A message that was handed over and waits for its confirmation."""

    __slots__ = ("_receiver", "message", "number", "redelivered")

    def __init__(
        self,
        receiver: Receiver,
        number: int,
        message: Any,
        redelivered: bool,  # noqa: FBT001
    ) -> None:
        self._receiver = receiver
        self.number = number
        self.message = message
        self.redelivered = redelivered
        "Whether it may have been handed over before, to a process of ours that died."

    def __repr__(self) -> str:
        """Its number, and whether it may have come before."""
        again = " redelivered" if self.redelivered else ""
        return f"<{type(self).__name__} {self.number}{again}>"

    @property
    def key(self) -> str:
        """Names this message for ever: the session's id and the number.

        It is the same after a restart of either side. Keep it with what you do for the message, in
        the same transaction, and you find out whether you have done it (docs/durability.md).
        """
        return f"{self._receiver.session_id.hex()}:{self.number}"
