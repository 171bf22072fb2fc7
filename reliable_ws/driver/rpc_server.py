"""Requests of the peer: which handlers run, what they may send, and what is answered.

Theory of operation. A request becomes a handler that runs, in a task or a thread, or a fault. It is
in ``running`` until it is answered. While too many bytes of answers wait for the peer, a request is
*postponed*, and begins when the peer has received them. A handler that nobody waits for any more is
cancelled if it is a task. A thread cannot be cancelled: it is *abandoned*, and its request keeps
its place until the thread has ended.

Every handler ends in one answer: its result, or a fault that says why there is none. What the
application raised is logged here, never told to the peer, but for :class:`RemoteError`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable
from typing import Any, Generic, NamedTuple, TypeVar

import msgpack

from reliable_ws.protocol.errors import (
    InvalidParams,
    MessageTooLarge,
    NotSerializable,
    PayloadError,
    RemoteError,
)
from reliable_ws.protocol.events import Cancelled, Granted, Requested
from reliable_ws.protocol.frames import EXT_VALUE, LONGEST_NAME, LONGEST_WORDS, Payload
from reliable_ws.protocol.payload import seal
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.unused import UNUSED

from .log_limit import LogLimit
from .methods import Method, Methods
from .plain import seal_plain
from .status import logger, name_of

__all__ = [
    "BAD_PARAMS",
    "CANCELLED",
    "CLOSING",
    "INTERNAL",
    "NOT_FOUND",
    "TIMEOUT",
    "FaultText",
    "RunningRequest",
    "RunningRequests",
]

NOT_FOUND, BAD_PARAMS, CLOSING, TIMEOUT = "method-not-found", "invalid-params", "closing", "timeout"
"""Codes of faults that mean more than a handler's own (CALL-11)."""

CANCELLED, INTERNAL = "cancelled", "internal"


NO_METHODS = Methods()

NIL = msgpack.ExtType(EXT_VALUE, b"\xc0")
"""A packed nil: the data of an error without any, where the codec packs none (CALL-11)."""


class FaultText(NamedTuple):
    """A fault, in words."""

    code: str
    message: str
    payload: Payload = b""


class RunningRequest:
    """One request of the peer whose handler runs and owes an answer. Drivers add how it waits."""

    __slots__ = ("granted", "items", "over", "sent", "waiter", "worker")

    def __init__(self, credit: int) -> None:
        self.granted = credit
        "Bytes of items that the peer takes in all; 0: it did not ask for a stream."
        self.sent = 0
        "Bytes of items that were sent."
        self.items = 0
        "How many items that were."
        self.over = False
        "Whether nobody waits for items any more."
        self.worker: Any = None
        "The task or the thread that runs the handler, once there is one."
        self.waiter: Any = None
        "How the handler waits for room for an item, while it does."

    def wake(self) -> None:
        """Let the handler look whether it may send its next item."""
        raise NotImplementedError

    def end(self) -> None:
        """Let no item go any more."""
        self.over = True
        self.wake()


R = TypeVar("R", bound=RunningRequest)


class RunningRequests(Generic[R]):
    """The requests of one session from the peer. What is answered is never a traceback."""

    __slots__ = (
        "_abandoned",
        "_codec",
        "_log_limit",
        "_methods",
        "_postponed",
        "_session",
        "closing",
        "on_idle",
        "principal",
        "running",
    )

    def __init__(self, session: Session, methods: Methods | None) -> None:
        self._session = session
        self._codec = session.codec
        self._methods = methods or NO_METHODS
        self._log_limit: LogLimit | None = None  # until a line is to be logged
        self.running: dict[int, R] = UNUSED
        "Handlers that run and owe an answer, by the number of their request."
        # Both are made when they are needed. Nobody waits for these, but their threads run on.
        self._abandoned: list[int] | tuple[()] = ()
        # These begin when the peer has received more of our answers.
        self._postponed: list[Requested] | tuple[()] = ()
        self.principal: Hashable = None
        "Who asks, for the log."
        self.closing = False
        "Whether new requests are turned away (CALL-11)."
        self.on_idle: Callable[[], None] | None = None
        "Called when the last handler has ended."

    @property
    def busy(self) -> bool:
        """Whether any handler runs that owes an answer."""
        return bool(self.running)

    @property
    def methods(self) -> dict[int, str]:
        """What the handlers that run were asked for, by the numbers of the requests."""
        return {number: self.method_of(number, one) for number, one in self.running.copy().items()}

    @property
    def postponed(self) -> int:
        """How many requests wait to be begun, until the peer has received more answers."""
        return len(self._postponed)

    # ------------------------------------------------------------------ what drivers add

    def method_of(self, number: int, running: R) -> str:
        """Return what a handler that runs was asked for."""
        raise NotImplementedError

    def start(self, event: Requested, method: Method) -> None:
        """Run the handler of a request in a task or a thread of its own."""
        raise NotImplementedError

    def cancelled(self, event: Cancelled) -> None:
        """Stop a handler, or expect nothing of it any more: nobody waits for the answer."""
        raise NotImplementedError

    def abort(self) -> None:
        """Stop every handler, or expect nothing of it: nobody can be answered any more."""
        raise NotImplementedError

    # ------------------------------------------------------------------ what runs

    def requested(self, event: Requested, now: float) -> None:
        """Start to work on a request, or turn it away. ``now`` matters where it has a deadline.

        While many bytes of answers wait for the peer to receive them, it waits as well (CALL-45).
        """
        queue = self._session.call_queue
        if queue.weight >= queue.most_held and not self.closing:
            self.postpone(event)
            return
        method = self.find(event, now)
        if method is not None:
            self.start(event, method)

    def postpone(self, event: Requested) -> None:
        """Let a request wait until the peer has received more of our answers (CALL-45)."""
        postponed = self._postponed = self._postponed or []
        postponed.append(event)

    def cancel(self, event: Cancelled) -> None:
        """Stop working on a request, or never begin: nobody waits for the answer."""
        for postponed in self._postponed:
            if postponed.id == event.id:
                self._postponed = [one for one in self._postponed if one is not postponed]
                self.fault(event.id, FaultText(CANCELLED, "cancelled before it was run"))
                return
        self.cancelled(event)

    def granted(self, event: Granted) -> None:
        """Go on with a stream: the peer takes more of it."""
        running = self.running.get(event.id)
        if running is not None:
            running.granted = max(running.granted, event.total)
            running.wake()

    def eased(self, now: float) -> None:
        """Go on with streams and requests: the peer has received what waited for it."""
        for running in self.running.values():
            if running.granted:
                running.wake()
        self._start_postponed(now)

    def _start_postponed(self, now: float) -> None:
        """Start what was postponed, as far as may be, or turn it away."""
        postponed, self._postponed = self._postponed, ()
        for event in postponed:
            self.requested(event, now)

    def may_send(self, running: RunningRequest) -> bool:
        """Whether an item of a stream may go now (CALL-7), or never: then it is over."""
        return running.over or (
            running.sent < running.granted and not self._session.call_queue.crowded
        )

    def release(self, worker: object) -> None:
        """Expect no answer from the handler in this task or thread: it closes the connection."""
        for number, running in list(self.running.items()):
            if worker is not None and running.worker is worker:
                self._give_up(number, "its handler closed the connection")

    def give_up(self, words: str) -> None:
        """Expect no answer from any handler that runs, and tell the callers why."""
        for number in list(self.running):
            self._give_up(number, words)

    def _give_up(self, number: int, words: str) -> None:
        self.fault(number, FaultText(CANCELLED, words))
        self._ended(number)

    def _ended(self, number: int) -> None:
        """Expect no answer any more: there is one, or nobody could take it."""
        running = self.running.pop(number, None)
        if running is not None and running.granted:
            running.end()

    # ------------------------------------------------------------------ what is answered

    def find(self, event: Requested, now: float) -> Method | None:
        """Return the handler that is to run, or turn the request away (CALL-10, CALL-33)."""
        number, name, _payload, by, _credit = event
        method = self._methods.get(name)
        if self.closing:
            text = FaultText(CLOSING, "the connection is being closed")
        elif method is None:
            text = FaultText(NOT_FOUND, f"there is no method {name[:64]!r}")
        elif by is not None and by <= now:
            text = FaultText(TIMEOUT, "the deadline had passed before it was run")
        else:
            return method
        self.fault(number, text)
        return None

    def turn_away(self) -> None:
        """Take no new requests."""
        self.closing = True
        for number in self._abandoned:
            self.free_place(number)
        self._start_postponed(0.0)

    def keep_place(self, number: int) -> None:
        """Owe an answer that nobody waits for, until :meth:`free_place`: its thread runs on.

        Otherwise a peer that asks and cancels could have any number of threads run for it (CALL-6).
        """
        abandoned = self._abandoned = self._abandoned or []
        abandoned.append(number)
        if self.closing:
            self.free_place(number)

    def free_place(self, number: int) -> None:
        """Let the peer ask again in place of a request that it has cancelled."""
        if number in self._abandoned:
            self._abandoned = [one for one in self._abandoned if one != number]
            self.fault(number, FaultText(CANCELLED, "nobody waits for the answer"))

    def explain(self, event: Requested, error: BaseException, now: float) -> FaultText:
        """Turn whatever ended a handler into a fault, and log what the application has to know.

        A peer can have each of its requests fail: :class:`~.log_limit.LogLimit` bounds the lines.
        It never raises, because then nothing would be answered.
        """
        try:
            return self._explain(event, error, now)
        except Exception:  # noqa: BLE001 - an error whose parts raise, a log that cannot be written
            return FaultText(INTERNAL, "the handler failed")

    def _explain(self, event: Requested, error: BaseException, now: float) -> FaultText:
        match error:
            case RemoteError(code=code, message=message, data=data):
                # never b"": that is what tells our own codes from a handler's (CALL-11)
                payload = self._sealed(None if data == b"" else data)
                return FaultText(
                    _words(code, LONGEST_NAME) or "error", _words(message, LONGEST_WORDS), payload
                )
            case PayloadError():
                return FaultText(BAD_PARAMS, "the parameters cannot be decoded")
            case NotSerializable() | MessageTooLarge():
                words = "the result cannot be sent"
            case _:
                words = "the handler failed"
        limit = self._log_limit = self._log_limit or LogLimit()
        if limit.admits(now):
            name = name_of(self._session.id, self.principal)
            if isinstance(error, MessageTooLarge):  # that is the peer's limit, and no bug here
                line = "%s: the answer to %r cannot be sent: %s%s"
                logger.warning(line, name, event.method, error, limit.more())
            else:
                line = "%s: the handler of %r failed%s"
                logger.error(line, name, event.method, limit.more(), exc_info=error)
        return FaultText(INTERNAL, words)

    def seal_plain(self, method: Method, result: Any) -> tuple[Payload, int]:
        """Return a result that the codec did not pack as it travels, and its weight.

        Raises:
            InvalidParams: It is the items of a stream, and no stream was asked for.
            NotSerializable: It cannot be packed as plain values either.
        """
        if inspect.isgenerator(result) or inspect.isasyncgen(result):
            raise InvalidParams(BAD_PARAMS, f"{method.name} streams: use stream()")
        return seal_plain(result, self._codec)

    def _sealed(self, data: Any) -> Payload:
        """Return an error's data as it travels; what cannot is left out."""
        try:
            return seal(data, self._codec)[0]
        except NotSerializable:
            pass
        try:
            return seal_plain(data, self._codec)[0]
        except NotSerializable:
            return NIL

    def fault(self, number: int, text: FaultText) -> None:
        """Answer with a fault."""
        try:
            self._session.fault(number, *text)
        except MessageTooLarge:
            self._session.fault(number, text.code, text.message, NIL)


def _words(said: Any, longest: int) -> str:
    """Return as much as can be said of what a handler put where text is expected."""
    try:
        return str(said)[:longest].encode(errors="replace").decode()
    except Exception:  # noqa: BLE001 - an object that cannot even be shown
        return ""
