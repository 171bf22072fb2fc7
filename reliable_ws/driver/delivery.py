"""Messages that are confirmed when their work is done, whatever hands them over."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["BaseDelivery"]


class Receiver(Protocol):
    """What hands messages over."""

    def confirm(self, number: int) -> None:
        """Confirm one; again: no effect."""


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

    def confirm(self) -> None:
        """Confirm the message. A second call has no effect.

        You can confirm deliveries in any order.

        Raises:
            ConfirmTooLate: The session has ended, and its counters are final.
        """
        self._receiver.confirm(self.number)
