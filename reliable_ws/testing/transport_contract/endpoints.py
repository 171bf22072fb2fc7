"""What the servers of the contract run: an endpoint for bare WebSockets, others for sessions.

They are told by their peer what to do, so that they can live in any process: a server that has
an event loop of its own kind is started as a program, and nothing is shared with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, cast

from reliable_ws.adapters import adapt
from reliable_ws.aio.connection import Connection
from reliable_ws.aio.sessions import Sessions
from reliable_ws.driver.methods import Methods
from reliable_ws.protocol.config import Config
from reliable_ws.protocol.errors import ConnectionClosed
from reliable_ws.transport import Transport, TransportClosed

__all__ = [
    "BOAST",
    "BOASTED",
    "BRIEF",
    "RAW",
    "SESSION",
    "Endpoints",
    "RawEndpoint",
    "SessionEndpoint",
]

RAW, SESSION, BRIEF, BOAST = "/raw", "/session", "/brief", "/boast"
"""The paths at which a server offers the endpoints."""

BRIEF_TTL = 0.5
"""Seconds that a session of the brief endpoint outlives contact with its peer."""

BOASTED = 64 * 1024 * 1024
"""The largest message that a boasting transport says it takes, which it does not."""


Endpoint = Callable[[Any], Awaitable[None]]


class Endpoints:
    """The endpoints of one server process.

    Give every WebSocket that arrives at a path of :attr:`paths` to the endpoint there,
    ``await endpoint(websocket)``: the library's own object, accepted, with the subprotocol
    ``reliable-ws.v1`` selected where it is offered.
    """

    def __init__(self) -> None:
        self.raw = RawEndpoint()
        self.session = SessionEndpoint()
        self.brief = SessionEndpoint(session_ttl=BRIEF_TTL)
        self.boast = SessionEndpoint(max_frame=BOASTED)

    @property
    def paths(self) -> dict[str, Endpoint]:
        """Path -> endpoint."""
        return {RAW: self.raw, SESSION: self.session, BRIEF: self.brief, BOAST: self.boast}

    async def drain(self) -> list[str]:
        """End every session gracefully; return one line for each."""
        reports = await self.session.sessions.drain(timeout=5.0)
        return [str(report) for report in reports.values()]


class RawEndpoint:
    """Does with a bare transport what its first message says (JSON, as bytes)."""

    def __init__(self) -> None:
        self.logs: defaultdict[str, list[list[Any]]] = defaultdict(list)
        "What came on the WebSockets that were told to log, by the name given."
        self._events: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def __call__(self, websocket: Any) -> None:
        """Serve one WebSocket."""
        transport = adapt(websocket)
        try:
            command: dict[str, Any] = json.loads(await transport.recv())
            await getattr(self, f"do_{command.pop('do')}")(transport, **command)
        except TransportClosed:
            pass
        finally:
            await transport.close()

    async def do_echo(self, transport: Transport) -> None:
        """Send back what comes, as bytes, with its kind in front of it."""
        while True:
            message = await transport.recv()
            if isinstance(message, str):
                await transport.send(b"text:" + message.encode())
            else:
                await transport.send(b"bytes:" + message)

    async def do_log(self, transport: Transport, name: str, *, hold: bool = False) -> None:
        """Keep what comes, and what is said after the end; begin when told to if ``hold``."""
        await transport.send(b"ready")
        log = self.logs[name]
        try:
            if hold:
                await self._events[f"release {name}"].wait()
            while True:
                message = await transport.recv()
                log.append([type(message).__name__, _text(message)])
        except TransportClosed as end:
            log.append(["end", end.code, end.reason])
        except asyncio.CancelledError:
            log.append(["cancelled", None, ""])
            transport.abort()
        log.append(["recv", await _outcome(transport.recv())])
        log.append(["send", await _outcome(transport.send(b"late"))])
        await transport.close(4001, "late")
        transport.abort()
        self._events[f"ended {name}"].set()

    async def do_release(self, transport: Transport, name: str) -> None:
        """Let a log that was held begin."""
        self._events[f"release {name}"].set()
        await transport.send(b"released")

    async def do_show(self, transport: Transport, name: str) -> None:
        """Send a log once its WebSocket has ended."""
        await self._events[f"ended {name}"].wait()
        await transport.send(json.dumps(self.logs[name]).encode())

    async def do_close(self, transport: Transport, code: int, reason: str) -> None:
        """Close, again and again."""
        await transport.send(b"last words")
        await asyncio.gather(*(transport.close(code, reason) for _ in range(3)))
        transport.abort()

    async def do_abort(self, transport: Transport) -> None:
        """Drop the connection; what is done after that is in the log "abort"."""
        transport.abort()
        self.logs["abort"] = [
            ["send", await _outcome(transport.send(b"late"))],
            ["recv", await _outcome(_receive_all(transport))],
        ]
        self._events["ended abort"].set()

    async def do_size(self, transport: Transport, size: int) -> None:
        """Send one message of this size, and the size of the one that comes."""
        await transport.send(b"x" * size)
        await transport.send(str(len(await transport.recv())).encode())
        await _receive_all(transport)


class SessionEndpoint:
    """Runs one handler per session; what it does is told by the session's first message.

    ``"echo"``: send back what comes. ``"hold"``: take nothing before the request ``release``,
    then take everything, and send how many those were. ``["burst", count, size]``: send so many
    messages and return. ``["flood", count, size]``: the same, and wait for the peer to finish.
    ``["large", size]``: send one message of bytes and return.
    ``limits`` are those of :class:`~reliable_ws.Config`; a transport announces ``max_frame``, too.
    """

    def __init__(self, **limits: Any) -> None:
        self._boasted: int | None = limits.get("max_frame")
        config = Config(**limits)
        methods = Methods()
        for function in (self.runs, self.resumes, self.outbox, self.ended, self.release):
            methods.register(function)
        methods.register(self.cancel_endpoints)
        self.sessions = Sessions(methods=methods, config=config)
        self._runs: Counter[bytes] = Counter()
        self._released: defaultdict[bytes, asyncio.Event] = defaultdict(asyncio.Event)
        self._ended: defaultdict[str, asyncio.Future[str]] = defaultdict(asyncio.Future)
        self._endpoints: set[asyncio.Task[Any]] = set()

    async def __call__(self, websocket: Any) -> None:
        """Serve one WebSocket."""
        task = asyncio.current_task()
        assert task is not None
        self._endpoints.add(task)
        try:
            await self.sessions.handle(boasting(websocket, self._boasted), self.handle)
        finally:
            self._endpoints.discard(task)

    async def handle(self, conn: Connection) -> None:
        """Serve one session."""
        self._runs[conn.id] += 1
        how = "finished"
        try:
            await self._play(conn)
        except ConnectionClosed as error:
            how = type(error).__name__
        self._ended[conn.id.hex()].set_result(how)

    async def _play(self, conn: Connection) -> None:
        """Play the part that the client asks for with its first message."""
        match await conn.recv():
            case "echo":
                async for message in conn:
                    await conn.send(message)
            case "hold":
                await self._released[conn.id].wait()
                await conn.send(len([message async for message in conn]))
            case ["burst", count, size]:
                for number in range(count):
                    await conn.send([number, b"x" * size])
            case ["large", size]:
                await conn.send(b"x" * size)
            case ["flood", count, size]:
                for number in range(count):
                    await conn.send([number, b"x" * size])
                async for _message in conn:
                    pass

    # ------------------------------------------------------------------ requests

    async def runs(self, conn: Connection) -> int:
        """How often the handler was begun for this session."""
        return self._runs[conn.id]

    async def resumes(self, conn: Connection) -> int:
        """How many WebSockets followed the first."""
        return conn.stats.resumes

    async def outbox(self, conn: Connection) -> list[int]:
        """Messages accepted, and bytes that wait to be confirmed."""
        return [conn.stats.sent, conn.stats.outbox_bytes]

    async def ended(self, session: str) -> str:
        """How the handler of another session ended, once it has."""
        return await self._ended[session]

    async def release(self, conn: Connection) -> None:
        """Let a handler that holds go on."""
        self._released[conn.id].set()

    async def cancel_endpoints(self) -> int:
        """Cancel the tasks in which the framework runs this endpoint."""
        for task in self._endpoints:
            task.cancel()
        return len(self._endpoints)


def boasting(websocket: Any, max_frame: int | None) -> Transport:
    """Return a transport for the WebSocket that announces this limit, if any, as its own."""
    transport: Any = adapt(websocket)
    if max_frame is not None:
        transport.max_frame = max_frame
    return cast("Transport", transport)


def _text(message: bytes | str) -> str:
    return message if isinstance(message, str) else message.decode("latin-1")


async def _receive_all(transport: Transport) -> None:
    while True:
        await transport.recv()


async def _outcome(doing: Any) -> str:
    """Name what a verb raises; ``none`` if it returns, ``waits`` if it does neither."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5.0):
            try:
                await doing
            except TransportClosed:
                return "TransportClosed"
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shall say it
                return repr(error)
            return "none"
    return "waits"
