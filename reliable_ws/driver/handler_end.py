"""A session's handler: there is one, and what its end means."""

from __future__ import annotations

from reliable_ws.protocol.errors import AlreadyServed, ConnectionClosed, DeliveryError
from reliable_ws.protocol.frames import Code

from .status import logger

__all__ = ["GOING_AWAY", "already_served", "close_code", "log_undelivered"]

GOING_AWAY = (Code.GOING_AWAY, "going away")
"""Code and reason of a session that ends with its program, or with a task that is cancelled."""


def close_code(error: BaseException | None) -> int:
    """Return the code with which a session is closed whose handler ended so, and log an error.

    ``None``: the handler has returned.
    """
    if error is None:
        return Code.FINISHED
    if isinstance(error, ConnectionClosed):  # a client that is gone is no bug
        logger.warning("a handler ended with %s: %s", type(error).__name__, error)
    else:
        logger.error("a handler raised", exc_info=error)
    return Code.INTERNAL


def log_undelivered(error: DeliveryError) -> None:
    """Log what the close after a handler could not deliver: nobody else is told."""
    logger.warning("a session ended with undelivered messages: %s", error.report)


def already_served() -> AlreadyServed:
    """Return the error for a second handler of one session, whose WebSocket is gone now."""
    return AlreadyServed(
        "this WebSocket carried on a session whose connection an earlier handler has; "
        "Sessions.handle(websocket, handler) calls your handler once per session"
    )
