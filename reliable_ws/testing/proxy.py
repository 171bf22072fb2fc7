"""A TCP proxy that breaks connections, on command and by plan.

It stands between a client and a server and knows nothing of WebSockets: it works below every
library, and cuts where it likes, in the middle of a frame too::

    async with ChaosProxy("127.0.0.1", server_port, plan=FaultPlan(seed=7)) as proxy:
        async with reliable_ws.connect(proxy.uri("/feed")) as conn:
            ...
            proxy.reset()

What is in flight is bounded in both directions: a receiver that does not read stops its sender.
It runs on every event loop with sockets: those of asyncio, the proactor of Windows too, and uvloop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

from .plan import Fault, FaultName, FaultPlan, Side
from .relay import Conditions, Ending, Relay, finish_sending, reset

__all__ = ["ChaosProxy"]

_KEPT_HALF_OPEN = 64


class ChaosProxy:
    """Carries TCP connections to ``target_host:target_port``, and breaks them.

    Use it with ``async with``. A command acts on all connections that are live at that moment, and
    returns how many it acted on. It takes effect within the next turns of the event loop. Bytes
    that the proxy holds when a connection breaks are lost, as in a real network.

    Args:
        target_host: Where the server is.
        target_port: Its port.
        plan: Where faults strike by themselves. It counts bytes.
        on_fault: Called with each :class:`Fault`.
        port: Where the proxy listens. With 0 the system chooses.

    Attributes:
        port: Where the proxy listens. With 0, it is known once the block is entered.
        connections: How many connections were accepted.
        refused: How many were turned away, by :meth:`refuse` or because the target was not
            reachable. Those that come while nothing listens are not seen, and not counted.
        faults: How many faults there were, by name.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        target_host: str,
        target_port: int,
        *,
        plan: FaultPlan | None = None,
        on_fault: Callable[[Fault], object] | None = None,
        port: int = 0,
    ) -> None:
        self.target = (target_host, target_port)
        self.port = port
        "Where it listens; with 0, known once the block is entered."
        self.connections = 0
        self.refused = 0
        self.faults: Counter[FaultName] = Counter()
        self._on_fault = on_fault
        self._refusing = False
        self._listening = False
        self._accepting: asyncio.Task[None] | None = None
        self._leaving = False
        self._conditions = Conditions(None, self._struck)
        self.plan = plan
        self._live: dict[int, Relay] = {}
        self._half_open: deque[socket.socket] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        """Where it listens, where the server is, and how many connections live."""
        host, port = self.target
        return f"<ChaosProxy {self.host}:{self.port} to {host}:{port}, {self.live} live>"

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._listener = self._bind()
        self.port = self._listener.getsockname()[1]
        self._listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leaving = True
        if self._listening:
            self._stop_listening()
        self._listener.close()
        if self._accepting is not None:
            await asyncio.gather(self._accepting, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            while self._half_open:
                self._half_open.pop().close()

    def uri(self, path: str = "/") -> str:
        """Return the address for clients."""
        return f"ws://{self.host}:{self.port}{path}"

    @property
    def plan(self) -> FaultPlan | None:
        """The plan of faults, for connections that are made from now on. The old plan ends at once.

        Raises:
            TypeError: The plan is no :class:`FaultPlan`. A proxy sees bytes and no messages.
        """
        return self._conditions.plan

    @plan.setter
    def plan(self, plan: FaultPlan | None) -> None:
        if plan is not None and not isinstance(plan, FaultPlan):
            raise TypeError("a ChaosProxy sees no messages: its plan is a FaultPlan")
        self._conditions.plan = plan

    @property
    def live(self) -> int:
        """How many connections a command would act on."""
        return sum(not relay.ended for relay in self._live.values())

    def cut(self) -> int:
        """End the connections in order: FIN to both sides."""
        return self._strike_all("cut")

    def reset(self) -> int:
        """Break the connections: RST to both sides."""
        return self._strike_all("reset")

    def half_open(self, *, keep: Side = "client") -> int:
        """Reset one side. The side ``keep`` keeps an open socket that nothing reads or answers.

        The last 64 of these sockets stay open until the block is left.
        """
        return self._strike_all("half_open", keep)

    def stall(self) -> int:
        """Hold back all bytes in both directions, with all sockets open, until :meth:`resume`."""
        return self._strike_all("stall")

    def resume(self) -> None:
        """End all stalls."""
        for relay in self._live.values():
            relay.resume()

    def refuse(self, *, listening: bool = True) -> None:
        """Turn new connections away, until :meth:`accept`.

        They are accepted and reset at once. With ``listening=False`` nothing listens at the port,
        as when the server's process has ended: clients get ``ConnectionRefusedError``.
        """
        self._refusing = True
        if self._listening and not listening:
            self._stop_listening()
            self._listener.close()
            self._listener = self._bind()

    def accept(self) -> None:
        """Let new connections in again, at the same port."""
        self._refusing = False
        if not self._listening:
            self._listen()

    def throttle(self, bytes_per_second: float | None, *, to: Side | None = None) -> None:
        """Limit what each connection carries to one side, or to both, in bytes per second.

        ``None``: no limit.
        """
        self._conditions.rates.bound(bytes_per_second, to)

    def delay(self, seconds: float) -> None:
        """Deliver everything that is sent from now on ``seconds`` later, in each direction.

        Raises:
            ValueError: ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError(f"delay() takes no negative seconds, but this is {seconds}")
        self._conditions.delay = seconds

    def _bind(self) -> socket.socket:
        """Return a socket that has the port, and does not listen yet."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if os.name == "posix":  # elsewhere it would let others take the port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.settimeout(0)
            listener.bind((self.host, self.port))
        except BaseException:
            listener.close()
            raise
        return listener

    def _listen(self) -> None:
        self._listener.listen(1024)
        self._listening = True
        try:
            self._loop.add_reader(self._listener, self._accept)
        except NotImplementedError:  # the proactor has none, but can accept
            self._accepting = self._loop.create_task(self._accept_each())

    def _stop_listening(self) -> None:
        self._listening = False
        if self._accepting is None:
            self._loop.remove_reader(self._listener)
        else:
            self._accepting.cancel()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            self._take(client)

    async def _accept_each(self) -> None:
        while True:
            with contextlib.suppress(ConnectionAbortedError):
                client, _ = await self._loop.sock_accept(self._listener)
                self._take(client)

    def _take(self, client: socket.socket) -> None:
        if self._refusing:
            self.refused += 1
            reset(client)
            return
        self.connections += 1
        task = self._loop.create_task(self._connect(client, self.connections))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, client))

    async def _connect(self, client: socket.socket, number: int) -> None:
        family = socket.AF_INET6 if ":" in self.target[0] else socket.AF_INET
        with client, socket.socket(family, socket.SOCK_STREAM) as server:
            for side in (client, server):
                side.settimeout(0)
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                await self._loop.sock_connect(server, self.target)
            except OSError:
                self.refused += 1
                reset(client)
                return
            relay = self._live[number] = Relay(self._conditions, number, client, server)
            try:
                ending = await relay.carry()
            finally:
                relay.resume()
                del self._live[number]
            if not self._leaving:
                await self._finish(ending, client, server)

    async def _finish(self, ending: Ending, client: socket.socket, server: socket.socket) -> None:
        match ending.how:
            case "over":
                pass
            case "cut":
                await asyncio.gather(finish_sending(client), finish_sending(server))
            case "half_open":
                kept, broken = (client, server) if ending.keep == "client" else (server, client)
                reset(broken)
                self._half_open.append(socket.socket(fileno=kept.detach()))
                if len(self._half_open) > _KEPT_HALF_OPEN:
                    self._half_open.popleft().close()
            case _:
                reset(client)
                reset(server)

    def _ended(self, client: socket.socket, task: asyncio.Task[None]) -> None:
        client.close()  # the task may have been cancelled before it began
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            message = "a connection of a ChaosProxy failed"
            self._loop.call_exception_handler({"message": message, "exception": error})

    def _strike_all(self, name: FaultName, keep: Side = "client") -> int:
        return sum(relay.strike(name, keep) for relay in self._live.values())

    def _struck(self, fault: Fault) -> None:
        self.faults[fault.name] += 1
        if self._on_fault is not None:
            self._loop.call_soon(self._on_fault, fault)
