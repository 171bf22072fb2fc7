"""How long a session waits: for contact with its peer, and for its own end."""

from __future__ import annotations

from .config import Config
from .deadline import LONG_AGO, NEVER, OVERSLEPT

__all__ = ["NO_CONTACT", "Timers"]

NO_CONTACT = "no contact with the peer"
"""Why a session without a link ends (END-4)."""


class Timers:
    """The deadlines of a session that go on between two WebSockets."""

    __slots__ = ("_config", "_hard_by", "contact_at", "detached_at", "moved_at", "progress_at")

    def __init__(self, config: Config, now: float) -> None:
        self._config = config
        self.contact_at = now
        "When the peer was heard of last, as far as links have told."
        self.detached_at: float = LONG_AGO
        "When the newest link was lost."
        self.progress_at: float | None = None
        "When the peer moved on last; ``None`` unless the session is closing."
        self.moved_at = now
        "When something arrived at the peer last; counts only while the session is closing."
        self._hard_by: float = NEVER  # the limit that the caller of close() gave

    @property
    def closing(self) -> bool:
        """Whether the session waits for its own end."""
        return self.progress_at is not None

    def close(self, now: float, timeout: float | None) -> None:
        """Wait for the end, within bounds; again: only shortens the limit (CLOSE-10, CLOSE-22)."""
        if self.progress_at is None:
            self.progress_at = self.moved_at = now
        if timeout is not None:
            self._hard_by = min(self._hard_by, now + timeout)

    def heard(self, at: float) -> None:
        """Note a contact with the peer (END-6)."""
        self.contact_at = max(self.contact_at, at)

    def detached(self, heard_at: float, now: float) -> None:
        """Note that no link is open from now on, and when the last one was heard."""
        self.contact_at = max(self.contact_at, heard_at)
        self.detached_at = now

    def progressed(self, now: float) -> None:
        """Note progress of the peer: closing may go on waiting (CLOSE-21)."""
        if self.progress_at is not None:
            self.progress_at = max(self.progress_at, now)

    def moved(self, now: float) -> None:
        """Note that something new has arrived at the peer: a slow transfer may go on (CLOSE-24)."""
        self.progressed(now)
        self.moved_at = max(self.moved_at, now)

    def deadline(self, *, attached: bool, silent_since: float | None) -> float:
        """When to ask :meth:`expired` at the latest, with the same arguments."""
        by: float = self._hard_by
        if self.progress_at is not None:
            by = min(
                by,
                self.moved_at + self._config.close_timeout,
                self._progress_by(self.progress_at, silent_since),
            )
        if attached:
            return by
        return min(by, max(self.contact_at + self._config.session_ttl, self.detached_at))

    def _progress_by(self, progress_at: float, silent_since: float | None) -> float:
        """When a close is given up that makes no progress (CLOSE-10, CLOSE-25)."""
        config = self._config
        by = progress_at + config.close_progress_timeout
        if silent_since is None:
            return by
        return min(by, max(progress_at, silent_since) + config.open_timeout)

    def expired(self, now: float, *, attached: bool, silent_since: float | None) -> str | None:
        """Return why to wait no longer, or ``None``; every deadline that has passed moves.

        ``silent_since``: when the peer was heard last, if nothing of ours is left to be confirmed.
        """
        config = self._config
        if now >= self._hard_by:
            return "close() took too long"
        if self.progress_at is not None:
            if now >= self.moved_at + config.close_timeout:
                return "close() took too long"
            late = now - self._progress_by(self.progress_at, silent_since)  # as in `deadline`
            if late > OVERSLEPT:  # we were not running: do not blame the peer (LIVE-4)
                limit = config.close_progress_timeout
                if silent_since is not None:
                    limit = min(limit, config.open_timeout)
                self.progress_at = now - limit / 2
            elif late >= 0:
                return "no progress while closing"
        if not attached:
            # as in `deadline`: not before it was known that there is no link
            late = now - max(self.contact_at + config.session_ttl, self.detached_at)
            if late > OVERSLEPT:
                self.contact_at = now - config.session_ttl + config.open_timeout
            elif late >= 0:  # END-4
                return NO_CONTACT
        return None
