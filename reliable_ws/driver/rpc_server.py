"""Answers to the peer's requests, but for how handlers run."""

from __future__ import annotations

from typing import Any, NamedTuple

from reliable_ws.protocol.calls.codec import LONGEST_NAME, LONGEST_WORDS
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import (
    MessageTooLarge,
    NotSerializable,
    PayloadError,
    RemoteError,
)
from reliable_ws.protocol.events import Requested
from reliable_ws.protocol.frames import Payload
from reliable_ws.protocol.payload import seal
from reliable_ws.protocol.session import Session

from .methods import Method, Methods
from .status import logger

__all__ = [
    "BAD_PARAMS",
    "CANCELLED",
    "CLOSING",
    "INTERNAL",
    "NOT_FOUND",
    "TIMEOUT",
    "Answering",
    "Said",
    "time_to_close",
]

NOT_FOUND, BAD_PARAMS, CLOSING, TIMEOUT = "method-not-found", "invalid-params", "closing", "timeout"
"""Codes of faults that mean more than a handler's own (CALL-11)."""

CANCELLED, INTERNAL = "cancelled", "internal"


NOTHING = Methods()


class Said(NamedTuple):
    """A fault, in words."""

    code: str
    message: str
    payload: Payload = b""


class Answering:
    """What one session says in answer to requests: never a traceback."""

    __slots__ = ("_codec", "_left", "_methods", "_session", "closing")

    def __init__(self, session: Session, methods: Methods | None) -> None:
        self._session = session
        self._codec = session.codec
        self._methods = methods or NOTHING
        self._left: list[int] = []  # requests that nobody waits for, but whose threads run on
        self.closing = False
        "Whether new requests are turned away (CALL-11)."

    def find(self, event: Requested, now: float) -> Method | None:
        """Return the handler that is to run, or turn the request away (CALL-10, CALL-33)."""
        method = self._methods.get(event.method)
        if self.closing:
            said = Said(CLOSING, "the connection is being closed")
        elif method is None:
            said = Said(NOT_FOUND, f"there is no method {event.method[:64]!r}")
        elif event.by is not None and event.by <= now:
            said = Said(TIMEOUT, "the deadline had passed before it was run")
        else:
            return method
        self.fault(event.id, said)
        return None

    def turn_away(self) -> None:
        """Take no new requests."""
        self.closing = True
        for number in list(self._left):
            self.free_place(number)

    def keep_place(self, number: int) -> None:
        """Owe an answer that nobody waits for, until :meth:`free_place`: its thread runs on.

        Else a peer that asks and cancels had any number of threads run for it (CALL-6).
        """
        self._left.append(number)
        if self.closing:
            self.free_place(number)

    def free_place(self, number: int) -> None:
        """Let the peer ask again in place of a request that it has cancelled."""
        if number in self._left:
            self._left.remove(number)
            self.fault(number, Said(CANCELLED, "nobody waits for the answer"))

    def explain(self, event: Requested, error: BaseException) -> Said:
        """Turn whatever ended a handler into a fault."""
        match error:
            case RemoteError(code=code, message=message, data=data):
                # never b"": that is what tells our own codes from a handler's (CALL-11)
                payload = self._sealed(None if data == b"" else data)
                return Said(
                    _words(code, LONGEST_NAME) or "error", _words(message, LONGEST_WORDS), payload
                )
            case PayloadError():
                return Said(BAD_PARAMS, "the parameters cannot be decoded")
            case NotSerializable() | MessageTooLarge():
                words = "the result cannot be sent"
            case _:
                words = "the handler failed"
        logger.error("the handler of %r failed", event.method, exc_info=error)
        return Said(INTERNAL, words)

    def _sealed(self, data: Any) -> Payload:
        """Return an error's data as it travels; what cannot is left out."""
        try:
            return seal(data, self._codec)[0]
        except NotSerializable:
            return seal(None, self._codec)[0]

    def fault(self, number: int, said: Said) -> None:
        """Answer with a fault."""
        try:
            self._session.fault(number, *said)
        except MessageTooLarge:
            self._session.fault(number, said.code, said.message, self._sealed(None))


def time_to_close(config: Config, timeout: float | None) -> tuple[float, float]:
    """Return how long a close may take in all, and how much of it handlers leave for the rest.

    That is as long as a close without progress may last, or a quarter.
    """
    limit = config.close_timeout if timeout is None else min(timeout, config.close_timeout)
    return limit, min(limit / 4, config.close_progress_timeout)


def _words(said: Any, longest: int) -> str:
    """Return as much as can be said of what a handler put where text is expected."""
    try:
        return str(said)[:longest].encode(errors="replace").decode()
    except Exception:  # noqa: BLE001 - an object that cannot even be shown
        return ""
