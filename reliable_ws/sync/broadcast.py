"""``broadcast``: one message to many connections, as its namesake in websockets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reliable_ws.driver.broadcast import send_to_all
from reliable_ws.protocol.frames import Payload

from .connection import Connection

__all__ = ["broadcast"]


def broadcast(
    connections: Iterable[Connection], message: Any, *, raise_exceptions: bool = False
) -> None:
    """Send a message to many connections. Returns at once, and never waits for any of them.

    Connections that have ended are skipped. A connection whose outbox has no room, or that takes no
    message of this size, is skipped with a warning in the log.

    Args:
        connections: Where to send it.
        message: As for :meth:`Connection.send`. It is packed once.
        raise_exceptions: Raise for connections that were skipped, instead of logging them.

    Raises:
        NotSerializable: The payload codec cannot pack this value. It was sent to no connection.
        ExceptionGroup: With ``raise_exceptions``: some connections were skipped. The group has one
            exception for each.
        TypeError: One of ``connections`` is no :class:`Connection`. It was sent to no connection.
    """
    send_to_all(connections, Connection, message, _send, raise_exceptions=raise_exceptions)


def _send(connection: Connection, payload: Payload, weight: int) -> None:
    connection._sender.send_sealed_now(payload, weight)
