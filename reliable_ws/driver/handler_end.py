"""A session's handler: there is one, and what its end means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from reliable_ws.protocol.errors import (
    AlreadyServed,
    ConnectionClosed,
    ConnectionClosedOK,
    DeliveryError,
    MessageTooLarge,
    PayloadError,
)
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.report import Report

from .status import explain, logger

__all__ = ["GOING_AWAY", "HandlerEnd", "already_served"]

GOING_AWAY = (Code.GOING_AWAY, "going away")
"""Code and reason of a session that ends with its program, or with a task that is cancelled."""


class Named(Protocol):
    """Whose name stands in log lines. It is made when there is a line."""

    @property
    def name(self) -> str:
        """The session."""
        raise NotImplementedError


class HandlerEnd:
    """How the handler of a session ended. At most one line above ``DEBUG`` tells it.

    A client that leaves while the handler still sends or receives is no mistake of anybody: the
    handler ends with the exception that told it so. A client that is lost is worth one line.
    """

    __slots__ = ("_driver", "_is_told", "code")

    def __init__(self, driver: Named) -> None:
        """``driver``: that of the session, which has its name for log lines."""
        self._driver = driver
        self._is_told = False  # the handler itself was told what is not delivered
        self.code: int = Code.FINISHED
        "The code to close the session with."

    @property
    def _name(self) -> str:
        return self._driver.name

    def raised(
        self, error: BaseException, over: ConnectionClosed | None, *, is_finishing: bool = False
    ) -> None:
        """Note that the handler has raised this.

        ``over``: what its session raises for its end, or for that of the peer's messages.
        ``is_finishing``: this side sends nothing more, because it drains for example.
        """
        is_end = all(isinstance(one, ConnectionClosed | DeliveryError) for one in _leaves(error))
        self._is_told = is_end and over is not None
        if self._is_told and isinstance(over, ConnectionClosedOK):
            logger.debug("the handler of %s ended as the peer left: %s", self._name, error)
            return
        if is_end and over is None and is_finishing:
            logger.debug("the handler of %s ended as it could not send: %s", self._name, error)
            return
        self.code = Code.INTERNAL
        if self._is_told:
            logger.warning("the handler of %s ended as the peer was lost: %s", self._name, over)
        elif is_end or isinstance(
            error, MessageTooLarge
        ):  # of another connection; of a peer's limit
            kind = type(error).__name__
            logger.warning("the handler of %s ended with %s: %s", self._name, kind, error)
        elif isinstance(error, PayloadError):  # the codec's words may hold what the peer sent
            line = "the handler of %s ended with PayloadError: message %d cannot be decoded"
            logger.warning(line, self._name, error.number)
        else:
            for one in _leaves(error):
                explain(one)
            logger.error("the handler of %s raised", self._name, exc_info=error)

    def overdue(self, report: Report) -> None:
        """Log that the handler was cancelled, since its session had ended."""
        words = "the handler of %s was cancelled, as its session is over: %s"
        logger.warning(words, self._name, report)

    def undelivered(self, error: DeliveryError) -> None:
        """Log what the close after the handler could not deliver, if nobody else was told."""
        if not self._is_told:
            logger.warning("%s ended with undelivered messages: %s", self._name, error.report)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Iterate over the exceptions in a group, and in the groups in it."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


def already_served() -> AlreadyServed:
    """Return the error for a second handler of one session, whose WebSocket is gone now."""
    return AlreadyServed(
        "this WebSocket carried on a session whose connection an earlier handler has; "
        "Sessions.handle(websocket, handler) calls your handler once per session"
    )
