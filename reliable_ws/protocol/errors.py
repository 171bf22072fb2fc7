"""All exceptions of the library, in one tree.

They do not depend on a WebSocket library. Where Python has a builtin exception for the case
(``TimeoutError``, ``ConnectionError``, ``ValueError``), the class is derived from it too.
"""

from __future__ import annotations

from typing import Any

from .report import End, Ending, Outcome, Report

__all__ = [
    "AlreadyServed",
    "ConfirmTooLate",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "DeliveryError",
    "EngineUnavailable",
    "GroupFull",
    "InvalidParams",
    "Kept",
    "KeyExists",
    "MessageTooLarge",
    "MethodNotFound",
    "NotAStore",
    "NotReliablePeer",
    "NotSerializable",
    "NotTaken",
    "NumbersExhausted",
    "OutboxFull",
    "OutcomeUnknown",
    "PayloadError",
    "ProtocolViolation",
    "ReliableWSError",
    "RemoteError",
    "RequestTimeout",
    "ServerBusy",
    "SessionLost",
    "SessionMoved",
    "StoreCorrupt",
    "StoreError",
    "StoreFailed",
    "StoreFull",
    "StoreInUse",
    "StoreSlow",
    "StoreTooNew",
    "Violation",
]


class ReliableWSError(Exception):
    """The base class of every error of this library."""


class ConnectionClosed(ReliableWSError, ConnectionError):
    """The session, or this direction of it, has ended.

    Attributes:
        ending: How it ended.
        report: What is known of every message that was sent.
    """

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
    """The session ended as agreed, with code 1000 or 1001."""


class ConnectionClosedError(ConnectionClosed):
    """The session ended in any other way."""


class SessionLost(ConnectionClosedError):
    """The session could not be resumed. ``report`` says what is known of each message."""


class ServerBusy(SessionLost):
    """The peer takes no new session now: it has as many as it may have, or is about to leave.

    Nothing was sent, so a later attempt does no harm. ``async for conn in connect(…)`` makes it.

    Attributes:
        retry_after: The seconds after which the peer asks to come again. ``None``: it did not say.
    """

    def __init__(self, ending: Ending, report: Report, retry_after: float | None = None) -> None:
        super().__init__(ending, report)
        self.retry_after = retry_after

    def __str__(self) -> str:
        """What to do, too."""
        after = f", after {self.retry_after:g} s" if self.retry_after else ""
        return (
            f"the peer takes no new session now: {self.ending}; try again later{after} "
            "(`async for conn in connect(…)` does)"
        )


class ProtocolViolation(ConnectionClosedError):
    """One side broke the protocol. ``reason`` says how. This is a bug, or a dishonest peer."""


class DeliveryError(ReliableWSError):
    """Some messages will never be confirmed. ``report`` names them.

    It is always raised as one of its three subclasses. For a request, the report has one entry, and
    the entry's ``message`` is ``(method, params)``.

    Attributes:
        report: What is known of every message.
    """

    def __init__(self, report: Report, words: str = "") -> None:
        first = (
            ""
            if report.first_undelivered is None
            else f"; first: number {report.first_undelivered}"
        )
        super().__init__(words or f"{report}{first}")
        self.report = report

    @staticmethod
    def of(report: Report, words: str = "") -> DeliveryError:
        """Return the error for a final report.

        It is ``OutcomeUnknown`` if any outcome is unknown, else ``Kept`` if any message is kept,
        else ``NotTaken``.
        """
        if report.count(Outcome.UNKNOWN) > 0:
            return OutcomeUnknown(report, words)
        return (Kept if report.count(Outcome.KEPT) > 0 else NotTaken)(report, words)


class NotTaken(DeliveryError):
    """The peer's application has taken none of these and never will.

    You can safely send them again.
    """


class Kept(DeliveryError):
    """At least one of these is in the store, for the next process that opens it.

    Do not send it again: that process does. No outcome is unknown.
    """


class OutcomeUnknown(DeliveryError):
    """For at least one message it is not known whether the peer's application took it."""


class MessageTooLarge(ReliableWSError, ValueError):
    """The message is larger than the peer's ``max_message``. It was not accepted."""


class NotSerializable(ReliableWSError, TypeError):
    """The payload codec cannot pack this value. The message was not accepted."""


class OutboxFull(ReliableWSError):
    """``send_nowait()`` found no room. The message was not accepted. ``send()`` would wait."""


class NumbersExhausted(ReliableWSError, OverflowError):
    """The session has used all its sequence numbers. Nothing was accepted; begin another session.

    A million messages a second take 285 years to get there.
    """


class PayloadError(ReliableWSError, ValueError):
    """A message arrived, but the payload codec cannot unpack it. It counts as taken.

    Attributes:
        number: The message's sequence number.
        raw: The bytes that arrived.
    """

    def __init__(self, number: int, raw: bytes, why: str) -> None:
        super().__init__(f"message {number} ({len(raw)} bytes) cannot be decoded: {why}")
        self.number = number
        self.raw = raw


class ConfirmTooLate(ReliableWSError):
    """A delivery cannot be confirmed any more.

    The session has ended, and its counters are final.
    """


class RemoteError(ReliableWSError):
    """The peer's handler answered a request with an error.

    Raise it in a handler of your own to answer with an error. ``code``, ``message`` and ``data``
    travel to the caller. A traceback never does.

    Attributes:
        code: A short word for programs. protocol.md, CALL-11, lists those with a fixed meaning.
        message: A text for people.
        data: Any value that the payload codec packs.
    """

    def __init__(self, code: str, message: str = "", data: Any = None) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message
        self.data = data


class MethodNotFound(RemoteError):
    """The peer has no method of this name."""


class InvalidParams(RemoteError):
    """The parameters do not fit the peer's method. It was not run."""


class RequestTimeout(ReliableWSError, TimeoutError):
    """No answer came in time.

    Attributes:
        method: The method's name.
        taken: Whether the peer got the request. ``None``: this is not known.
    """

    def __init__(self, method: str, taken: bool | None) -> None:  # noqa: FBT001
        words = {True: "the peer got it", False: "it never left", None: "it may have arrived"}
        super().__init__(f"no answer to {method!r} in time; {words[taken]}")
        self.method = method
        self.taken = taken


class NotReliablePeer(ReliableWSError, ConnectionError):
    """The peer does not speak this protocol, or no version that this side speaks."""


class AlreadyServed(ReliableWSError, ConnectionError):
    """The WebSocket carried on a session whose connection an earlier handler has.

    ``wrap(…, sessions=…)`` raises it when this later WebSocket of the session is gone. Until then
    it carried the messages of the earlier handler. Use ``Sessions.handle``, which calls your
    handler once per session.
    """


class StoreError(ReliableWSError):
    """A store cannot do what it is asked to. The message names the file, what, and the remedy."""


class StoreInUse(StoreError):
    """Another process, or another store of this one, has the file open."""


class NotAStore(StoreError):
    """The file is no store of this library. Nothing was written to it."""


class StoreCorrupt(StoreError):
    """The file is damaged. Nothing was written to it."""


class StoreTooNew(StoreError):
    """A newer release of this library wrote the file. Nothing was written to it."""


class StoreFull(StoreError):
    """There is no room on the disk. What was to be kept was not; the store goes on when it can."""


class StoreSlow(StoreError, TimeoutError):
    """The store has not kept a message in time. The message stays accepted.

    Attributes:
        receipt: What ``send()`` would have returned. Await ``receipt.stored`` to go on waiting.
    """

    def __init__(self, words: str, receipt: Any) -> None:
        super().__init__(words)
        self.receipt = receipt


class SessionMoved(ReliableWSError):
    """Another node of the cluster has the session now: this one was out of reach for too long.

    It is the cause of the :class:`ConnectionClosed` that a handler gets here. What it had sent and
    the engine has, is sent by the other node.
    """


class EngineUnavailable(ReliableWSError, ConnectionError):
    """The engine of the cluster cannot be asked now.

    When ``publish()`` raises it, nobody gets the publication. When ``published()`` or ``wait()`` of
    a publication raises it, it is not known whether members get it.
    """


class GroupFull(ReliableWSError):
    """A process of the cluster has not read so many publications of this group: it has no room.

    Nobody gets the publication. You can publish it again later.
    """


class StoreFailed(StoreError):
    """Reading or writing failed, and what is on the disk is not known until the file is reopened.

    The store does nothing more in this process.
    """


class KeyExists(StoreError):
    """There is a message with this key already: the work of the application was not run.

    Attributes:
        key: The key.
        found: What :meth:`reliable_ws.store.Store.find` returns of it.
    """

    def __init__(self, key: str, found: tuple[bytes, int, bytes]) -> None:
        super().__init__(f"a message with the key {key!r} was kept before; a key is accepted once")
        self.key = key
        self.found = found


class Violation(Exception):
    """Internal: what the peer did wrong. The link catches it. An application never sees it."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def behind(waiting: int) -> OutboxFull:
    """Return the error for a message before which others wait for room."""
    return OutboxFull(
        f"{waiting} callers of send() wait for room and are before this message: send() waits for "
        "its turn"
    )


def closed(ending: Ending, report: Report) -> ConnectionClosed:
    """Return the exception that says how a session ended."""
    kind: type[ConnectionClosed] = SessionLost
    if ending.kind is End.FINISHED:
        kind = ConnectionClosedOK if ending.code in (1000, 1001) else ConnectionClosedError
    elif ending.kind in (End.ABORTED, End.KEPT):
        kind = ConnectionClosedError
    elif ending.kind is End.VIOLATION:
        kind = ProtocolViolation
    return kind(ending, report)
