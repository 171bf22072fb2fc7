"""What has to hold of a WebSocket before it is taken over."""

from __future__ import annotations

__all__ = ["check_open"]


def check_open(*, accepted: bool = True, closed: bool = False, read: bool = False) -> None:
    """Raise ``ValueError`` for a WebSocket that cannot be taken over as it is."""
    if not accepted:
        raise ValueError("the WebSocket is not accepted yet: await its accept() first")
    if closed:
        raise ValueError("the WebSocket is closed: pass one that is open")
    if read:
        raise ValueError("another task is receiving from the WebSocket: it must have one reader")
