"""What a driver needs of a WebSocket: four verbs and one exception.

An adapter (see ``reliable_ws/adapters``) translates one library's WebSocket into a
:class:`Transport`. What a library does differently is hidden there. Above it, every WebSocket has
binary messages and one end (:class:`TransportClosed`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, runtime_checkable

from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.protocol.session import Role

__all__ = [
    "EagerTransport",
    "PushTransport",
    "SelfClosingTransport",
    "SyncPushTransport",
    "SyncTransport",
    "Transport",
    "TransportClosed",
    "select_subprotocol",
]


LONGEST_STEP = 0.005
"""Seconds after which one that takes in what a library has at hand lets the event loop run."""


class TransportClosed(ConnectionError):
    """The WebSocket is gone. Once a call has raised it, every later call raises it too.

    ``code`` and ``reason`` are from the *peer's* close frame. They are ``None`` and ``""`` if the
    peer sent none, or if the library does not tell. They say nothing about what arrived
    (protocol.md, LINK-3).
    """

    def __init__(self, code: int | None = None, reason: str = "") -> None:
        super().__init__(f"WebSocket closed (code {code}, reason {reason!r})")
        self.code = code
        self.reason = reason


@runtime_checkable
class Transport(Protocol):
    """One open WebSocket, as the driver sees it.

    One task calls :meth:`recv` for as long as the transport lives and is never cancelled
    before :meth:`abort` or :meth:`close`; calls of :meth:`send` are never concurrent with
    each other or with :meth:`send_now`. An adapter needs no locks for the driver's sake.

    A transport can be weakly referenced: a class with ``__slots__`` has ``__weakref__`` among them.
    That is how the driver notes which WebSockets belong to a connection, for as long as the
    transport is in use.
    """

    @property
    def websocket(self) -> object:
        """The library's own object, for what only it knows (path, headers)."""

    @property
    def role(self) -> Role | None:
        """Which side of the WebSocket this is; ``None`` if not known.

        Where it is ``None``, ``wrap()`` has to be told by ``role=``.
        """

    @property
    def max_frame(self) -> int | None:
        """Largest message, in bytes, that this end *receives*; ``None`` if not known.

        The peer is told, and sends larger messages in parts. Where it is ``None`` or too large, a
        message that the library refuses costs a WebSocket, and the peer finds a smaller size by
        halving (PART-6).
        """

    async def send(self, data: bytes, /) -> None:
        """Send one binary message; return when the library has room for the next.

        That it returned does not mean that the message arrived.

        Raises:
            TransportClosed: The WebSocket is gone.
        """

    def send_now(self, data: bytes, /) -> bool:
        """Write one binary message without waiting, or return ``False`` and do nothing.

        ``False`` means "no room, or not possible with this library": the driver then starts a task
        that uses :meth:`send`. A transport that always returns ``False`` is correct; it costs that
        task, and a turn of the event loop, for each batch of messages. Return ``True`` only if
        ``send`` would not wait. If it always returns ``True``, nothing slows down a sender whose
        peer does not read, and the library's buffer grows.

        Raises:
            TransportClosed: The WebSocket is gone.
        """
        raise NotImplementedError

    async def recv(self) -> bytes | str:
        """Return the next message as it came. A good peer sends no empty message.

        Everything that was received comes before the end.

        Raises:
            TransportClosed: There are no more messages.
        """
        raise NotImplementedError

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Run the closing handshake. Idempotent, never raises, may take long: callers bound it."""

    def abort(self) -> None:
        """Drop the connection at once, without a closing handshake. Idempotent, never raises."""


@runtime_checkable
class PushTransport(Transport, Protocol):
    """A transport that can hand over messages by itself: saves a task switch per message."""

    def push_to(self, receiver: Callable[[bytes], None], /) -> Awaitable[None] | None:
        """Hand each message to ``receiver`` as it arrives, from now on.

        What cannot be handed over so is returned by :meth:`recv`, in order, and so is the end. If
        this returns a future, that is done once :meth:`recv` has any of it. So nobody needs to wait
        in :meth:`recv`, in a coroutine that takes memory as long as a connection is idle.
        """


@runtime_checkable
class SelfClosingTransport(Transport, Protocol):
    """A transport that closes in a task of its own: saves the driver's."""

    def begin_close(self, code: int, reason: str, timeout: float, /) -> None:
        """Begin the closing handshake, and return at once.

        What is not closed after so many seconds is dropped. Idempotent, never raises.
        """
        raise NotImplementedError


@runtime_checkable
class SyncTransport(Protocol):
    """One open WebSocket, as the driver with threads sees it (:mod:`reliable_ws.sync`).

    One thread calls :meth:`recv` for as long as the transport lives; calls of :meth:`send` are
    never concurrent with each other. :meth:`close` and :meth:`abort` may be called in any
    thread, also while others send and receive: both then raise :class:`TransportClosed` soon.
    Like a :class:`Transport`, it can be weakly referenced.
    """

    @property
    def websocket(self) -> object:
        """The library's own object, for what only it knows (path, headers)."""

    @property
    def role(self) -> Role | None:
        """Which side of the WebSocket this is; ``None`` if not known.

        Where it is ``None``, ``wrap()`` has to be told by ``role=``.
        """

    @property
    def max_frame(self) -> int | None:
        """Largest message, in bytes, that this end *receives*; ``None`` if not known.

        The peer is told, and sends larger messages in parts. Where it is ``None`` or too large, a
        message that the library refuses costs a WebSocket, and the peer finds a smaller size by
        halving (PART-6).
        """

    def send(self, data: bytes, /) -> None:
        """Send one binary message; return when the library has room for the next.

        While it waits, :meth:`recv` goes on receiving: else two ends that only send would wait
        for each other. That it returned does not mean that the message arrived.

        Raises:
            TransportClosed: The WebSocket is gone.
        """

    def recv(self) -> bytes | str:
        """Return the next message as it came. A good peer sends no empty message.

        Everything that was received comes before the end.

        Raises:
            TransportClosed: There are no more messages.
        """
        raise NotImplementedError

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Run the closing handshake. Idempotent, never raises; callers bound it by an abort."""

    def abort(self) -> None:
        """Drop the connection at once, waiting for nothing. Idempotent, never raises."""


@runtime_checkable
class EagerTransport(SyncTransport, Protocol):
    """A transport that can tell whether it has room: saves a thread switch per message.

    A transport without :meth:`send_now` is correct. Then every message goes to a thread that may
    block in ``send``, and each sender has to wake that thread first.
    """

    def send_now(self, data: bytes, /) -> bool:
        """Write one binary message without waiting, or return ``False`` and do nothing.

        It is never called while :meth:`send` runs.

        Raises:
            TransportClosed: The WebSocket is gone.
        """
        raise NotImplementedError


@runtime_checkable
class SyncPushTransport(SyncTransport, Protocol):
    """A transport whose library has a thread that reads: saves a thread switch per message."""

    def push_to(self, receiver: Callable[[bytes], None], /) -> None:
        """Hand each message to ``receiver`` as it arrives, from now on, in that thread.

        Called when nothing can be on its way. What cannot be handed over so is returned by
        :meth:`recv`, in order, and so is the end.
        """


def select_subprotocol(offered: Iterable[str]) -> str | None:
    """Return what a server answers to the subprotocols that are offered to it.

    ``reliable-ws.v1`` if that is among them, else ``None``. A peer that offers none is served
    too (LINK-6).
    """
    return SUBPROTOCOL if SUBPROTOCOL in offered else None
