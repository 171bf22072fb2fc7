"""The limits and timeouts of a session, with their defaults."""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from typing import Any

from .frames import MAX_NUMBER, Limits

__all__ = ["DEFAULT_CONFIG", "Config", "limits_of"]

KIB, MIB = 1024, 1024 * 1024

MIN_FRAME = 4 * KIB
"""Below this a transport's frame limit ends the session instead of being halved (PART-14)."""

MIN_MESSAGE = 1000
"""A peer that takes less could have every answer fail (LIMIT-1)."""

HIGHEST = MAX_NUMBER // 1000
"""What a greeting can say, also of seconds in milliseconds; excludes infinity too."""

LEAST_IDLE_MS = 1000
"""A peer that announces a shorter idle time cannot keep us busy with heartbeats (LIVE-7)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Limits and timeouts of a session. Times are in seconds, sizes in bytes.

    Each side has its own ``Config``. The greeting tells the peer what it has to respect
    (protocol.md, sections 8 and 13).

    Raises:
        ValueError: A value is out of range. The message names the field.
    """

    open_timeout: float = 10.0
    "The most time from opening a WebSocket to the end of the greeting."
    idle_timeout: float = 20.0
    """A WebSocket on which nothing arrived for so long is dropped. Each side sends something in
    every third of it. If a proxy cuts WebSockets that are silent for less, it should be below the
    proxy's time-out at both ends; else this is learned after three cuts (protocol.md, LIVE-8)."""
    part_timeout: float = 60.0
    """A WebSocket on which a message in parts stands still for so long is dropped, and what has
    arrived of the message, too; it comes again. It stands still when neither 64 KiB of it nor its
    end has come. So the slowest path that carries large messages takes 1 KiB in a second. What has
    arrived of a call in pieces is kept. If a call stands still on two WebSockets in a row, the
    session ends."""
    session_ttl: float = 120.0
    """How long this side keeps a session after the last contact with the peer. A gap that is longer
    than the shorter of both sides' values ends the session. A client that cannot reach its server
    tries for its own time: the server, once it is there, tells how the session ended."""
    stored_ttl: float = 7 * 86_400.0
    """The same for a session with a store, which outlives its process: it is used instead of
    ``session_ttl``, if it is longer. For as long the store remembers what became of its messages
    when the session has ended: of the ``max_tombstones`` that ended last."""
    stored_keys: int = 1_000_000
    """A store forgets the key of a message (``send(key=…)``) when so many later ones of the session
    are confirmed. In our measurements a key of 20 characters takes 70 bytes of the file."""
    close_progress_timeout: float = 30.0
    """``close()`` gives up when the peer has made no progress for so long. A WebSocket that died
    unnoticed is dropped after ``idle_timeout``. The rest of this time is for another
    WebSocket to bring the end (protocol.md, CLOSE-23). If nothing is left to be confirmed, closing
    gives up after ``open_timeout`` in which nothing is heard of the peer."""
    close_timeout: float = 300.0
    """``close()`` gives up after so long in which nothing new arrived at the peer, though its
    application makes progress. Running request handlers have most of this time to end."""
    close_cancelled_timeout: float = 3.0
    """How long closing may take after a cancellation, ``SystemExit`` or Ctrl-C has left the block
    of a connection, or after the program has ended without ``close()``. A peer that reads needs a
    few round trips. A task that is cancelled should not last much longer than that."""
    handler_grace: float = 5.0
    """How long a server's handler may go on when its session has ended. Then it is cancelled: it
    would wait for something else, or work for a peer that is gone. 5 s are enough to put away what
    it has begun. A handler in a thread cannot be cancelled: it looks at ``Connection.ended``."""
    window_messages: int = 32_768
    "How many unconfirmed messages the peer may have in flight to this side."
    window_bytes: int = 4 * MIB
    """How many bytes of them. In our measurements 1 MiB costs a stream of 64 KiB messages 40 %,
    and 4 MiB costs 6 %."""
    outbox_messages: int | None = None
    """How many accepted, unconfirmed messages this side holds before ``send()`` waits. Default:
    ``window_messages``."""
    outbox_bytes: int | None = None
    "How many bytes of them. Default: ``window_bytes``."
    max_frame: int = MIB
    "The largest WebSocket message that this side takes. A transport may take less."
    max_message: int = 64 * MIB
    """The largest message that this side takes, at least 1000 bytes. A message larger than a frame
    travels in parts."""
    max_requests: int = 1024
    "How many requests the peer may have open at the same time."
    max_handlers: int = 64
    """How many handlers of the peer's requests run in threads at the same time, in one session of
    ``reliable_ws.sync``. Further requests wait for a thread. (In asyncio, coroutines run without
    threads, and plain functions in the threads of the event loop's executor.)"""
    ack_delay: float = 0.025
    "How long an ack may wait for other frames to travel with, if nobody waits for it."
    batch_messages: int = 1024
    "The most messages in one WebSocket message. In our measurements more only adds latency."
    batch_bytes: int = 64 * KIB
    "The most bytes of several messages in one WebSocket message."
    max_sessions: int = 10_000
    """How many sessions a server holds. In our measurements an idle session takes 11 KiB, and
    its WebSocket takes more."""
    max_per_principal: int = 64
    """How many sessions a server holds for one principal. For another one, the detached session
    that has been silent for longest ends."""
    max_bytes: int = 256 * MIB
    """How many bytes of messages and calls all sessions of a server hold together. Above it the
    session that holds most ends, of the principal that holds most."""
    max_bytes_per_principal: int = 128 * MIB
    """How many bytes the sessions of one principal hold together, or a session without a principal.
    Above it the session that holds most ends. The default has room for the largest message in one
    direction, besides all windows."""
    max_tombstones: int = 65_536
    """How many ended sessions a server remembers, to answer a peer that missed the end. A store
    remembers as many, of either side."""

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
        if self.max_message < MIN_MESSAGE:
            raise ValueError(
                f"Config.max_message must be at least {MIN_MESSAGE}, not {self.max_message}"
            )

    def limits(self, max_frame: int | None) -> Limits:
        """Return what the greeting says, for a transport that takes ``max_frame`` bytes."""
        return limits_of(self, min(self.max_frame, max_frame or self.max_frame))


DEFAULT_CONFIG = Config()
"""That of everybody who gives none."""


@functools.lru_cache(maxsize=64)
def limits_of(config: Config, max_frame: int) -> Limits:
    """Return what the greeting says, one object for all sessions of a configuration.

    ``max_frame``: the largest WebSocket message that this side and its transport take.
    """
    return Limits(
        window_messages=config.window_messages,
        window_bytes=config.window_bytes,
        max_frame=max_frame,
        max_message=config.max_message,
        max_requests=config.max_requests,
        idle_ms=max(1, int(config.idle_timeout * 1000)),
        ttl_ms=max(1, int(config.session_ttl * 1000)),
    )
