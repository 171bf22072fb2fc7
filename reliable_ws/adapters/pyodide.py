"""Pyodide: Python in a browser or in Node, over JavaScript's own ``WebSocket``.

A page has no sockets, so :func:`reliable_ws.connect` opens its WebSockets with :func:`dial` there.
A ``js.WebSocket`` that is open already can be given to :func:`reliable_ws.wrap`.

What is special about a page: it may close with 1000 and codes from 3000 on only (CLOSE-26). Its
WebSocket takes any amount to send and tells nobody when that is gone, so ``bufferedAmount`` is
looked at, and never without ``readyState``: it keeps its value when the WebSocket dies. A page
that the user leaves may be kept, frozen, with a WebSocket that swallows messages; so that is closed
before.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.transport import TransportClosed

from .callback import CallbackTransport
from .checks import check_open

__all__ = ["PyodideTransport", "adapt", "connect_options", "dial"]

# Not imported by a statement: type checkers would take the folder js/ for it.
js: Any = import_module("js")
ffi: Any = import_module("pyodide.ffi")

OPEN = 1
"""A state of a WebSocket (``readyState``): 0 is before it, and above it are closing and closed."""

WRITE_LIMIT = 1024 * 1024
"""Bytes in the WebSocket's buffer from which on a send waits: what lies there dies with the page,
and acks wait behind it."""

BUFFER_LOOK_INTERVAL = 0.02
"""Seconds between two looks at a buffer that is full."""

FREE_OPENINGS = 2
"""WebSockets that may fail to open in a row until the server is asked first (:class:`Openings`)."""

UNASKED = 10.0
LONGEST_UNASKED = 90.0
"""Seconds after an opening until the next one goes without asking: at first, and at most. Firefox
forgets failures after 60 s and its present delay, which is below 5 s with these figures."""


def adapt(ws: Any, *, max_frame: int | None = None) -> PyodideTransport:
    """Return a transport for an open ``js.WebSocket``.

    ``max_frame`` is the largest message that it takes, in bytes. Default: none is known, so what
    ``Config.max_frame`` says; no browser takes less.

    Raises:
        TypeError: ``ws`` is something else.
        ValueError: The WebSocket is not open.
    """
    if not hasattr(ws, "bufferedAmount"):
        raise TypeError(f"not a WebSocket of JavaScript: {ws!r:.80}")
    check_open(closed=ws.readyState != OPEN, read=False)
    return PyodideTransport(ws, max_frame)


async def dial(
    uri: str,
    *,
    subprotocols: Sequence[str] | None = (SUBPROTOCOL,),
    open_timeout: float | None = 10,
) -> PyodideTransport:
    """Open a WebSocket.

    ``subprotocols`` are offered. ``None``: none, for a server that selects none, as Chromium and
    Node refuse its answer otherwise (LINK-7). ``open_timeout`` is in seconds. A page can set no
    headers; cookies are sent by the browser.

    Raises:
        OSError: It did not open. A page is not told why.
        TimeoutError: There was no answer within ``open_timeout``.
        ValueError: The browser refuses this address.
    """
    async with asyncio.timeout(open_timeout):
        await OPENINGS.begin(uri)
        try:
            websocket = js.WebSocket.new(uri, ffi.to_js(list(subprotocols or ())))
        except ffi.JsException as error:
            raise ValueError(f"no address of a WebSocket that a page may open: {error}") from error
        transport = PyodideTransport(websocket, None)
        try:
            await transport.opened()
        except BaseException:
            transport.abort()
            raise
    OPENINGS.succeeded()
    return transport


def connect_options() -> frozenset[str]:
    """Return the names of the options of :func:`dial`."""
    return frozenset({"subprotocols", "open_timeout"})


class Openings:
    """How the WebSockets of this page have opened, and whether to ask first before the next one.

    This is for Firefox, which holds each opening back for half as long again after one that failed,
    up to a minute: so few may fail. Not every server answers, and not every page may ask. So now
    and then a WebSocket is opened without it, and where that succeeds, nothing is asked any more.
    """

    def __init__(self) -> None:
        navigator = getattr(js, "navigator", None)
        self._holds_back = "Firefox/" in str(getattr(navigator, "userAgent", ""))
        self._failed = 0  # in a row
        self._unasked = 0.0  # when the next one goes without asking
        self._is_unasked = False  # whether the newest one has
        self._asked = ""
        self._may_ask = True
        self._listens = False

    async def begin(self, uri: str) -> None:
        """Return when a WebSocket may be opened.

        Raises:
            OSError: The server did not answer by HTTP.
        """
        now = asyncio.get_running_loop().time()
        asks = self._holds_back and self._may_ask and self._failed >= FREE_OPENINGS
        self._is_unasked = asks and now >= self._unasked
        if asks and now < self._unasked:
            await self._ask(http_address(uri))
        self._failed += 1
        doublings = min(max(0, self._failed - FREE_OPENINGS), 8)
        self._unasked = now + min(UNASKED * 2**doublings, LONGEST_UNASKED)

    def succeeded(self) -> None:
        """Note that a WebSocket is open."""
        self._failed = 0
        if self._is_unasked:
            self._may_ask = False

    async def _ask(self, address: str) -> None:
        if not self._listens:
            self._listens = True  # for as long as the page lives
            js.addEventListener("securitypolicyviolation", ffi.create_proxy(self._on_violation))
        self._asked = address
        ending = js.AbortController.new()
        options = {
            "mode": "no-cors",  # any answer will do; of another origin it has no status
            "cache": "no-store",
            "credentials": "omit",
            "signal": ending.signal,
        }
        given = ffi.to_js(options, dict_converter=js.Object.fromEntries)
        try:
            answer = await js.fetch(address, given)
            status = int(answer.status)
        except ffi.JsException as error:
            raise OSError(f"the server does not answer by HTTP: {error}") from error
        finally:
            ending.abort()
        if status in (502, 503, 504):
            raise OSError(f"a proxy answered {status}: its server is away")

    def _on_violation(self, event: Any) -> None:
        """The page's Content-Security-Policy does not let it ask: this comes behind the failure."""
        if event.blockedURI == self._asked:
            self._may_ask = False


OPENINGS = Openings()
"""One for all: Firefox counts for the page, and not for a connection."""


def http_address(uri: str) -> str:
    """Where to ask for a server. Without the query: a token in it may count once."""
    parts = urlsplit(uri)
    scheme = parts.scheme.replace("ws", "http", 1)
    return parts._replace(scheme=scheme, path=parts.path or "/", query="", fragment="").geturl()


class PyodideTransport(CallbackTransport):
    """A WebSocket of JavaScript as a :class:`~reliable_ws.transport.Transport`: :func:`adapt`."""

    def __init__(self, websocket: Any, max_frame: int | None) -> None:
        super().__init__(websocket, "initiator", max_frame)
        mend(asyncio.get_running_loop())
        self._opened = bool(websocket.readyState == OPEN)
        self._changed = asyncio.Event()  # set whenever something arrives: worth a look
        websocket.binaryType = "arraybuffer"  # Blobs could be read later only, out of order
        self._listeners: list[tuple[Any, str, Any]] = []
        self._listen(websocket, "open", self._on_open)
        self._listen(websocket, "message", self._on_message)
        self._listen(websocket, "error", self._on_error)
        self._listen(websocket, "close", self._on_close)
        if hasattr(js, "document"):  # else it is Node, or a worker
            self._listen(js, "pagehide", self._on_leave)
            self._listen(js.document, "freeze", self._on_leave)

    async def opened(self) -> None:
        """Return when the WebSocket is open.

        Raises:
            OSError: It never was.
        """
        while not (self._opened or self._gone):
            self._changed.clear()
            await self._changed.wait()
        if not self._opened:
            raise OSError("the WebSocket did not open; a page is not told why")

    # ------------------------------------------------------------------ what JavaScript calls

    def _on_open(self, _event: Any) -> None:
        self._opened = True
        self._changed.set()

    def _on_message(self, event: Any) -> None:
        self._changed.set()
        data = event.data
        self.feed(data if isinstance(data, str) else data.to_bytes())

    def _on_error(self, _event: Any) -> None:
        """Take in that it did not open: not every runtime says ``close`` then."""
        if not self._opened:
            self.feed_end()

    def _on_close(self, event: Any) -> None:
        self.feed_end(event.code, event.reason)

    def _on_leave(self, event: Any) -> None:
        """Close before the page is kept, frozen: the session dials when the page goes on."""
        if event.type == "freeze" or event.persisted:
            self._let_go()

    def feed_end(self, code: int | None = None, reason: str = "") -> None:
        """Take in that nothing more comes."""
        super().feed_end(code, reason)
        self._changed.set()
        self._stop_listening()

    # ------------------------------------------------------------------ what the driver calls

    def send_now(self, data: bytes, /) -> bool:
        """Write one binary message, or return ``False`` while the buffer is full."""
        if self._gone:
            raise self._over()
        websocket = self.websocket
        if websocket.readyState != OPEN or websocket.bufferedAmount >= WRITE_LIMIT:
            return False
        websocket.send(ffi.to_js(data))
        return True

    async def _send(self, data: bytes) -> None:
        websocket = self.websocket
        while websocket.readyState == OPEN and websocket.bufferedAmount >= WRITE_LIMIT:
            # Timers of a hidden page come late: what arrives is worth a look, too.
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BUFFER_LOOK_INTERVAL):
                    await self._changed.wait()
        if websocket.readyState != OPEN:
            raise TransportClosed
        websocket.send(ffi.to_js(data))

    async def _close(self, code: int, reason: str) -> None:
        sayable = code if code == 1000 or 3000 <= code <= 4999 else 1000  # CLOSE-26
        self.websocket.close(sayable, reason)
        await self.ended()

    def _drop(self) -> None:
        """Close, and listen no more: a page cannot drop a WebSocket, and its end may come late."""
        self._changed.set()
        self._stop_listening()
        self.websocket.close(1000)

    # ------------------------------------------------------------------ inside

    def _listen(self, target: Any, event: str, call: Callable[[Any], None]) -> None:
        proxy = ffi.create_proxy(call)
        target.addEventListener(event, proxy)
        self._listeners.append((target, event, proxy))

    def _stop_listening(self) -> None:
        for target, event, proxy in self._listeners:
            target.removeEventListener(event, proxy)
            proxy.destroy()
        self._listeners.clear()


def mend(loop: Any) -> None:
    """Have a timer of a moment that has just passed fire at once, as in every loop of asyncio.

    Pyodide's ``call_at`` raises ``ValueError`` then, also out of ``asyncio.timeout()``: for a
    moment that was still to come when the caller looked at the clock.
    """
    if type(loop).__module__.startswith("pyodide.") and "call_at" not in vars(loop):
        loop.call_at = partial(_call_at, loop)


def _call_at(loop: Any, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
    delay = max(0.0, when - loop.time())
    return loop.call_later(delay, callback, *args, context=context)
