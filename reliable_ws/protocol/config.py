"""Every limit of a session, each with its default and why it is what it is."""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from typing import Any

from .frames import MAX_NUMBER, Limits

__all__ = ["Config"]

KIB, MIB = 1024, 1024 * 1024

MIN_FRAME = 4 * KIB
"""Below this a transport's frame limit ends the session instead of being halved (PART-14)."""

HIGHEST = MAX_NUMBER // 1000
"""What a greeting can say, also of seconds in milliseconds; excludes infinity too."""

OVERSLEPT = 1.0
"""Seconds by which a tick may be late before the lateness is taken for our own (LIVE-4)."""

LEAST_IDLE_MS = 100
"""A peer that announces a shorter idle time cannot keep us busy with heartbeats (LIVE-7)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Limits and deadlines of a session. Times are seconds, sizes bytes.

    Raises ``ValueError`` for a value out of range, naming the field.
    """

    open_timeout: float = 10.0
    "From opening a WebSocket to the end of the greeting. As in websockets."
    idle_timeout: float = 20.0
    "A link on which nothing was heard for so long is dropped; each side speaks every third of it."
    session_ttl: float = 120.0
    "How long a session outlives contact with its peer. Long enough for a restart or a tunnel."
    close_progress_timeout: float = 30.0
    """``close()`` gives up when the peer has made no progress for so long.

    A WebSocket that died unnoticed is given up after ``idle_timeout``; what is left of this
    time by then, ``open_timeout``, is for another one to bring the end (CLOSE-23).
    """
    close_timeout: float = 300.0
    """``close()`` gives up after so long, whatever the progress.

    Handlers of requests that run have most of it to end.
    """
    window_messages: int = 32_768
    "Most unconfirmed messages that the peer may have in flight to us."
    window_bytes: int = 4 * MIB
    "Most bytes of them. 1 MiB costs a stream of 64 KiB messages 40 %, 4 MiB 6 % (measured)."
    outbox_messages: int | None = None
    "Most accepted, unconfirmed messages before ``send()`` waits. Default: as ``window_messages``."
    outbox_bytes: int | None = None
    "Most bytes of them. Default: as ``window_bytes``."
    max_frame: int = MIB
    "Largest WebSocket message we take. The default of websockets; a transport may have less."
    max_message: int = 64 * MIB
    "Largest single message we take; it travels in parts when larger than a frame."
    max_requests: int = 1024
    "Most concurrent requests that the peer may have open with us."
    ack_delay: float = 0.025
    "An ack that nobody waits for may be late by this, to ride with other frames."
    batch_messages: int = 1024
    "Most messages in one WebSocket message; more only adds latency (measured)."
    batch_bytes: int = 64 * KIB
    "Most bytes of several messages in one WebSocket message."
    max_sessions: int = 10_000
    "Most sessions that an acceptor holds. Idle, one takes 11 KiB besides its WebSocket (measured)."
    max_per_principal: int = 64
    "Most of them for one authenticated principal."
    max_bytes: int = 256 * MIB
    "Most bytes of messages that all sessions of an acceptor hold together."
    max_tombstones: int = 65_536
    "Most ended sessions that are remembered, to answer a peer that missed the end."

    def __post_init__(self) -> None:
        for field in fields(self):
            value: Any = getattr(self, field.name)
            if value is None and field.name.startswith("outbox_"):
                continue
            kinds = (int, float) if isinstance(field.default, float) else (int,)
            if value is None or type(value) not in kinds or not 0 < value <= HIGHEST:
                kind = "a number" if float in kinds else "an int"
                raise ValueError(f"Config.{field.name} must be {kind} above 0, not {value!r}")
        if self.max_frame < MIN_FRAME:
            raise ValueError(f"Config.max_frame must be at least {MIN_FRAME}, not {self.max_frame}")

    def limits(self, max_frame: int | None) -> Limits:
        """Return what the greeting says, for a transport that takes ``max_frame`` bytes."""
        return _limits(self, min(self.max_frame, max_frame or self.max_frame))


@functools.lru_cache(maxsize=64)
def _limits(config: Config, max_frame: int) -> Limits:
    """Return one object for all sessions of a configuration."""
    return Limits(
        window_messages=config.window_messages,
        window_bytes=config.window_bytes,
        max_frame=max_frame,
        max_message=config.max_message,
        max_requests=config.max_requests,
        idle_ms=max(1, int(config.idle_timeout * 1000)),
        ttl_ms=max(1, int(config.session_ttl * 1000)),
    )
