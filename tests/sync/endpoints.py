"""What the servers with threads run: the contract's endpoints, told by their peer what to do."""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict

from reliable_ws import Config, ConnectionClosed, Methods
from reliable_ws.adapters import adapt_blocking as adapt
from reliable_ws.sync import Connection, Sessions
from reliable_ws.testing.transport_contract.endpoints import (
    BOAST,
    BOASTED,
    BRIEF,
    BRIEF_TTL,
    RAW,
    SESSION,
)
from reliable_ws.transport import TransportClosed

from .conftest import run

SECONDS = 60


class Shared(defaultdict):
    """Makes what is missing once, when several threads ask for it at a time.

    Else each would get one of its own, and wait for an event that nobody sets.
    """

    _lock = threading.Lock()

    def __missing__(self, key):
        with self._lock:
            if key not in self:
                self[key] = self.default_factory()
        return self[key]


class BlockingEndpoints:
    """The endpoints of one server process: call the one at the path with each WebSocket."""

    def __init__(self) -> None:
        self.session = SessionEndpoint()
        self.paths = {
            RAW: RawEndpoint(),
            SESSION: self.session,
            BRIEF: SessionEndpoint(session_ttl=BRIEF_TTL),
            BOAST: SessionEndpoint(max_frame=BOASTED),
        }


class RawEndpoint:
    """Does with a bare transport what its first message says."""

    def __init__(self) -> None:
        self.logs = Shared(list)
        self._events = Shared(threading.Event)

    def __call__(self, websocket):
        transport = adapt(websocket)
        try:
            command = json.loads(transport.recv())
            getattr(self, f"do_{command.pop('do')}")(transport, **command)
        except TransportClosed:
            pass
        finally:
            transport.close()

    def do_echo(self, transport):
        while True:
            message = transport.recv()
            if isinstance(message, str):
                transport.send(b"text:" + message.encode())
            else:
                transport.send(b"bytes:" + message)

    def do_log(self, transport, name, *, hold=False):
        transport.send(b"ready")
        if hold:
            assert self._events[f"release {name}"].wait(SECONDS)
        log = self.logs[name]
        try:
            while True:
                message = transport.recv()
                text = message if isinstance(message, str) else message.decode("latin-1")
                log.append([type(message).__name__, text])
        except TransportClosed as end:
            log.append(["end", end.code, end.reason])
        log.append(["recv", outcome(transport.recv)])
        log.append(["send", outcome(transport.send, b"late")])
        transport.close(4001, "late")
        transport.abort()
        self._events[f"ended {name}"].set()

    def do_release(self, transport, name):
        self._events[f"release {name}"].set()
        transport.send(b"released")

    def do_show(self, transport, name):
        assert self._events[f"ended {name}"].wait(SECONDS)
        transport.send(json.dumps(self.logs[name]).encode())

    def do_close(self, transport, code, reason):
        transport.send(b"last words")
        for closing in [run(transport.close, code, reason) for _ in range(3)]:
            closing.result(SECONDS)
        transport.abort()

    def do_abort(self, transport):
        transport.abort()
        self.logs["abort"] = [
            ["send", outcome(transport.send, b"late")],
            ["recv", outcome(receive_all, transport)],
        ]
        self._events["ended abort"].set()

    def do_size(self, transport, size):
        transport.send(b"x" * size)
        transport.send(str(len(transport.recv())).encode())
        receive_all(transport)


class SessionEndpoint:
    """Runs one handler per session; what it does is told by the session's first message."""

    def __init__(self, **limits) -> None:
        self._boasted = limits.get("max_frame")
        methods = Methods()
        for function in (self.runs, self.resumes, self.outbox, self.ended, self.release):
            methods.register(function)
        methods.register(self.cancel_endpoints)
        self.sessions = Sessions(methods=methods, config=Config(**limits))
        self._runs = Counter()
        self._released = Shared(threading.Event)
        self._ended = Shared(threading.Event)
        self._how = {}
        self._transports = set()

    def __call__(self, websocket):
        transport = adapt(websocket)
        if self._boasted is not None:
            transport.max_frame = self._boasted
        self._transports.add(transport)
        try:
            self.sessions.handle(transport, self.handle)
        finally:
            self._transports.discard(transport)

    def handle(self, conn):
        self._runs[conn.id] += 1
        how = "finished"
        try:
            self._play(conn)
        except ConnectionClosed as error:
            how = type(error).__name__
        self._how[conn.id.hex()] = how
        self._ended[conn.id.hex()].set()

    def _play(self, conn):
        match conn.recv():
            case "echo":
                for delivery in conn.deliveries():
                    with delivery as message:  # confirmed means echoed: so a drain finds it sent
                        conn.send(message)
            case "hold":
                assert self._released[conn.id].wait(SECONDS)
                conn.send(len(list(conn)))
            case ["burst", count, size]:
                for number in range(count):
                    conn.send([number, b"x" * size])
            case ["large", size]:
                conn.send(b"x" * size)
            case ["flood", count, size]:
                for number in range(count):
                    conn.send([number, b"x" * size])
                list(conn)

    # ------------------------------------------------------------------ requests

    def runs(self, conn: Connection):
        return self._runs[conn.id]

    def resumes(self, conn: Connection):
        return conn.stats.resumes

    def outbox(self, conn: Connection):
        return [conn.stats.sent, conn.stats.outbox_bytes]

    def ended(self, session: str):
        assert self._ended[session].wait(SECONDS)
        return self._how[session]

    def release(self, conn: Connection):
        self._released[conn.id].set()

    def cancel_endpoints(self):
        """No thread can be cancelled; but its WebSocket can go."""
        transports = list(self._transports)
        for transport in transports:
            transport.abort()
        return len(transports)


def receive_all(transport):
    while True:
        transport.recv()


def outcome(verb, *args):
    """Name what a verb raises; ``none`` if it returns, ``waits`` if it does neither."""
    try:
        run(verb, *args).result(5)
    except TimeoutError:
        return "waits"
    except TransportClosed:
        return "TransportClosed"
    except Exception as error:
        return repr(error)
    return "none"
