"""What a connection says about itself, and which events it reports, in both drivers."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from reliable_ws.protocol.errors import DeliveryError
from reliable_ws.protocol.report import End, Ending, Report
from reliable_ws.protocol.session import Session

from .explanation import Explanation
from .failures import FailedAttempt
from .figures import Figures, add_all
from .restored import Restored
from .state import State, state_of

__all__ = [
    "ConnectionEvent",
    "EventName",
    "NotifyEvent",
    "PeerFinish",
    "State",
    "Stats",
    "Status",
    "describe_server",
    "explain",
    "log_left_open",
    "log_silence",
    "logger",
    "name_of",
    "notify_end",
    "raise_undelivered",
    "tell_interrupted",
    "tell_principal_raised",
]

logger = logging.getLogger("reliable_ws")

EventName = Literal[
    "opened",
    "detached",
    "attempt_failed",
    "resumed",
    "store_slow",
    "peer_finished",
    "session_lost",
    "superseded",
    "closed",
]


class NotifyEvent(Protocol):
    """Takes note of what happened to a session as a whole."""

    def __call__(
        self,
        name: EventName,
        code: int | None,
        reason: str,
        replayed: int,
        /,
        *,
        attempt: FailedAttempt | None = None,
    ) -> None:
        """Take note; the arguments are fields of :class:`ConnectionEvent`."""


class PeerFinish(NamedTuple):
    """With what the peer has finished: it sends no more messages."""

    code: int
    """The code that the peer gave: 1000 when it is done, 1001 when it goes away (a server that
    drains), or another one."""
    reason: str
    "The reason that came with the code."


@dataclass(frozen=True, slots=True)
class ConnectionEvent:
    """What ``on_event`` is called with."""

    name: EventName
    """``opened`` comes first. ``detached`` and ``resumed`` come as WebSockets go and come.
    ``attempt_failed`` comes whenever no WebSocket could be opened, and ``attempt`` says why.
    ``store_slow`` comes when the store of a durable session has worked on one commit for 5 s.
    ``peer_finished`` comes when the peer finishes and this side has not: soon it should.
    ``closed`` comes last. ``session_lost`` or ``superseded`` comes before it if the session
    ended so. Both come before the calls that wait are told (not so with threads). A session that
    was never open has none of these events: its opening raises."""
    connection: Any
    """The ``Connection`` that the event is about. ``None`` for an attempt to begin a new session
    (``async for conn in connect()``)."""
    code: int | None = None
    "The close code, where there is one."
    reason: str = ""
    "The reason that came with the code."
    replayed: int = 0
    "For ``resumed``: how many messages are sent again."
    report: Report | None = None
    "For ``closed``, ``session_lost`` and ``superseded``: the final report."
    attempt: FailedAttempt | None = None
    "For ``attempt_failed``: what it failed of, and whether another follows."


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts since the session began."""

    sent: int
    "Messages that ``send()`` accepted."
    confirmed: int
    "Messages of them that the peer's application has taken."
    received: int
    "Messages that have arrived from the peer."
    taken: int
    "Messages of them that your application has taken."
    resumes: int
    "How many WebSockets carried the session after the first."
    outbox_bytes: int
    "Bytes that wait for the peer's confirmation."
    inbox_bytes: int
    "Bytes that have arrived and wait for your application."


WORTH_SAYING = 1.0
"""Seconds that something has to wait before ``repr`` speaks of it."""

HEARTBEATS = (
    "heartbeats are sent by themselves (Config.idle_timeout), and awaiting the receipt of send() "
    "waits until the peer has taken a message; the WebSocket's own is conn.websocket."
)

HINTS = {
    "closed": "conn.close_code is None while the session lives",
    "open": "conn.state says where the session stands",
    "path": "it is conn.websocket.request.path",
    "ping": f"{HEARTBEATS}ping",
    "pong": f"{HEARTBEATS}pong",
    "protocol": "the WebSocket's own is conn.websocket.protocol",
    "recv_streaming": "conn.recv() gives a large message as a whole",
    "request_headers": "it is conn.websocket.request.headers",
    "response": "the WebSocket's own is conn.websocket.response",
    "response_headers": "it is conn.websocket.response.headers",
    "username": "websockets' own is conn.websocket.username; there is conn.principal, too",
}
"""Where what a connection of websockets has is to be found."""


def explain(error: BaseException) -> None:
    """Add a note to an ``AttributeError`` that took ``conn.request`` for the HTTP request."""
    function = getattr(getattr(error, "obj", None), "__func__", getattr(error, "obj", None))
    if (
        isinstance(error, AttributeError)
        and getattr(function, "__qualname__", "") == "Connection.request"
        and not error.__dict__.get("__notes__")
    ):
        error.add_note(
            "reliable_ws: conn.request() calls a method of the peer; "
            f"the HTTP request of the WebSocket is conn.websocket.request (.{error.name})"
        )


class _Missing:
    """What a connection does not have under a name that users of websockets know.

    A ``__getattr__`` would do as well, but it makes every attribute of the class slow.
    """

    def __init__(self, name: str, hint: str) -> None:
        self._name = name
        self._words = f"a reliable_ws Connection has no attribute {name!r}: {hint}"

    def __get__(self, connection: object, _owner: type) -> Any:
        raise AttributeError(self._words, name=self._name, obj=connection)


class Status:
    """A connection, as far as it can be read off its session and its transport."""

    __slots__ = ()

    _session: Session
    _driver: Any

    def __repr__(self) -> str:
        """Short id, whose it is, which side this is, the state, and what waits for a second."""
        of = "" if self.principal is None else f" of {self.principal!r:.100}"
        words = f"{self._session.role} {self.state.value}"
        if not self._session.ended:
            waits = self._driver.explain(self._driver.now()).reasons
            words = ": ".join(
                [words, *(r.words for r in waits if (r.seconds or 0.0) >= WORTH_SAYING)][:2]
            )
        return f"<Connection {self.id.hex()[:8]}{of} {words}>"

    @property
    def _current(self) -> Any:
        """The transport that carried the session last, or carries it, or ``None``."""
        raise NotImplementedError

    @property
    def id(self) -> bytes:
        """The session's id. It is public, and the same at both ends."""
        return self._session.id

    @property
    def principal(self) -> Any:
        """Who the peer is: what ``principal=`` found for the WebSocket that began the session.

        ``None`` at the client, and where the server was given no ``principal=``.
        """
        return self._driver.principal

    @property
    def restored(self) -> Restored | None:
        """What the session had when it came from a store. ``None`` for a new session.

        A handler whose process died runs again, with a connection that has this set, when its peer
        is back.
        """
        restored: Restored | None = self._driver.restored
        return restored

    @property
    def fence(self) -> int:
        """A number that grows whenever the session gets another WebSocket, or another process.

        In a cluster a process that was frozen may not know yet that another one has its session.
        The other one's number is higher. Pass it on to systems that can compare it, and refuse what
        comes with a lower one than they have seen.
        """
        return self._session.attempt

    @property
    def state(self) -> State:
        """Where the connection stands."""
        return state_of(self._session)

    @property
    def peer_finished(self) -> PeerFinish | None:
        """The code and the reason with which the peer has finished. ``None`` if it has not.

        It is known as soon as the peer has told, also while messages from before wait to be taken.
        Iterating over a connection ends in the same way for a peer that is done (1000) and for one
        that goes away (1001): this says which.
        """
        finish = self._session.inbox.finish
        return None if finish is None else PeerFinish(finish.code, finish.reason)

    def explain(self) -> Explanation:
        """Say why the session does not go on: what waits, for whom, and for how long.

        ``str(conn.explain())`` is one line, ``conn.explain().reasons`` the same as values. Times
        are lower bounds: they are known from looks at intervals, at most a third of
        ``Config.idle_timeout`` apart while a WebSocket carries the session. Each call is a look,
        so a second call knows more. It costs some microseconds, and messages pay nothing for it.
        """
        driver = self._driver
        now = driver.now()
        driver.look(now)
        explanation: Explanation = driver.explain(now)
        return explanation

    def figures(self) -> Figures:
        """Return what this session has done, as figures for metrics (docs/metrics.md)."""
        figures = Figures()
        add_all(figures, [self._driver])
        times = self._driver.pump.confirm_timer.histogram
        if times is not None and self._session.role == "initiator":  # else it is the server's
            figures.confirm_seconds = times.copy()
        return figures

    @property
    def ended(self) -> bool:
        """Whether the session has ended.

        A handler that waits for something else than its peer, in a thread, looks at this from time
        to time: a thread cannot be cancelled.
        """
        return self._session.ended is not None

    @property
    def report(self) -> Report:
        """What is known of every message that was sent."""
        return self._session.report()

    @property
    def stats(self) -> Stats:
        """Counts since the session began."""
        outbox, inbox = self._session.outbox, self._session.inbox
        finish = inbox.finish is not None
        return Stats(
            sent=outbox.messages,
            confirmed=min(outbox.confirmed, outbox.messages),
            received=inbox.received - finish,
            taken=inbox.handed,
            resumes=self._session.resumes,
            outbox_bytes=outbox.held,
            inbox_bytes=inbox.held,
        )

    @property
    def transport(self) -> Any:
        """The transport that carries the session. ``None`` while detached."""
        alive = self._session.attached or self._session.ended is not None
        return self._current if alive else None

    @property
    def websocket(self) -> Any:
        """The library's current WebSocket (path, headers). ``None`` while detached.

        After the end of the session it is the last one.
        """
        transport = self.transport
        return transport.websocket if transport is not None else None

    @property
    def remote_address(self) -> Any:
        """The address of the current WebSocket's peer, as its library tells it, or ``None``."""
        return self._told("remote_address")

    @property
    def local_address(self) -> Any:
        """This end's address of the current WebSocket, as its library tells it, or ``None``."""
        return self._told("local_address")

    @property
    def latency(self) -> float | None:
        """The round-trip time of the current WebSocket in seconds, as its library measures it.

        websockets measures it with pings, which are off unless you pass ``ping_interval=``. Before
        the first answer to a ping it is 0. ``None``: the library does not measure it.
        """
        latency: float | None = getattr(self.websocket, "latency", None)
        return latency

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol of the current WebSocket, as its library tells it, or ``None``."""
        name: str | None = self._told("subprotocol")
        return name

    def _told(self, name: str) -> Any:
        """Return what the WebSocket says of itself, or its adapter, where the library does not."""
        told = getattr(self.websocket, name, None)
        return told if told is not None else getattr(self.transport, name, None)

    @property
    def close_code(self) -> int | None:
        """The code that the session ended with (protocol.md, section 12).

        ``None`` while it lives.
        """
        return self._session.ended.code if self._session.ended else None

    @property
    def close_reason(self) -> str | None:
        """The reason that came with the code. ``None`` while the session lives."""
        return self._session.ended.reason if self._session.ended else None


for _name, _hint in HINTS.items():
    setattr(Status, _name, _Missing(_name, _hint))


def name_of(session: bytes, principal: Hashable) -> str:
    """Return how log lines name a session: ``session 1a2b3c4d of 'ann'``."""
    of = "" if principal is None else f" of {principal!r:.100}"
    return f"session {session.hex()[:8]}{of}"


def describe_server(addresses: list[Any], sessions: int) -> str:
    """Return the ``repr`` of a server: where it listens, and how many sessions live."""
    places = [
        f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)
        for address in addresses
    ]
    return f"<Server {', '.join(places) or 'closed'}, {sessions} sessions>"


def notify_end(notify: NotifyEvent, ending: Ending) -> None:
    """Tell how a session ended, and that it did."""
    if ending.kind is End.SUPERSEDED:
        notify("superseded", ending.code, ending.reason, 0)
    elif ending.kind not in (End.FINISHED, End.ABORTED):
        notify("session_lost", ending.code, ending.reason, 0)
    notify("closed", ending.code, ending.reason, 0)


def raise_undelivered(session: Session, report: Report) -> None:
    """Raise :class:`~reliable_ws.DeliveryError` unless everything in the report is confirmed."""
    if report.confirmed == report.sent:
        return
    error = DeliveryError.of(report)
    if session.cause is not None:
        raise error from session.cause
    raise error


def log_left_open(session: Session, name: str) -> None:
    """Log what is lost with a program that ends and has not closed its connection."""
    report = session.report()
    if report.confirmed < report.sent:
        logger.warning("%s was left without close(): %s", name, report)


def tell_interrupted(session: Session, name: str, error: BaseException) -> None:
    """Log what a close after a cancellation, or its like, has not delivered; note it on ``error``.

    Whoever catches ``error`` may never look at it, so the note alone is not enough.
    """
    report = session.report()
    if report.confirmed < report.sent:
        logger.warning("%s: %s left a connection: %s", name, type(error).__name__, report)
        error.add_note(f"reliable_ws: {report}")


def log_silence(name: str, limit: float) -> None:
    """Log what was learned of the network, with what to do about it."""
    logger.warning(
        "%s: a proxy or network on its way cuts WebSockets that are silent for %.1f s; "
        "from now on both sides speak every %.1f s; "
        "raise that time-out, or set Config.idle_timeout below it; "
        "`python -m reliable_ws doctor URL` says more",
        name,
        limit,
        limit / 3,
    )


def tell_principal_raised(error: Exception) -> str:
    """Log that ``principal=`` raised; return the reason to close its WebSocket with, for 1011."""
    logger.error("principal= raised for a WebSocket, which is closed", exc_info=error)
    return "principal= raised"
