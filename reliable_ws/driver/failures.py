"""Attempts to open a WebSocket that failed: what is repeated, what is final, and what is said.

One table, :data:`ATTEMPTS`, decides that for the whole library: for ``async for conn in
connect()``, for a session that reconnects, and for the command line.
"""

from __future__ import annotations

import contextlib
import email.utils
import enum
import logging
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from reliable_ws.protocol.errors import ConnectionClosed, NotReliablePeer, ServerBusy
from reliable_ws.protocol.frames import may_resume
from reliable_ws.transport import TransportClosed

__all__ = [
    "ATTEMPTS",
    "FailedAttempt",
    "FailedAttempts",
    "FailureKind",
    "RetryPolicy",
    "Stage",
    "classify",
    "describe",
    "explain",
]


logger = logging.getLogger("reliable_ws")


class FailureKind(enum.Enum):
    """What an attempt to open a WebSocket failed of."""

    PASSING = "passing"
    """Of what usually passes: no network, no answer in time, HTTP 408, 425, 429 or 5xx, a server
    that is busy."""
    REFUSED = "refused"
    """Of an answer that means this client: HTTP 401, 403 or 407, a redirect to what is no
    WebSocket, a certificate that is not trusted, a server without TLS."""
    OTHER = "other"
    "Of anything else: HTTP 404 or 200, an answer that is no HTTP, an exception of the application."
    FINAL = "final"
    "Of what no attempt can change: the peer does not speak this protocol, or refused the session."


class Stage(enum.Enum):
    """For what a WebSocket was to be opened."""

    FIRST = "first"
    "For the first session: this server may never have answered."
    NEXT = "next"
    "For another session, after one that was open (``async for conn in connect()``)."
    RESUMING = "resuming"
    "For a session that waits. Its time to live bounds the attempts."


FEW = 5
"""Attempts that are refused before that is final: some gateways refuse for a moment."""

UNLIMITED = 1_000_000_000
"""More attempts than there can be."""

ATTEMPTS: dict[FailureKind, dict[Stage, int]] = {
    FailureKind.PASSING: {Stage.FIRST: UNLIMITED, Stage.NEXT: UNLIMITED, Stage.RESUMING: UNLIMITED},
    FailureKind.OTHER: {Stage.FIRST: 1, Stage.NEXT: FEW, Stage.RESUMING: UNLIMITED},
    FailureKind.REFUSED: {Stage.FIRST: 1, Stage.NEXT: FEW, Stage.RESUMING: FEW},
    FailureKind.FINAL: {Stage.FIRST: 1, Stage.NEXT: 1, Stage.RESUMING: 1},
}
"""With which attempt that fails like this, counted from the last success, it is final."""

LOG_INTERVAL = 5.0
"""Seconds between two log lines about attempts in a row, at least."""

WARN_AT = 5
"""With this failed attempt in a row, or the next one that is logged, the log line is a warning."""

PASSING_STATUSES = frozenset({408, 425, 429, *range(500, 600)})
REFUSING_STATUSES = frozenset({401, 403, 407, *range(300, 400)})

HINT_TLS = "is it a port with TLS for wss://, and without for ws://?"


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt to open a WebSocket that failed."""

    error: Exception
    "What it failed of."
    kind: FailureKind
    "Whether that may pass."
    reason: str
    "The same in words, in one line."
    status: int | None = None
    "The HTTP status of the answer, if there was one."
    retry_after: float | None = None
    "The seconds that the server asked to wait (``Retry-After``, or in its Refuse)."
    number: int = 1
    "How many attempts have failed since the last success, this one included."
    of_this_kind: int = 1
    "How many of them failed of the same kind."
    resuming: bool = False
    "Whether a session waits for this WebSocket. ``False``: a new one was to begin."
    final: bool = False
    "Whether no other attempt follows by default."


RetryPolicy = Callable[[FailedAttempt], bool | None]
"""Says of a failed attempt whether another follows; ``None``: as by default."""


class FailedAttempts:
    """The attempts that failed since the last success, of one session or one loop."""

    __slots__ = ("_counts", "_said_at", "_stage", "_warned", "_who", "policy")

    def __init__(self, stage: Stage, policy: RetryPolicy | None, who: str) -> None:
        self.policy = policy
        self._stage = stage
        self._who = who  # whom the log lines are about
        self._counts: dict[FailureKind, int] = {}
        self._said_at: float | None = None  # when a log line was written
        self._warned = False  # whether it was a warning, once

    def succeeded(self, stage: Stage) -> None:
        """Begin anew: a session was opened, or resumed. What comes next is of this stage."""
        self._stage = stage
        self._counts.clear()
        self._said_at = None
        self._warned = False

    def failed(self, error: Exception, now: float) -> FailedAttempt:
        """Count an attempt that failed of this, log it, and return what it means."""
        kind = classify(error, self._stage)
        self._counts[kind] = of_this_kind = self._counts.get(kind, 0) + 1
        attempt = FailedAttempt(
            error,
            kind,
            describe(error),
            status_of(error),
            retry_after(error),
            sum(self._counts.values()),
            of_this_kind,
            resuming=self._stage is Stage.RESUMING,
            final=of_this_kind >= ATTEMPTS[kind][self._stage],
        )
        self._log(attempt, now)
        return attempt

    def is_final(self, attempt: FailedAttempt) -> bool:
        """Whether no other attempt follows. Calls the application's policy: without a lock."""
        goes_on = None
        if self.policy is not None:
            try:
                answer = self.policy(attempt)
                goes_on = None if answer is None else bool(answer)
            except Exception:
                logger.exception("%s: retry= raised; going on as by default", self._who)
        return attempt.final if goes_on is None else not goes_on

    def _log(self, attempt: FailedAttempt, now: float) -> None:
        if self._said_at is not None and now - self._said_at < LOG_INTERVAL:
            logger.debug("%s: attempt %d: %r", self._who, attempt.number, attempt.error)
            return
        self._said_at = now
        level = logging.INFO
        if attempt.number >= WARN_AT and not self._warned:
            self._warned = True
            level = logging.WARNING
        words = "%s: attempt %d to open a WebSocket failed: %s"
        logger.log(level, words, self._who, attempt.number, attempt.reason)


def classify(error: BaseException, stage: Stage = Stage.FIRST) -> FailureKind:
    """Return what kind of failure an exception is; WebSocket libraries are told by their fields."""
    # Our own greeting failed.
    if isinstance(error, ConnectionClosed):
        return FailureKind.PASSING if may_resume(error.code) else FailureKind.FINAL
    if isinstance(error, NotReliablePeer):
        # It has answered before, so it may be overloaded. If it has not, it is something else.
        silent = stage is not Stage.FIRST and error.__cause__ is not None
        return FailureKind.PASSING if silent else FailureKind.FINAL
    # The server answered with HTTP.
    status = status_of(error)
    if status in PASSING_STATUSES:
        return FailureKind.PASSING
    if status is not None:
        return FailureKind.REFUSED if status in REFUSING_STATUSES else FailureKind.OTHER
    # TLS, the network, anything else.
    for cause in causes(error):
        if isinstance(cause, ssl.SSLError) and not is_cut(cause):
            return FailureKind.REFUSED
        if isinstance(cause, OSError | EOFError | TransportClosed):
            return FailureKind.PASSING
    return FailureKind.OTHER


def describe(error: BaseException) -> str:
    """Return in one line what an attempt failed of."""
    understood = understand(error)
    if understood is not None:
        return understood
    words = " ".join(str(error).split())[:200]
    if isinstance(error, TimeoutError):
        return words or "no answer in time"
    if isinstance(error, OSError) and words:
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def explain(error: BaseException) -> None:
    """Add to an exception that is raised for an attempt what it does not say by itself."""
    understood = understand(error)
    if understood is not None and understood not in str(error):
        error.add_note(f"reliable_ws: {understood}")


def understand(error: BaseException) -> str | None:
    """Return what was wrong, where the library that raised this says less; else ``None``."""
    status = status_of(error)
    if status is not None:
        where = header_of(error, "Location") if 300 <= status < 400 else None
        # A query may hold what is nobody else's business.
        redirect = f", a redirect to {where.partition('?')[0]!r:.120}" if where else ""
        return f"HTTP {status}{redirect}"
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the server's certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError) and not is_cut(cause):
            return f"TLS failed: {cause.reason or cause} ({HINT_TLS})"
        if is_cut(cause):
            return f"the connection was cut before the server had answered ({HINT_TLS})"
    return None


def is_cut(error: BaseException) -> bool:
    """Whether a connection ended where an answer was due, without a word."""
    cut = (EOFError, ConnectionResetError, BrokenPipeError)
    return isinstance(error, (*cut, ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError))


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, and what it was raised from."""
    cause: BaseException | None = error
    for _ in range(8):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__


def responses(error: BaseException) -> Iterator[Any]:
    """Yield what may hold the answer to a handshake: exceptions, and their ``response``."""
    chain = list(causes(error))
    context = error.__context__
    if context is not None and not isinstance(error, OSError) and hasattr(context, "response"):
        chain.append(context)  # websockets refuses the target of a redirect so
    for cause in chain:
        response = getattr(cause, "response", None)
        if response is not None:
            yield response
        yield cause


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an attempt failed of, ``None`` if there was none."""
    for response in responses(error):
        names = ["status_code", "status"]
        if not isinstance(response, BaseException):
            names.append("code")  # of an exception it may be that of a close frame
        for name in names:
            status = getattr(response, name, None)
            if isinstance(status, int) and 100 <= status < 600:
                return int(status)
    return None


def header_of(error: BaseException, name: str) -> str | None:
    """Return a header of the answer that an attempt failed of."""
    for response in responses(error):
        headers = getattr(response, "headers", None) or getattr(response, "resp_headers", None)
        if not headers:
            continue
        with contextlib.suppress(Exception):  # of the library: the header came twice
            value = headers.get(name) or headers.get(name.lower())
            if value:
                return str(value)
    return None


def retry_after(error: BaseException) -> float | None:
    """Return the seconds that a server asks to wait: in its Refuse, or in ``Retry-After``.

    A date in that is measured from ``Date``.
    """
    if isinstance(error, ServerBusy):
        return error.retry_after
    asked = header_of(error, "Retry-After")
    if asked is None:
        return None
    if asked.strip().isdecimal():
        return float(asked)
    try:
        until = email.utils.parsedate_to_datetime(asked)
        since = email.utils.parsedate_to_datetime(header_of(error, "Date") or "")
        return max(0.0, (until - since).total_seconds())
    except (TypeError, ValueError, OverflowError):  # no date, or one of them without a zone
        return None
