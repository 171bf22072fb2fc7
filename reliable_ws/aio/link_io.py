"""One transport that carries one link: reading, writing, closing.

Theory of operation. One task reads (:meth:`LinkIO.read`): it gives what arrives to the session, and
the events to ``dispatch``. With a transport that pushes, the library calls :meth:`LinkIO._receive`
itself, and the task waits for the end, and for what could not be pushed.

Writing has two ways. Usually :meth:`LinkIO.flush` writes in the task of the caller, with
``send_now``, as long as the transport has room. When it has none, ``flush`` starts a *writer*: a
task that awaits ``send``. While the writer runs, ``flush`` writes nothing, because bytes must go in
the order in which ``transmit`` returned them. The writer goes on until ``transmit`` returns
``None``, so nothing is left behind. Each of the two takes what it writes from the link at the last
moment: what was queued while the transport was full goes as one WebSocket message.

Closing begins when the link is over (``link.close_action``) and its last frame is written. It has
limits of its own, because some libraries wait without end. A write that fails needs no handling:
the reader learns of the end too, after what had arrived before, and only the reader tells the
session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Protocol

from reliable_ws.driver.call_contexts import CallContexts
from reliable_ws.driver.close_plan import handshake_times
from reliable_ws.driver.confirm_timer import ConfirmTimer
from reliable_ws.driver.ownership import release
from reliable_ws.driver.status import name_of
from reliable_ws.driver.tracing import Trace, trace_of
from reliable_ws.protocol.context import MARK
from reliable_ws.protocol.events import Event
from reliable_ws.protocol.frames import Code
from reliable_ws.protocol.link import CloseAction, Link
from reliable_ws.protocol.session import Session
from reliable_ws.transport import LONGEST_STEP, Transport, TransportClosed
from reliable_ws.wire_trace import WireTrace

from .waiters import Signal

__all__ = ["LinkIO"]

logger = logging.getLogger("reliable_ws")

WAITED = 0.001
"""Seconds after which a WebSocket message was waited for, and was not at hand."""


class Reader(Protocol):
    """Whose task reads."""

    def reads_on(self) -> bool:
        """Whether it goes on, now that it was cancelled."""
        raise NotImplementedError


class LinkIO:
    """Moves bytes between a link and a transport; what happens goes to ``dispatch``."""

    __slots__ = (
        "_clock",
        "_closer",
        "_confirm_timer",
        "_contexts",
        "_dispatch",
        "_is_closing",
        "_is_over",
        "_loop",
        "_over",
        "_principal",
        "_session",
        "_trace",
        "_transmit",
        "_writer",
        "link",
        "transport",
    )

    def __init__(
        self,
        transport: Transport,
        link: Link,
        session: Session,
        dispatch: Callable[[list[Event]], None],
        clock: Callable[[], float],
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
        self._dispatch = dispatch
        self._confirm_timer = confirm_timer
        self._loop = asyncio.get_running_loop()
        self._clock = clock
        self._trace: Trace | None = None
        if wire is not None or logger.isEnabledFor(logging.DEBUG):
            self._trace = trace_of(session, principal, wire, clock)
        if self._trace is not None and hello is not None:
            self._trace("gets", hello)
        self._transmit: Callable[[float], bytes | None] = link.transmit
        self._contexts: CallContexts | None = None
        if contexts is not None:
            self.carry(contexts)
        self._writer: asyncio.Task[None] | None = None  # while it runs, nobody else writes
        self._is_closing = False  # the link is over, and has said its last word
        # What closes the transport then: a timer while the peer may do it first.
        self._closer: asyncio.Task[None] | asyncio.TimerHandle | None = None
        self._is_over = False  # the transport is gone
        self._over: Signal | None = None  # set then, if somebody waits for that

    def carry(self, contexts: CallContexts) -> None:
        """Carry the contexts of calls from now on, in both directions."""
        if contexts.sends:
            self._transmit = contexts.around(self.link.transmit)
        self._contexts = contexts

    @property
    def is_writing(self) -> bool:
        """Whether the transport had no room, and a write waits for some."""
        return self._writer is not None

    @property
    def _name(self) -> str:
        """The session, in log lines."""
        return name_of(self._session.id, self._principal)

    async def read(self, reader: Reader) -> None:
        """Read until the transport is gone. Never raises for what the peer did.

        When it is cancelled (a framework ends its handler, or the event loop ends), ``reader`` is
        asked whether to read on, until the transport is gone. Else the transport is dropped.
        """
        # As long as everything is pushed, this is all that waits. So it is small: a connection may
        # be idle for long, and a server has many.
        error: BaseException | None = None
        try:
            if (pushed := self._let_push()) is not None:
                await pushed
        except BaseException as raised:  # noqa: BLE001 - it is raised again
            error = raised
        await self._read_rest(reader, error)

    async def _read_rest(self, reader: Reader, error: BaseException | None) -> None:
        """Read what is not pushed, and the end. ``error``: what ended the wait for that."""
        transport = self.transport
        cancelled: asyncio.CancelledError | None = None
        by = self._clock() + LONGEST_STEP
        try:
            while True:
                try:
                    if error is not None:
                        raised, error = error, None
                        raise raised
                    asked = self._clock()
                    data = await transport.recv()
                    if (now := self._clock()) > asked + WAITED:  # then others have run
                        by = now + LONGEST_STEP
                    self._receive(data)
                    if now >= by:  # the library has many at hand
                        await asyncio.sleep(0)
                        by = self._clock() + LONGEST_STEP
                except asyncio.CancelledError as cancellation:
                    if not reader.reads_on():
                        raise
                    cancelled = cancellation
        except TransportClosed as end:
            self._lost(end.code, end.reason)
            if cancelled is not None:
                raise cancelled from None
        except BaseException:
            transport.abort()
            self._lost(None, "the reader was stopped")
            raise
        finally:
            release(transport)
            self._is_over = True
            if self._over is not None:
                self._over.set()
            for task in (self._writer, self._closer):
                if task is not None:
                    task.cancel()

    def _let_push(self) -> Awaitable[None] | None:
        """Have the transport push what arrives, if it can; return until when nothing else comes."""
        # A PushTransport; isinstance() is slow with protocols.
        push_to = getattr(self.transport, "push_to", None)
        return None if push_to is None else push_to(self._receive)

    def _receive(self, data: bytes | str) -> None:
        if self._trace is not None:
            self._trace("gets", data)
        # Nearly no message has contexts. (`in` would raise inside first: bytes are no integer.)
        contexts = self._contexts
        if contexts is not None and not isinstance(data, str) and data.find(MARK) >= 0:
            contexts.look(data)
        # Python 3.11 calls what is in a local variable faster.
        clock, dispatch, timer = self._clock, self._dispatch, self._confirm_timer
        now = clock()
        events = self._session.receive(self.link, data, now)
        if timer.number:
            timer.look(now)
        dispatch(events)

    def _lost(self, code: int | None, reason: str) -> None:
        if self._trace is not None:
            self._trace.lost(code, reason)
        self._dispatch(self._session.lost(self.link, code, reason, self._clock()))

    def flush(self) -> None:
        """Send what is to be sent, as far as the transport has room; never waits."""
        # The writer takes what there is.
        if self._writer is not None:
            self._close_if_over()
            return
        # Write as long as there is room. If there is none, a writer goes on.
        transmit, send_now, clock = self._transmit, self.transport.send_now, self._clock
        trace, now = self._trace, clock()
        try:
            while (data := transmit(now)) is not None:
                if trace is not None:
                    trace("sends", data)
                if not send_now(data):
                    writer = self._loop.create_task(self._write(data))
                    if not writer.done():  # an eager one may be
                        self._writer = writer
                    return
                if self.link.at_end:
                    break
        except TransportClosed:
            return  # the reader learns it too, after what had arrived before
        except Exception as error:  # noqa: BLE001 - a transport's bug
            self._give_up(error)
            return
        timer = self._confirm_timer
        if now >= timer.due and timer.outbox.confirmed < timer.outbox.transmitted:
            timer.begin(now)
        # The last frame is written: close.
        if self.link.close_action is not None:
            self._close_if_over()

    async def _write(self, data: bytes | None) -> None:
        """Send with waiting, until there is room again."""
        try:
            while data is not None:
                if (now := self._clock()) >= self._confirm_timer.due:
                    self._confirm_timer.begin(now)
                await self.transport.send(data)
                data = self._transmit(self._clock())
                if data is not None and self._trace is not None:
                    self._trace("sends", data)
        except TransportClosed:
            return
        except asyncio.CancelledError:  # the event loop ends: what of it was written is not known
            self.transport.abort()
            raise
        except Exception as error:  # noqa: BLE001 - a transport's bug
            self._give_up(error)
            return
        finally:
            self._writer = None
        self._close_if_over()

    def _give_up(self, error: Exception) -> None:
        """Drop a transport that raised what it may not: what it was given is lost."""
        logger.error("%s: a transport failed", self._name, exc_info=error)
        self.transport.abort()

    def _close_if_over(self) -> None:
        """Close the transport once the link is over and has said its last word."""
        close_action = self.link.close_action
        if close_action is None or self.link.held or self._is_closing or self._is_over:
            return
        self._is_closing = True
        if close_action.code == Code.SILENT:  # the peer would not answer a closing handshake
            self.transport.abort()
            return
        linger, _limit = handshake_times(close_action.code)
        if not close_action.linger:
            self._begin_close(close_action, 0.0)
        elif self._writer is not None:
            self._begin_close(close_action, linger)
        else:  # mostly the peer closes first, and no task is needed
            self._closer = self._loop.call_later(linger, self._begin_close, close_action, 0.0)

    def _begin_close(self, close_action: CloseAction, linger: float) -> None:
        # A SelfClosingTransport; isinstance() is slow with protocols.
        begin = getattr(self.transport, "begin_close", None)
        if begin is None or self._writer is not None:
            self._closer = self._loop.create_task(self._close(close_action, linger))
            return
        _linger, limit = handshake_times(close_action.code)
        begin(close_action.code, close_action.reason, limit)

    async def _close(self, close_action: CloseAction, linger: float) -> None:
        """Close within limits of our own: some libraries wait without end on a full buffer."""
        _linger, limit = handshake_times(close_action.code)
        try:
            async with asyncio.timeout(limit):
                if self._writer is not None:
                    await asyncio.wait((self._writer,))
                if linger:
                    await asyncio.sleep(linger)
                await self.transport.close(close_action.code, close_action.reason)
        except TimeoutError:
            self.transport.abort()
        except Exception as error:  # noqa: BLE001 - a transport's bug
            self._give_up(error)

    async def closed(self, by: float) -> None:
        """Return when the transport is gone; drop it if it is not by then."""
        if self._is_over:
            return
        over = self._over = self._over or Signal()
        timer = self._loop.call_at(by, self._drop)  # less than asyncio.timeout()
        try:
            await over.wait()
        finally:
            timer.cancel()

    def _drop(self) -> None:
        """Drop the transport, and wait no more."""
        self.transport.abort()
        if self._over is not None:
            self._over.set()

    def abort(self) -> None:
        """Drop the transport at once."""
        self.transport.abort()
