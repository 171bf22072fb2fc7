"""Deliveries that nobody confirms: they fill the peer's window, and nothing more can come."""

from __future__ import annotations

from reliable_ws.protocol.session import Session

__all__ = ["FULL", "STUCK_AFTER", "WindowWatch"]

STUCK_AFTER = 10.0
"""Seconds without any progress after which a full window is worth a warning: work on a delivery may
take as long, but then it goes on."""

FULL = 0.75
"""The share of the window, in messages or bytes, from which on it counts as full. The next message
may be larger than what is left."""


class WindowWatch:
    """Notices that a peer cannot send because the application confirms none of its deliveries."""

    __slots__ = ("_inbox", "_is_told", "_name", "_progress", "_since")

    def __init__(self, session: Session, name: str) -> None:
        """``name``: the session, in log lines."""
        self._inbox = session.inbox
        self._name = name
        self._progress = (0, 0)  # what had arrived, and was confirmed, at the last look
        self._since = 0.0  # when that was seen first
        self._is_told = False

    def look(self, now: float) -> str:
        """Return a warning if the window has stood still for ``STUCK_AFTER``: once per stall."""
        inbox = self._inbox
        progress = (inbox.received, inbox.confirmed)
        if progress != self._progress:
            self._progress, self._since, self._is_told = progress, now, False
        unconfirmed = inbox.handed - inbox.confirmed
        is_full = unconfirmed >= FULL * inbox.max_messages or inbox.held >= FULL * inbox.max_bytes
        if self._is_told or inbox.queue or not unconfirmed or not is_full or inbox.finish:
            return ""
        if now - self._since < STUCK_AFTER:
            return ""
        self._is_told = True
        return (
            f"{self._name}: {unconfirmed} deliveries are not confirmed and fill the window, so the "
            "peer sends nothing more. Confirm each delivery when its work is done: "
            "'async with delivery as message' (without async in threads), or delivery.confirm()"
        )
