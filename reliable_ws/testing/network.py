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
    """Carries WebSockets in memory from its clients to its one server, and breaks them.

    The commands are those of :class:`~reliable_ws.testing.ChaosProxy`, and three for processes.
    A command acts at once on all live WebSockets, and returns how many it acted on. A message has
    arrived when its ``send`` returns, unless ``delay()``, ``throttle()`` or ``stall()`` hold it
    back. A message that is held back when its WebSocket breaks is lost.

    Args:
        plan: Where faults strike by themselves: a list of :class:`Strike`, or a :class:`FaultPlan`.
        on_fault: Called with each :class:`Fault`.

    Attributes:
        connections: How many WebSockets were opened.
        refused: How many WebSockets were turned away.
        faults: How many faults there were, by name.
        struck: How often the plan struck.
        messages: How many WebSocket messages were sent, by sender (``"client"``, ``"server"``).
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

        Arguments that concern sockets (URI, headers, certificates) are accepted and have no effect.

        Raises:
            ConnectionRefusedError: There is no server, or the network refuses.
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
        """Serve sessions: as :func:`reliable_ws.serve`, with its arguments but ``sessions=``.

        Raises:
            RuntimeError: The network has a server already.
            TypeError: ``sessions=`` was given. Sessions die with the server: see
                :meth:`kill_server`.
        """
        if "sessions" in options:
            raise TypeError("sessions= is not taken: they die with the server, see kill_server()")
        return Service(handler, host, port, begin=self._listen, end=self._unlisten, **options)

    # ------------------------------------------------------------------ faults

    @property
    def plan(self) -> Sequence[Strike] | FaultPlan | None:
        """The plan of faults. Setting it restarts all counts. ``None`` means no faults."""
        return self._conditions.schedule.plan

    @plan.setter
    def plan(self, plan: Sequence[Strike] | FaultPlan | None) -> None:
        self._conditions.schedule = Schedule(plan)

    @property
    def live(self) -> int:
        """How many WebSockets a command would act on."""
        return len(self._live())

    def cut(self) -> int:
        """Break all WebSockets. What has arrived can still be read."""
        return self._strike_all("cut")

    def reset(self) -> int:
        """Break all WebSockets. What has arrived and was not read is lost too."""
        return self._strike_all("reset")

    def half_open(self, *, keep: Side = "client") -> int:
        """Break all WebSockets for one side.

        The side ``keep`` keeps a WebSocket that stays silent.
        """
        return self._strike_all("half_open", keep)

    def stall(self) -> int:
        """Hold back everything in both directions until :meth:`resume`."""
        return self._strike_all("stall")

    def resume(self) -> None:
        """End all stalls. What was held back arrives."""
        for wire in list(self._wires.values()):
            wire.resume()

    def refuse(self) -> None:
        """Turn new WebSockets away."""
        self._refusing = True

    def accept(self) -> None:
        """Let new WebSockets in again."""
        self._refusing = False

    def throttle(self, bytes_per_second: float | None, *, to: Side | None = None) -> None:
        """Limit what each WebSocket carries to one side, or to both, in bytes per second.

        That side reads slowly. Its peer's ``send()`` waits once the limits of the outbox are
        reached. ``None`` removes the limit.
        """
        self._conditions.rates.bound(bytes_per_second, to)
        for wire in list(self._wires.values()):
            for end in wire.ends:
                end.start_anew()

    def delay(self, seconds: float) -> None:
        """Deliver everything that is sent from now on ``seconds`` later, in each direction.

        Raises:
            ValueError: ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError(f"delay() takes no negative seconds, but this is {seconds}")
        self._conditions.delay = seconds

    def kill_server(self) -> int:
        """Kill the server's process. Another one takes its place, with nothing in memory.

        WebSockets break without a close frame, and handlers are cancelled where they stand. Clients
        learn that their session is unknown: they get ``SessionLost`` and a report in which
        unconfirmed messages are *not taken* or *unknown*. To keep the new server out of reach for a
        while, call ``refuse()`` first. Returns how many sessions died.
        """
        return self._kill_server()

    def drain(self) -> int:
        """Let the server drain, as for a deploy. New WebSockets go to another process.

        The old process tells its clients Finish with code 1001, and ends as
        :meth:`reliable_ws.Sessions.drain` says, within the ``drain_timeout`` of the server. The new
        process has nothing in memory: a client whose WebSocket breaks while the old one drains
        finds its session unknown. To let the new process start later, call ``refuse()`` first.
        Returns how many sessions are drained.
        """
        return self._drain()

    def kill_client(self) -> int:
        """Kill the process of every client. WebSockets break without a close frame.

        You can only look at the killed connections: ``report`` says what they knew. The server
        keeps their sessions for ``session_ttl`` and then reports them as lost. Returns how many
        sessions died.
        """
        return sum(self._kill_client(client) for client in self._clients)

    def heal(self) -> None:
        """Remove the plan, refusal, stalls, limits and delay. Broken WebSockets stay broken.

        Half-open WebSockets end for the other side too.
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
            raise ConnectionRefusedError(
                "nothing listens in this network (serve() does), or it refuses until accept()"
            )
        self.connections += 1
        wire = self._wires[self.connections] = Wire(self._conditions, self.connections, dialer)
        self._listener.accept(wire.server)
        return wire.client

    def _listen(self, listener: Listener) -> None:
        """Let a server accept what is opened from now on."""
        if self._listener is not None:
            raise RuntimeError(
                "this network has a server already: leave its block first, or make another Network"
            )
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
        elif strike.fault == "drain":
            self._drain(wire)
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
        self._note_process("kill_server", by)
        return died

    def _drain(self, by: Wire | None = None) -> int:
        if self._listener is None:
            return 0
        count = self._listener.drain()
        self._note_process("drain", by)
        return count

    def _kill_client(self, client: Dialer, by: Wire | None = None) -> bool:
        died = client.die()
        self._break([wire for wire in self._live() if wire.dialer is client])
        if died:
            self._note_process("kill_client", by)
        return died

    @staticmethod
    def _break(wires: list[Wire]) -> None:
        for wire in wires:
            wire.strike("cut", "client", None)

    def _note_process(self, fault: FaultName, by: Wire | None) -> None:
        number, carried = (by.number, by.carried) if by is not None else (0, 0)
        self._note(Fault(fault, number, carried, by is not None))

    def _note(self, fault: Fault) -> None:
        self.faults[fault.name] += 1
        if self._on_fault is not None:
            asyncio.get_running_loop().call_soon(self._on_fault, fault)
