"""One message to many connections, without waiting: who gets it, and who is skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from reliable_ws.protocol.errors import (
    ConnectionClosed,
    MessageTooLarge,
    NumbersExhausted,
    OutboxFull,
)
from reliable_ws.protocol.frames import Payload
from reliable_ws.protocol.payload import seal

from .status import Status, logger
from .validation import expect

__all__ = ["send_to_all"]

ConnectionT = TypeVar("ConnectionT", bound=Status)


def send_to_all(
    connections: Iterable[ConnectionT],
    kind: type[ConnectionT],
    message: Any,
    send: Callable[[ConnectionT, Payload, int], object],
    *,
    raise_exceptions: bool,
) -> None:
    """Send a message by ``send(connection, payload, weight)`` to all that are open.

    Raises:
        NotSerializable: A payload codec cannot pack the message: it was sent to nobody.
        TypeError: Something is no connection: the message was sent to nobody.
        ExceptionGroup: With ``raise_exceptions``: some connections were skipped.
    """
    chosen = list(connections)
    packed: dict[int, tuple[Payload, int]] = {}  # by codec: usually all have the same
    package = "reliable_ws.sync" if ".sync." in kind.__module__ else "reliable_ws"
    for connection in chosen:
        expect("connections", connection, f"of {package}", fits=isinstance(connection, kind))
        codec = connection._session.codec
        if id(codec) not in packed:
            packed[id(codec)] = seal(message, codec)
    skipped: list[Exception] = []
    for connection in chosen:
        try:
            send(connection, *packed[id(connection._session.codec)])
        except ConnectionClosed:
            continue
        except (OutboxFull, MessageTooLarge, NumbersExhausted) as error:
            error.add_note(f"{connection!r} was skipped")
            skipped.append(error)
    if skipped and raise_exceptions:
        raise ExceptionGroup(f"skipped {len(skipped)} of {len(chosen)} connections", skipped)
    if skipped:
        logger.warning(
            "broadcast() skipped %d of %d connections: %s; %s",
            len(skipped),
            len(chosen),
            skipped[0].__notes__[0],
            skipped[0],
        )
