"""Requests to the peer: which are open, and what becomes of each. Drivers add how to wait.

Theory of operation. A caller packs its parameters (:meth:`OpenRequests.seal`) and waits until the
peer has room for one more request. Then the request is queued and has a number
(:meth:`OpenRequests.open`), and the caller waits for :attr:`OpenRequest.answer`. An answer of the
peer is put there, and so is the error of a request that can have no answer any more
(:meth:`OpenRequests.settle`).

A caller that waits no more drops its request. One that has not gone is taken back. Another one goes
on without a caller: its place at the peer is taken until the peer has answered.

The items of a stream wait in its request. The peer may send so many bytes ahead as its credit
allows. The credit is renewed whenever half of it was taken (:meth:`OpenRequest.take`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar, cast

from reliable_ws.protocol.config import HIGHEST
from reliable_ws.protocol.errors import (
    DeliveryError,
    InvalidParams,
    MethodNotFound,
    NotSerializable,
    NotTaken,
    ReliableWSError,
    RemoteError,
    RequestTimeout,
)
from reliable_ws.protocol.events import Faulted, Itemized, Replied
from reliable_ws.protocol.frames import LONGEST_NAME, Payload
from reliable_ws.protocol.payload import open_payload, seal, seal_weight
from reliable_ws.protocol.report import Outcome, Report, Undelivered
from reliable_ws.protocol.session import Session
from reliable_ws.protocol.state import Receiving, Sending

from .plain import seal_plain
from .rpc_server import BAD_PARAMS, CLOSING, NOT_FOUND, TIMEOUT

__all__ = ["STREAM_CREDIT", "OpenRequest", "OpenRequests", "request_deadline"]

STREAM_CREDIT = 256 * 1024
"""Bytes of items of one stream that may be on their way or unread."""


def request_deadline(now: float, timeout: float | None) -> float | None:
    """Return when a request is over that is made now; ``None``: when the session is.

    A timeout that is longer than a greeting can say is none (``HIGHEST``).
    """
    return now + timeout if timeout is not None and timeout < HIGHEST else None


class OpenRequest:
    """One request of ours. Drivers add how to wait for what becomes of it."""

    __slots__ = (
        "_granted",
        "_taken",
        "answer",
        "expired",
        "items",
        "message",
        "payload",
        "waiter",
        "weight",
    )

    def __init__(self, method: str, params: Any, payload: Payload, weight: int) -> None:
        self.message = (method, params)
        self.payload = payload
        self.weight = weight
        "That of the payload, in bytes."
        self.answer: Payload | Faulted | DeliveryError | None = None  # until it is known
        self.items: deque[Payload] | None = None  # until the first one comes
        self._taken = self._granted = 0  # bytes of items
        self.expired = False
        "Whether time is up."
        self.waiter: Any = None
        "How somebody waits for what becomes of it, while they do."

    def wake(self) -> None:
        """Wake the caller that waits."""
        raise NotImplementedError

    def take(self) -> tuple[Payload, int]:
        """Take the next item; with what is to be granted then, if anything."""
        payload = cast("deque[Payload]", self.items).popleft()
        self._taken += seal_weight(payload)
        if self._taken - self._granted < STREAM_CREDIT // 2:
            return payload, 0
        self._granted = self._taken
        return payload, self._taken + STREAM_CREDIT


Q = TypeVar("Q", bound=OpenRequest)


class OpenRequests(Generic[Q]):
    """The open requests of one session, from this side."""

    __slots__ = ("_calls", "_open", "_session", "has_waiters", "on_open")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._calls = session.outgoing_calls
        self._open: dict[int, Q] = {}
        self.has_waiters = False
        "Whether :meth:`admit` may have something to do."
        self.on_open: Callable[[int], None] | None = None
        "Called with the number of each request that is queued: by whoever traces it."

    @property
    def numbers(self) -> list[int]:
        """The numbers of those that wait for their answers."""
        return list(self._open.copy())

    @property
    def methods(self) -> dict[int, str]:
        """The methods of those that wait for their answers, by their numbers."""
        return {number: one.message[0] for number, one in self._open.copy().items()}

    def admit(self) -> None:
        """Let as many that wait go on as the peer has room for."""
        raise NotImplementedError

    def seal(self, method: str, params: Any) -> tuple[Payload, int]:
        """Return parameters as they travel, and their weight.

        Raises:
            NotSerializable: The payload codec cannot pack them.
            TypeError: The method's name is no text: the peer would end the session.
            ValueError: The method's name is too long.
        """
        if type(method) is not str and not isinstance(method, str):
            raise TypeError(f"a method's name must be a str, not {method!r:.100}")
        short = method.isascii() and len(method) <= LONGEST_NAME
        if not short and len(method.encode()) > LONGEST_NAME:
            raise ValueError(
                f"a method's name has at most {LONGEST_NAME} bytes, and {method[:20]!r}… has "
                f"{len(method.encode())}"
            )
        try:
            return seal(params, self._session.codec)
        except NotSerializable:
            return seal_plain(params, self._session.codec)

    def open(self, request: Q, by: float | None, credit: int) -> int:
        """Queue a request for which there is room, and return its number."""
        method, payload, weight = request.message[0], request.payload, request.weight
        number = self._session.request(method, payload, weight, by, credit)
        self._open[number] = request
        if self.on_open is not None:
            self.on_open(number)
        return number

    def is_admitted(self, request: Q) -> bool:
        """Whether a request need not wait any more: there is room, or :meth:`check` raises."""
        calls = self._calls
        if len(calls.open) < calls.limit and calls.weight < calls.max_weight:
            return True
        try:
            self.check(request)
        except Exception:  # noqa: BLE001 - the caller checks it again, and raises it
            return True
        return False

    def check(self, request: Q) -> None:
        """Raise where no answer can come any more (CALL-38).

        Raises:
            ConnectionClosed: The session has ended, or is being closed.
            NotTaken: One direction has ended, or the peer takes no requests.
        """
        session = self._session
        if session.ended or session.closing:
            raise session.error()
        if session.outbox.state is not Sending.OPEN or session.inbox.state is not Receiving.OPEN:
            raise self._undelivered(0, request, taken=False)
        if session.incarnation and not self._calls.limit:
            raise NotTaken(Report(1, 0), "the peer does not take requests: it has no calls")

    def not_admitted(self, request: Q) -> RequestTimeout:
        """Return the error of a request for which there was no room in time."""
        return RequestTimeout(request.message[0], taken=False)

    def timed_out(self, number: int, method: str) -> RequestTimeout:
        """Wait no more; return the error that says what is known."""
        taken = self._calls.was_taken(number)
        return RequestTimeout(method, False if self.drop(number) else taken)

    def drop(self, number: int) -> bool:
        """Wait no more; whether the request was taken back before it went."""
        return self._open.pop(number, None) is not None and self._session.cancel(number)

    def result(self, number: int, request: Q) -> Any:
        """Return the answer, or raise it."""
        answer = request.answer
        if type(answer) is Faulted:
            raise self._error(answer, request)
        if isinstance(answer, DeliveryError):
            raise answer
        return open_payload(cast("Payload", answer), number, self._session.codec)

    # ------------------------------------------------------------------ what the peer says

    def replied(self, event: Replied) -> None:
        """Give the answer to the caller."""
        number, payload = event
        request = self._open.get(number)
        if request is not None:
            request.answer = payload
            request.wake()

    def faulted(self, event: Faulted) -> None:
        """Give the error to the caller."""
        request = self._open.get(event.id)
        if request is not None:
            request.answer = event
            request.wake()

    def itemized(self, event: Itemized) -> None:
        """Give an item to the reader of the stream."""
        request = self._open.get(event.id)
        if request is not None:
            if request.items is None:
                request.items = deque()
            request.items.append(event.payload)
            request.wake()

    def _error(self, event: Faulted, request: Q) -> ReliableWSError:
        if event.payload == b"":  # a handler's own error of such a code has data (CALL-11)
            if event.code == CLOSING:
                return self._undelivered(event.id, request, taken=False)
            if event.code == TIMEOUT:
                return RequestTimeout(request.message[0], taken=True)
        try:
            data = open_payload(event.payload, event.id, self._session.codec)
        except ReliableWSError:
            data = None
        kind = {NOT_FOUND: MethodNotFound, BAD_PARAMS: InvalidParams}.get(event.code, RemoteError)
        return kind(event.code, event.message, data if data != b"" else None)

    def settle(self) -> None:
        """Let every request fail to which no answer can come any more; at once (G6)."""
        for number, taken in list(self._unanswerable()):
            request = self._open[number]
            request.answer = self._undelivered(number, request, taken=taken)
            request.wake()

    def _unanswerable(self) -> Iterator[tuple[int, bool | None]]:
        """Find them, with whether the peer got them."""
        session = self._session
        over = session.ended or session.closing or session.inbox.state is not Receiving.OPEN
        for number, request in self._open.items():
            taken = self._calls.was_taken(number)
            if taken is not False and number not in self._calls.open:
                continue  # its answer came in the same step
            if request.answer is None and (over or taken is False):
                yield number, False if self._session.cancel(number) else taken

    def _undelivered(self, number: int, request: Q, *, taken: bool | None) -> DeliveryError:
        if taken is False:
            outcome, fate = Outcome.NOT_TAKEN, "never reached the peer's application"
        else:
            outcome, fate = Outcome.UNKNOWN, "has no answer, and nobody can say if it was run"
        ended = self._session.ended
        words = f"request {request.message[0]!r} {fate}{f'; {ended}' if ended else ''}"
        entry = Undelivered(number, outcome, request.message)
        return DeliveryError.of(Report(1, 0, (entry,), ended), words)
