"""What is under a connection: tests look at it where applications cannot."""

from __future__ import annotations

from typing import Any

from reliable_ws.protocol.session import Session


def driver_of(connection: Any) -> Any:
    """Return what drives the session of a connection, on asyncio or with threads."""
    return connection._driver


def session_of(connection: Any) -> Session:
    """Return the session of a connection."""
    return driver_of(connection).session
