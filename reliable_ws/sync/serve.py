"""``serve``: a server of sessions over ``websockets.sync``."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

from reliable_ws.driver.close_plan import CLOSE_TIMEOUT
from reliable_ws.driver.figures import Figures
from reliable_ws.driver.methods import Methods
from reliable_ws.driver.options import TraceOption
from reliable_ws.driver.status import ConnectionEvent, describe_server, tell_principal_raised
from reliable_ws.driver.validation import (
    check_handler,
    check_known,
    check_options,
    check_shared,
)
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.payload import PayloadCodec
from reliable_ws.protocol.report import Report
from reliable_ws.store import Store
from reliable_ws.transport import SyncTransport

from .connection import Connection
from .sessions import Handler, Sessions
from .timers import start
from .waiters import Condition, acquire

__all__ = ["Server", "serve", "unix_serve"]


class Server:
    """A running server. :func:`serve` makes it. Leaving its ``with`` block drains it."""

    def __init__(self, sessions: Sessions, drain_timeout: float) -> None:
        self.sessions = sessions
        self.inner: Any = None
        "The WebSocket library's own server."
        self.listener: Any = None
        "What accepts connections for it."
        self._drain_timeout = drain_timeout
        self._open: set[SyncTransport] = set()
        self._change = Condition()  # a WebSocket came, or is gone
        self._stopped = threading.Lock()  # held until shutdown(); safe in a signal's handler
        self._stopped.acquire()

    def __repr__(self) -> str:
        """Where it listens, and how many sessions live."""
        is_open = self.inner.socket.fileno() >= 0
        addresses = [self.inner.socket.getsockname()] if is_open else []
        return describe_server(addresses, len(self.sessions))

    @property
    def port(self) -> int:
        """The port of the listening socket."""
        port: int = self.inner.socket.getsockname()[1]
        return port

    def figures(self) -> Figures:
        """Return what all sessions have done together: see :meth:`Sessions.figures`."""
        return self.sessions.figures()

    @property
    def connections(self) -> list[Connection]:
        """The connections of all living sessions."""
        return self.sessions.connections

    def serve_forever(self) -> None:
        """Wait until :meth:`shutdown` is called, in another thread or in a signal handler.

        The server accepts WebSockets without this call too, from the beginning to the end of the
        block.
        """
        acquire(self._stopped)
        self.shutdown()  # for others that wait; it may have been called again meanwhile

    def shutdown(self) -> None:
        """Let :meth:`serve_forever` return. Never waits. A second call has no effect."""
        with contextlib.suppress(RuntimeError):  # released already
            self._stopped.release()

    def drain(
        self, timeout: float | None = None, *, sessions: Literal["close", "keep"] = "close"
    ) -> dict[bytes, Report]:
        """Drain all sessions (see :meth:`Sessions.drain`), then close the server.

        ``timeout`` is in seconds. Default: the server's ``drain_timeout``. Returns one report per
        session id.
        """
        seconds = self._drain_timeout if timeout is None else timeout
        reports = self.sessions.drain(seconds, sessions=sessions)
        self.close()
        return reports

    def close(self) -> None:
        """Close the listening socket and every WebSocket.

        Sessions are not told. To end them gracefully, use :meth:`drain`.
        """
        self.shutdown()
        self.listener.close()  # first: a client whose WebSocket is closed comes again at once
        with self._change:
            for transport in self._open:
                start(functools.partial(transport.close, 1001))
            self._change.wait_for(lambda: not self._open, CLOSE_TIMEOUT)
            for transport in self._open:
                transport.abort()

    def _serve(
        self, transport: SyncTransport, handler: Handler, principal: Callable[[Any], Any] | None
    ) -> None:
        with self._change:
            self._open.add(transport)
        try:
            try:
                who = principal(transport.websocket) if principal is not None else None
            except Exception as error:  # noqa: BLE001 - the application's
                transport.close(1011, tell_principal_raised(error))
                return
            self.sessions._serve(transport, handler, who, self.listener.greeted)
        finally:
            with self._change:
                self._open.discard(transport)
                self._change.notify_all()

    def __enter__(self) -> Self:
        """Return the server itself; it runs already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Drain. After Ctrl-C and its like: at once, and a store keeps the sessions."""
        if kind is None or issubclass(kind, Exception):
            self.drain()
        elif self.sessions.has_store:
            self.drain(KEEP_TIMEOUT, sessions="keep")
        else:
            self.drain(0.0)


KEEP_TIMEOUT = 3.0
"""Seconds that a server has to leave its sessions to the next process, after Ctrl-C."""


def serve(
    handler: Handler,
    host: str | None = None,
    port: int | None = None,
    *,
    config: Config | None = None,
    sessions: Sessions | None = None,
    principal: Callable[[Any], Any] | None = None,
    methods: Methods | None = None,
    on_event: Callable[[ConnectionEvent], object] | None = None,
    payload_codec: PayloadCodec | None = None,
    store: Store | None = None,
    trace: TraceOption = None,
    drain_timeout: float = 10.0,
    max_connections: int = 1000,
    max_total_handlers: int | None = None,
    **transport_options: Any,
) -> Server:
    """Serve sessions: ``handler(conn)`` runs once per session, in a thread of its own.

    ``with serve(handler, host, port) as server: server.serve_forever()``. The server runs when the
    call returns. Leaving the block drains: see :meth:`Sessions.drain`. When the handler returns,
    its connection is closed with code 1000. When the handler raises, the connection is closed with
    code 1011 and the traceback is logged.

    Args:
        handler: A plain function, called with the :class:`Connection`.
        host: Where to listen, as in websockets.
        port: Where to listen. With 0 the system chooses: see :attr:`Server.port`.
        methods: What peers may request. Default: nothing.
        config: Limits and timeouts. Default: ``Config()``.
        sessions: Sessions to share with other endpoints. They bring their own ``methods``,
            ``config``, ``on_event``, ``payload_codec``, ``store``, ``trace`` and
            ``max_total_handlers``.
        principal: Called with the WebSocket of every arrival. Returns who the peer is. Only the
            same principal can resume a session.
        on_event: Called with each ``ConnectionEvent``, in a thread.
        payload_codec: Packs messages that are neither ``str`` nor ``bytes``. Default: msgpack.
        store: Keeps the sessions, so that they go on when this process has died: a
            :class:`~reliable_ws.SQLiteStore`, for example. A handler runs again when its peer is
            back, with ``conn.restored``.
        trace: Writes what every WebSocket carries, without payloads: the path of a file, or a
            :class:`~reliable_ws.WireTrace`. Default: nothing is written.
        drain_timeout: Seconds that draining takes at most: see :meth:`Sessions.drain`.
        max_connections: How many connections are open at the same time. Each takes two threads, and
            each session one for its handler. Further ones wait to be accepted, and a warning is
            logged. Of these connections at most 64 may be opening (the greeting included): then
            the oldest one that has been opening for a second is dropped.
        max_total_handlers: How many handlers of requests run at the same time, each in a thread:
            see :class:`Sessions`. Default: 1,000.
        transport_options: All other keywords go to websockets' ``sync.server.serve``.

    Raises:
        OSError: The address cannot be listened on, or the file of the trace cannot be written.
        StoreError: The store cannot be opened. The subclass and the message say why.
        TypeError: An argument has the wrong type, there is no option of this name, or the handler
            is no plain function.
        ValueError: ``sessions`` is given together with an option that it brings itself, or the
            sessions of another server use this store.
    """
    from reliable_ws.adapters.websockets import sync as websockets
    from reliable_ws.adapters.websockets.listener import Listener

    check_handler(handler, awaited=False)
    check_options(principal=principal, drain_timeout=drain_timeout, max_connections=max_connections)
    check_known("serve()", transport_options, websockets.listen_options())
    check_shared(
        sessions,
        Sessions,
        methods=methods,
        config=config,
        on_event=on_event,
        payload_codec=payload_codec,
        store=store,
        trace=trace,
        max_total_handlers=max_total_handlers,
    )
    if sessions is None:  # `or` would take an empty one for none
        sessions = Sessions(
            methods=methods,
            config=config,
            on_event=on_event,
            payload_codec=payload_codec,
            store=store,
            trace=trace,
            max_total_handlers=max_total_handlers,
        )
    sessions.open_store()
    server = Server(sessions, drain_timeout)
    transport_options.setdefault("create_connection", websockets.GreetedServer)
    server.inner = websockets.listen(
        lambda transport: server._serve(transport, handler, principal),
        host,
        port,
        **transport_options,
    )
    server.listener = Listener(server.inner, max_connections)
    start(server.listener.serve_forever)  # what a daemon starts is one, too
    return server


def unix_serve(handler: Handler, path: Any = None, **options: Any) -> Server:
    """Serve sessions at a Unix socket: as :func:`serve`, with a path instead of host and port.

    Args:
        handler: A plain function, called with the :class:`Connection`.
        path: The path of the socket. It is made. ``None``: pass an open one as ``sock=``.
        options: As for :func:`serve`.

    Raises:
        OSError: The address cannot be listened on.
        TypeError: An argument has the wrong type, or there is no option of this name.
    """
    return serve(handler, unix=True, path=path, **options)
