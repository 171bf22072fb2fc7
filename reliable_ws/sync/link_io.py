"""One transport that carries one link, with threads: reading, writing, closing.

Theory of operation. One thread reads (:meth:`LinkIO.read`): it takes the lock, gives what arrived
to the session, and dispatches the events.

Writing has two ways. A thread that has something short to send, or is about to wait for an answer,
writes itself (:meth:`LinkIO.flush`), if the transport can tell that it has room (``send_now``).
That never blocks, so the reader may do it too. Everything else is for the *writer*, a thread that
may block in ``send``. What is queued meanwhile goes as one WebSocket message. While other threads
write all there is, the writer dozes: it looks again by itself after a moment (:data:`DOZE`), and
nobody wakes it for a message.

The lock is free during a write. Three fields keep the order:

- ``_busy``: a thread is writing. No other thread transmits until it is done. It goes on until
  ``transmit`` returns ``None``, so nothing is left behind.
- ``_unsent``: what found no room. It goes before anything else is transmitted.
- ``wanted``: the writer shall look, as soon as nobody is busy.

So bytes go in the order in which ``transmit`` returned them.

Closing begins when the link is over and its last frame is written. The writer closes, and a timer
aborts the transport if that takes too long. A write that fails needs no handling: the reader learns
of the end too, and only the reader tells the session.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable

from reliable_ws.driver.call_contexts import CallContexts
from reliable_ws.driver.close_plan import CLOSE_TIMEOUT, handshake_times
from reliable_ws.driver.confirm_timer import ConfirmTimer
from reliable_ws.driver.ownership import release
from reliable_ws.driver.status import name_of
from reliable_ws.driver.tracing import Trace, trace_of
from reliable_ws.protocol.context import MARK
from reliable_ws.protocol.events import Event
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.link import CloseAction, Link
from reliable_ws.protocol.session import Session
from reliable_ws.transport import SyncTransport, TransportClosed
from reliable_ws.wire_trace import WireTrace

from .timers import Timer, call_at, start
from .waiters import Condition, deadline_after, reacquire

__all__ = ["LinkIO"]

logger = logging.getLogger("reliable_ws")


DOZE = 0.001
"""Seconds after which the writer looks again, without being woken, while other threads write what
they send. To wake it for each of their writes would cost as much as the write."""


class LinkIO:
    """Moves bytes between a link and a transport; what happens goes to ``dispatch``.

    All methods but :meth:`read` are called with the lock held; it is free while they write.
    """

    __slots__ = (
        "_busy",
        "_change",
        "_close_timer",
        "_confirm_timer",
        "_contexts",
        "_dispatch",
        "_dozing",
        "_lock",
        "_principal",
        "_relieved",
        "_send_now",
        "_session",
        "_trace",
        "_transmit",
        "_unsent",
        "_writer",
        "after_write",
        "link",
        "over",
        "transport",
        "wanted",
    )

    def __init__(
        self,
        transport: SyncTransport,
        link: Link,
        session: Session,
        lock: threading.Lock,
        dispatch: Callable[[list[Event]], None],
        *,
        confirm_timer: ConfirmTimer,
        principal: Hashable = None,
        wire: WireTrace | None = None,
        hello: bytes | str | None = None,
        contexts: CallContexts | None = None,
    ) -> None:
        """``hello``: what has been read already, at the acceptor."""
        self.transport = transport
        self.link = link
        self._session = session
        self._principal = principal
        self._trace: Trace | None = None
        if wire is not None or logger.isEnabledFor(logging.DEBUG):
            self._trace = trace_of(session, principal, wire, time.monotonic)
        if self._trace is not None and hello is not None:
            self._trace("gets", hello)
        self._transmit: Callable[[float], bytes | None] = link.transmit
        self._contexts: CallContexts | None = None
        if contexts is not None:
            self.carry(contexts)
        self.over = False
        "Whether the transport is gone."
        self.after_write: Callable[[], None] | None = None
        "With a store: gives it what a write has changed. Requests may have been taken back."
        self._lock = lock
        self._dispatch = dispatch
        self._confirm_timer = confirm_timer
        # An EagerTransport, and a SyncPushTransport; isinstance() is slow with protocols.
        self._send_now: Callable[[bytes], bool] | None = getattr(transport, "send_now", None)
        push_to = getattr(transport, "push_to", None)
        self._change = Condition(lock)  # the writer waits for it, and callers that wait for the end
        self._writer: threading.Thread | None = None  # from the first time that it is needed
        self.wanted = False
        "Whether the writer shall look."
        self._dozing = False  # the writer sleeps, and looks soon without being woken
        self._relieved = False  # another thread has done its work since it looked
        self._busy = False  # a thread is writing, without the lock; no other may transmit
        self._unsent: bytes | None = None  # it found no room; goes before anything else
        self._close_timer: Timer | None = None  # aborts the transport; set once the link is over
        if push_to is not None:
            push_to(self._receive)

    def carry(self, contexts: CallContexts) -> None:
        """Carry the contexts of calls from now on, in both directions."""
        if contexts.sends:
            self._transmit = contexts.around(self.link.transmit)
        self._contexts = contexts

    @property
    def is_writing(self) -> bool:
        """Whether the transport had no room, and a write waits for some."""
        return self._busy or self._unsent is not None

    @property
    def _name(self) -> str:
        """The session, in log lines."""
        return name_of(self._session.id, self._principal)

    def _receive(self, data: bytes | str) -> None:
        if self._trace is not None:
            self._trace("gets", data)
        # Nearly no message has contexts. (`in` would raise inside first: bytes are no integer.)
        contexts = self._contexts
        if contexts is not None and not isinstance(data, str) and data.find(MARK) >= 0:
            contexts.look(data)
        timer = self._confirm_timer
        with self._lock:
            now = time.monotonic()
            events = self._session.receive(self.link, data, now)
            if timer.number:
                timer.look(now)
            self._dispatch(events)

    # ------------------------------------------------------------------ reading

    def read(self) -> None:
        """Read until the transport is gone. Never raises for what the peer did."""
        recv, receive = self.transport.recv, self._receive
        try:
            while True:
                receive(recv())
        except TransportClosed as end:
            self._lost(end.code, end.reason)
        except Exception:  # a transport's bug: use another
            logger.exception("%s: a transport failed", self._name)
            self.transport.abort()
            self._lost(None, "the transport failed")

    def _lost(self, code: int | None, reason: str) -> None:
        if self._trace is not None:
            self._trace.lost(code, reason)
        release(self.transport)
        with self._lock:
            self.over = True
            self._change.notify_all()
            if self._close_timer is not None:
                self._close_timer.cancel()
            self._dispatch(self._session.lost(self.link, code, reason, time.monotonic()))

    # ------------------------------------------------------------------ writing

    def wake(self) -> None:
        """Let the writer look soon: what is queued until then goes together."""
        if self.wanted or self.over:
            return
        self.wanted = True
        if not self._dozing:
            self._rouse()

    def _rouse(self) -> None:
        """Let the writer look now."""
        self.wanted = True
        if self._writer is None:
            self._writer = start(self._write)
        else:
            self._change.notify_all()

    def flush(self) -> None:
        """Write what is to be sent as far as there is room, the rest is for the writer."""
        may = self.link.has_output and not self._busy and self._unsent is None and not self.over
        if self._send_now is None:
            self.wake()
        elif may and not self._send_all(self._send_now):
            self._rouse()
        if self.link.close_action is not None and not self.link.held:
            self._close_if_over(self.link.close_action)

    def _send_all(self, send: Callable[[bytes], object]) -> bool:
        """Send until nothing is left. Return ``False`` if ``send`` did: there is no room."""
        lock, link = self._lock, self.link
        self._busy = True
        try:
            data, self._unsent = self._unsent or self._transmit(time.monotonic()), None
            while data is not None:
                if (now := time.monotonic()) >= self._confirm_timer.due:
                    self._confirm_timer.begin(now)
                try:
                    lock.release()  # in here: Ctrl-C may come as it returns
                    if self._trace is not None:
                        self._trace("sends", data)
                    sent = send(data)
                finally:
                    reacquire(lock)
                if sent is False:
                    self._unsent = data
                    return False
                data = self._transmit(time.monotonic()) if link.has_output else None
            # Nothing is left to be written: the writer has no work, unless it is to close.
            if self.wanted and link.close_action is None:
                self.wanted, self._relieved = False, True
            if self.after_write is not None:
                self.after_write()
        except TransportClosed:
            pass  # the reader learns it too, after what had arrived before
        except Exception:  # a transport's bug, and what it was given is lost: use another
            logger.exception("%s: a transport failed", self._name)
            self.transport.abort()
        except BaseException:  # Ctrl-C in the midst of a write, which is lost as well
            self.transport.abort()
            raise
        finally:
            self._busy = False
            if self.wanted:
                self._change.notify_all()  # the writer may have waited for us
        return True

    def _write(self) -> None:
        """Write whenever it is wanted, then close. The work of the writer's thread."""
        with self._lock:
            while not self.over:
                if self._busy or not self.wanted:
                    self._sleep()
                    continue
                self.wanted = self._relieved = False
                self._send_all(self.transport.send)
                if self.link.close_action is not None and not self.link.held:
                    break
            close_action = self.link.close_action
            if close_action is None:
                return
            linger, _limit = handshake_times(close_action.code)
            if self.wait_over(deadline_after(linger if close_action.linger else 0.0)):
                return
        try:
            self.transport.close(close_action.code, close_action.reason)
        except Exception:  # a transport's bug
            logger.exception("%s: a transport failed", self._name)
            self.transport.abort()

    def _sleep(self) -> None:
        """Wait until somebody may want the writer. For :data:`DOZE` where others do its work."""
        self._dozing = self._relieved
        self._relieved = False
        self._change.wait(DOZE if self._dozing else None)
        self._dozing = False

    # ------------------------------------------------------------------ the end

    def _close_if_over(self, close_action: CloseAction) -> None:
        """Close the transport once the link is over and has said its last word.

        There is a limit of our own: some libraries wait without end on a full buffer.
        """
        if self._close_timer is not None or self.over:
            return
        _linger, limit = handshake_times(close_action.code)
        self._close_timer = call_at(time.monotonic() + limit, self.transport.abort)
        if close_action.code == Code.SILENT:  # the peer would not answer a closing handshake
            self.transport.abort()
        elif not self.over:
            self._rouse()

    def wait_over(self, by: float) -> bool:
        """Return when the transport is gone; ``False`` if it is not by then, or in time."""
        left = min(by - time.monotonic(), CLOSE_TIMEOUT + 1.0)
        return self._change.wait_for(lambda: self.over, left)
