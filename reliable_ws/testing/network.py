"""A network in memory: clients and a server in one process, no sockets, faults at will.

``network.connect`` and ``network.serve`` are the namesakes of the library, over WebSockets that
never leave the process. They take the same arguments, so that an application can be given them in
place of the real ones::

    network = Network()
    async with network.serve(handler), network.connect() as conn:
        await conn.send("hello")
        network.cut()  # the client opens another WebSocket, and the session goes on
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from reliable_ws.aio.connect import connect
from reliable_ws.aio.serve import serve
from reliable_ws.aio.sessions import Handler

from .plan import Fault, FaultName, FaultPlan, Schedule, Side, Strike
from .processes import Client, Listener, Service
from .wire import Conditions, Dialer, End, Wire

__all__ = ["Network"]


class Network:
    """Carries WebSockets from its clients to its one server; see the module.

    The commands are those of :class:`~reliable_ws.testing.ChaosProxy`, and two that kill. They act
    at once on all WebSockets that are live, and return how many those were. A message has arrived
    when its ``send`` returns, unless ``delay()``, ``throttle()`` or ``stall()`` hold it back; what
    is held back when a WebSocket breaks is lost.

    ``plan`` says where faults strike by themselves: a list of :class:`Strike`, or a
    :class:`FaultPlan`. ``on_fault`` is called with each :class:`Fault`.

    ``connections`` counts the WebSockets opened, ``refused`` those turned away, ``faults`` the
    faults by name, ``struck`` how often the plan struck, ``messages`` the WebSocket messages by
    who sent them (``"client"``, ``"server"``).
    """

    def __init__(
        self,
        *,
        plan: Sequence[Strike] | FaultPlan | None = None,
        on_fault: Callable[[Fault], object] | None = None,
    ) -> None:
        self.connections = 0
        self.refused = 0
        self.faults: Counter[FaultName] = Counter()
        self.struck = 0
        self._conditions = Conditions(self._carry_out, self._forget, Schedule(plan))
        self.messages = self._conditions.messages
        self._on_fault = on_fault
        self._refusing = False
        self._wires: dict[int, Wire] = {}
        self._clients: list[Client] = []
        self._listener: Listener | None = None

    # ------------------------------------------------------------------ the two sides

    def connect(self, uri: str = "ws://in.memory", **options: Any) -> connect:
        """Open a session with the server: as :func:`reliable_ws.connect`, with its arguments.

        What concerns sockets (where to, headers, certificates) is taken and has no effect. Raises
        ``ConnectionRefusedError`` when there is no server, or none to be reached.
        """
        client = Client(self._dial, uri, **options)
        self._clients.append(client)
        return client

    def serve(
        self,
        handler: Handler,
        host: str | None = None,
        port: int | None = None,
        **options: Any,
    ) -> serve:
        """Serve sessions: as :func:`reliable_ws.serve`, with its arguments but for ``sessions=``.

        A network has one server at a time: starting another raises ``RuntimeError``.
        """
        if "sessions" in options:
            raise TypeError("sessions= is not taken: they die with the server, see kill_server()")
        return Service(handler, host, port, begin=self._listen, end=self._unlisten, **options)

    # ------------------------------------------------------------------ faults

    @property
    def plan(self) -> Sequence[Strike] | FaultPlan | None:
        """May be set, from then on: all counts begin anew. ``None`` is for no faults."""
        return self._conditions.schedule.plan

    @plan.setter
    def plan(self, plan: Sequence[Strike] | FaultPlan | None) -> None:
        self._conditions.schedule = Schedule(plan)

    @property
    def live(self) -> int:
        """How many WebSockets the commands would act on."""
        return len(self._live())

    def cut(self) -> int:
        """Break all WebSockets; what has arrived can still be read."""
        return self._strike_all("cut")

    def reset(self) -> int:
        """Break all WebSockets; what has arrived and was not read is lost as well."""
        return self._strike_all("reset")

    def half_open(self, *, keep: Side = "client") -> int:
        """Break all WebSockets for one side; the other keeps one that is silent for ever."""
        return self._strike_all("half_open", keep)

    def stall(self) -> int:
        """Hold everything back in both directions, until :meth:`resume`."""
        return self._strike_all("stall")

    def resume(self) -> None:
        """End all stalls; what was held back arrives."""
        for wire in list(self._wires.values()):
            wire.resume()

    def refuse(self) -> None:
        """Turn new WebSockets away."""
        self._refusing = True

    def accept(self) -> None:
        """Let new WebSockets in again."""
        self._refusing = False

    def throttle(self, bytes_per_second: float | None, *, to: Side | None = None) -> None:
        """Bound what each WebSocket carries to one side, or to both: that side reads slowly.

        Its peer's ``send()`` then waits once the limits of the outbox are reached. ``None`` lifts
        the bound.
        """
        self._conditions.rates.bound(bytes_per_second, to)
        for wire in list(self._wires.values()):
            for end in wire.ends:
                end.start_anew()

    def delay(self, seconds: float) -> None:
        """Deliver what comes from now on this much later: each way, so a round trip pays twice."""
        if seconds < 0:
            raise ValueError("nothing arrives before it was sent")
        self._conditions.delay = seconds

    def kill_server(self) -> int:
        """Let the server's process die, and another take its place with nothing in memory.

        WebSockets break, nothing is said, handlers are cancelled where they stand. To keep the
        new one out of reach for a while, ``refuse()`` first. Clients are told that the session is
        unknown: ``SessionLost``, and a report in which what was not confirmed is *not taken* or
        *unknown*. Returns how many sessions died.
        """
        return self._kill_server()

    def kill_client(self) -> int:
        """Let the process of every client die: WebSockets break, nothing is said, nobody returns.

        Their connections here can only be looked at: ``report`` says what they knew. The server
        keeps their sessions for ``session_ttl`` and then reports them as lost. Returns how many
        sessions died.
        """
        return sum(self._kill_client(client) for client in self._clients)

    def heal(self) -> None:
        """Undo everything: no plan, no refusal, no stall, no bound, no delay; what broke is broken.

        Half-open WebSockets are over for the other side as well.
        """
        self.plan = None
        self.accept()
        self.delay(0)
        self.throttle(None)
        self.resume()
        for wire in list(self._wires.values()):
            if not wire.live:
                wire.client.cut()

    # ------------------------------------------------------------------ what wires and sides ask

    async def _dial(self, dialer: Client) -> End:
        """Open a WebSocket to the server."""
        if self._conditions.delay:
            await asyncio.sleep(2 * self._conditions.delay)
        if self._refusing or self._listener is None:
            self.refused += 1
            raise ConnectionRefusedError("nobody listens in this network, or it refuses")
        self.connections += 1
        wire = self._wires[self.connections] = Wire(self._conditions, self.connections, dialer)
        self._listener.accept(wire.server)
        return wire.client

    def _listen(self, listener: Listener) -> None:
        """Let a server accept what is opened from now on."""
        if self._listener is not None:
            raise RuntimeError("this network has a server already")
        self._listener = listener

    def _unlisten(self) -> list[Wire]:
        """Let nobody do so; return the WebSockets that there are."""
        self._listener = None
        return list(self._wires.values())

    def _forget(self, wire: Wire) -> None:
        """Both ends of it are over."""
        self._wires.pop(wire.number, None)

    def _carry_out(self, wire: Wire, strike: Strike) -> None:
        """Let what is planned happen."""
        self.struck += 1
        if strike.fault == "kill_server":
            self._kill_server(wire)
        elif strike.fault == "kill_client":
            self._kill_client(wire.dialer, wire)
        else:
            self._strike(wire, strike.fault, strike.keep, strike.seconds, planned=True)
        if strike.seconds is not None and strike.fault != "stall":
            self.refuse()
            asyncio.get_running_loop().call_later(strike.seconds, self.accept)

    # ------------------------------------------------------------------ inside

    def _live(self) -> list[Wire]:
        return [wire for wire in self._wires.values() if wire.live]

    def _strike_all(self, fault: FaultName, keep: Side = "client") -> int:
        wires = self._live()
        for wire in wires:
            self._strike(wire, fault, keep)
        return len(wires)

    def _strike(
        self,
        wire: Wire,
        fault: FaultName,
        keep: Side = "client",
        seconds: float | None = None,
        *,
        planned: bool = False,
    ) -> None:
        if wire.live:
            wire.strike(fault, keep, seconds)
            self._note(Fault(fault, wire.number, wire.carried, planned))

    def _kill_server(self, by: Wire | None = None) -> int:
        if self._listener is None:
            return 0
        died = self._listener.die()
        self._break(self._live())
        self._note_kill("kill_server", by)
        return died

    def _kill_client(self, client: Dialer, by: Wire | None = None) -> bool:
        died = client.die()
        self._break([wire for wire in self._live() if wire.dialer is client])
        if died:
            self._note_kill("kill_client", by)
        return died

    @staticmethod
    def _break(wires: list[Wire]) -> None:
        for wire in wires:
            wire.strike("cut", "client", None)

    def _note_kill(self, fault: FaultName, by: Wire | None) -> None:
        number, carried = (by.number, by.carried) if by is not None else (0, 0)
        self._note(Fault(fault, number, carried, by is not None))

    def _note(self, fault: Fault) -> None:
        self.faults[fault.name] += 1
        if self._on_fault is not None:
            asyncio.get_running_loop().call_soon(self._on_fault, fault)
