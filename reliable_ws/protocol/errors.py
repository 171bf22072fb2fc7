"""Everything that can go wrong, as one tree of our own.

Nothing here depends on a WebSocket library. Where Python programmers expect a builtin
(``TimeoutError``, ``ConnectionError``, ``ValueError``), the class is one too.
"""

from __future__ import annotations

from typing import Any

from .report import End, Ending, Outcome, Report

__all__ = [
    "ConfirmTooLate",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "DeliveryError",
    "InvalidParams",
    "MessageTooLarge",
    "MethodNotFound",
    "NotReliablePeer",
    "NotSerializable",
    "NotTaken",
    "OutboxFull",
    "OutcomeUnknown",
    "PayloadError",
    "ProtocolViolation",
    "ReliableWSError",
    "RemoteError",
    "RequestTimeout",
    "SessionLost",
    "Violation",
]


class ReliableWSError(Exception):
    """The root of every error that this library raises."""


class ConnectionClosed(ReliableWSError, ConnectionError):
    """The session has ended, or this direction of it has: nothing more can be done with it."""

    def __init__(self, ending: Ending, report: Report) -> None:
        super().__init__(f"session {ending}: {report}" if report.ending is None else str(report))
        self.ending = ending
        self.report = report

    @property
    def code(self) -> int:
        """The code that the session ended with (protocol.md, section 12)."""
        return self.ending.code

    @property
    def reason(self) -> str:
        """The reason that came with the code."""
        return self.ending.reason


class ConnectionClosedOK(ConnectionClosed):
    """It ended as agreed, with code 1000 or 1001."""


class ConnectionClosedError(ConnectionClosed):
    """It ended in any other way."""


class SessionLost(ConnectionClosedError):
    """The session could not be resumed; ``report`` says what is known of each message."""


class ProtocolViolation(ConnectionClosedError):
    """One side broke the protocol; ``reason`` says how. A bug, or not an honest peer."""


class DeliveryError(ReliableWSError):
    """Messages are not confirmed and will not be; ``report`` says which.

    Of a request that will not be answered the one entry's ``message`` is ``(method, params)``.
    """

    def __init__(self, report: Report, words: str = "") -> None:
        first = f"; first: number {report.undelivered[0].number}" if report.undelivered else ""
        super().__init__(words or f"{report}{first}")
        self.report = report

    @staticmethod
    def of(report: Report, words: str = "") -> DeliveryError:
        """Return the error for a final report: unknown if any outcome is, else not taken."""
        unknown = report.count(Outcome.UNKNOWN) > 0
        return OutcomeUnknown(report, words) if unknown else NotTaken(report, words)


class NotTaken(DeliveryError):
    """The peer's application took none of these and never will: sending again is safe."""


class OutcomeUnknown(DeliveryError):
    """Of some nobody reachable can say whether the peer's application took them."""


class MessageTooLarge(ReliableWSError, ValueError):
    """Raised by ``send()``: the message is above the peer's limit. Nothing was queued."""


class NotSerializable(ReliableWSError, TypeError):
    """Raised by ``send()``: the payload codec cannot carry this value. Nothing was queued."""


class OutboxFull(ReliableWSError):
    """Raised by ``send_nowait()``: no room. Nothing was queued; ``send()`` would wait."""


class PayloadError(ReliableWSError, ValueError):
    """A message arrived but its payload cannot be decoded. It counts as taken."""

    def __init__(self, number: int, raw: bytes, why: str) -> None:
        super().__init__(f"message {number} ({len(raw)} bytes) cannot be decoded: {why}")
        self.number = number
        self.raw = raw


class ConfirmTooLate(ReliableWSError):
    """A delivery cannot be confirmed any more: the session's counters are final."""


class RemoteError(ReliableWSError):
    """The peer's handler answered a request with an error.

    Raise it in a handler of your own to answer so: ``code``, ``message`` and ``data`` travel,
    a traceback never does.
    """

    def __init__(self, code: str, message: str = "", data: Any = None) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message
        self.data = data


class MethodNotFound(RemoteError):
    """The peer has no handler of this name."""


class InvalidParams(RemoteError):
    """The parameters do not fit the peer's handler; nothing was run."""


class RequestTimeout(ReliableWSError, TimeoutError):
    """No answer in time. ``taken`` says whether the peer got the request; ``None``: unknown."""

    def __init__(self, method: str, taken: bool | None) -> None:  # noqa: FBT001
        words = {True: "the peer got it", False: "it never left", None: "it may have arrived"}
        super().__init__(f"no answer to {method!r} in time; {words[taken]}")
        self.method = method
        self.taken = taken


class NotReliablePeer(ReliableWSError, ConnectionError):
    """The peer does not speak this protocol, or no version of it that we speak."""


class Violation(Exception):
    """Internal: what the peer did wrong. Caught by the link, never seen by an application."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def closed(ending: Ending, report: Report) -> ConnectionClosed:
    """Return the exception that tells how a session ended."""
    kind: type[ConnectionClosed] = SessionLost
    if ending.kind is End.FINISHED:
        kind = ConnectionClosedOK if ending.code in (1000, 1001) else ConnectionClosedError
    elif ending.kind is End.ABORTED:
        kind = ConnectionClosedError
    elif ending.kind is End.VIOLATION:
        kind = ProtocolViolation
    return kind(ending, report)
