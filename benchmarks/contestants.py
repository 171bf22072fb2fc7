"""Who is compared: each has a server in a process of its own, and a client in this one.

``python -m benchmarks.contestants NAME LOOP`` runs a server: it prints its port, and serves until
its input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import itertools
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, ClassVar

import websockets.asyncio.client
import websockets.asyncio.server
import websockets.sync.client
import websockets.sync.server

import reliable_ws
import reliable_ws.sync

from . import brokers
from .peers import PLAIN, echo, plain_echo, plain_sink, reliable_sink

HOST = "127.0.0.1"
LARGEST = 2 * 1024 * 1024
"Bytes: the messages of all rows are smaller."


class Contestant:
    """One way to send messages. It takes no part in rows for which a subclass has no method.

    ``connect(port, path)`` opens a connection, to ``/echo`` or to ``/sink``. ``stream`` returns
    when the other end has taken all messages. ``burst`` sends some, and returns when all are
    acknowledged. ``calls`` does so many requests, so many of them at a time. ``resume`` returns
    the seconds from a cut on, before which so many messages were sent.
    """

    name: ClassVar[str]
    means: ClassVar[str]
    "What its acknowledgement says."
    modules: ClassVar[tuple[str, ...]] = ()
    "What has to be installed for it."
    share: ClassVar[float] = 1.0
    "How many of a row's messages it sends. Less where it is slow, so that no round takes minutes."
    path_of_stream: ClassVar[str] = "/sink"

    def absent(self) -> str | None:
        """Say what is not installed, or return ``None``."""
        missing = [name for name in self.modules if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(missing)}" if missing else None

    async def serve(self) -> None:
        """Print the port, and serve until the input ends."""
        raise NotImplementedError

    def connect(self, port: int, path: str) -> Any:
        """Return what opens a connection, for ``async with``."""
        raise NotImplementedError


async def until_told(port: int) -> None:
    """Print the port, and wait for the end of the input."""
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def port_of(server: Any) -> int:
    return int(next(iter(server.sockets)).getsockname()[1])


# ---------------------------------------------------------------------- no acknowledgements


class Echoing(Contestant):
    """A library alone. A stream has one answer at its end, all else is echoed."""

    means = "there is none: messages are echoed"

    async def send(self, conn: Any, data: bytes) -> None:
        await conn.send(data)

    async def receive(self, conn: Any) -> bytes:
        data: bytes = await conn.recv()
        return data

    async def stream(self, conn: Any, payload: bytes, count: int) -> None:
        for _ in range(count):
            await self.send(conn, payload)
        await self.send(conn, b"")
        await self.receive(conn)

    async def burst(self, conn: Any, payload: bytes, count: int) -> None:
        for _ in range(count):
            await self.send(conn, payload)
        for _ in range(count):
            await self.receive(conn)

    async def calls(self, conn: Any, payload: bytes, count: int, callers: int) -> None:
        if callers == 1:
            for _ in range(count):
                await self.send(conn, payload)
                await self.receive(conn)
            return
        ids = itertools.count()
        waiting: dict[bytes, asyncio.Future[None]] = {}

        async def read() -> None:
            for _ in range(count // callers * callers):
                waiting.pop((await self.receive(conn))[:8]).set_result(None)

        async def caller() -> None:
            loop = asyncio.get_running_loop()
            for _ in range(count // callers):
                key = next(ids).to_bytes(8, "big")
                waiting[key] = answer = loop.create_future()
                await self.send(conn, key + payload)
                await answer

        await asyncio.gather(read(), *(caller() for _ in range(callers)))

    async def resume(self, conn: Any, payload: bytes, count: int) -> float:
        began = perf_counter()
        await self.stream(conn, payload, count)
        return perf_counter() - began


class WebSockets(Echoing):
    name = "websockets"

    def connect(self, port: int, path: str) -> Any:
        uri = f"ws://{HOST}:{port}{path}"
        return websockets.asyncio.client.connect(uri, proxy=None, **PLAIN)

    async def serve(self) -> None:
        async def handler(ws: Any) -> None:
            await (plain_sink if ws.request.path == "/sink" else plain_echo)(ws)

        async with websockets.asyncio.server.serve(handler, HOST, 0, **PLAIN) as server:
            await until_told(port_of(server))


class Picows(Echoing):
    name = "picows"
    modules = ("picows",)

    @asynccontextmanager
    async def connect(self, port: int, path: str) -> AsyncIterator[Any]:
        from picows import ws_connect

        uri = f"ws://{HOST}:{port}{path}"
        _, listener = await ws_connect(_listener(), uri, max_frame_size=LARGEST)
        yield listener
        listener.ws.disconnect()  # type: ignore[attr-defined]
        await listener.ws.wait_disconnected()  # type: ignore[attr-defined]

    async def send(self, conn: Any, data: bytes) -> None:
        await conn.room.wait()
        conn.write(data)

    async def receive(self, conn: Any) -> bytes:
        data: bytes = await conn.arrived.get()
        return data

    async def serve(self) -> None:
        from picows import ws_create_server

        def route(request: Any) -> Any:
            return _listener("sink" if request.path == b"/sink" else "echo")()

        server = await ws_create_server(route, HOST, 0, max_frame_size=LARGEST)
        await until_told(port_of(server))


def _listener(kind: str = "client") -> Any:
    """Return a class of listeners of picows, which can be imported where it is installed only."""
    from picows import WSFrame, WSListener, WSMsgType, WSTransport

    binary = WSMsgType.BINARY

    class Listener(WSListener):
        def on_ws_connected(self, transport: WSTransport) -> None:
            self.ws = transport
            self.room = asyncio.Event()
            self.room.set()
            self.arrived: asyncio.Queue[bytes] = asyncio.Queue()

        def write(self, data: bytes) -> None:
            self.ws.send(binary, data)

        def pause_writing(self) -> None:
            self.room.clear()

        def resume_writing(self) -> None:
            self.room.set()

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type is not binary:
                if frame.msg_type is WSMsgType.CLOSE:
                    transport.disconnect()
                return
            data = frame.get_payload_as_bytes()
            if kind == "client":
                self.arrived.put_nowait(data)
            elif kind == "echo" or not data:
                self.write(data)

    return Listener


class Aiohttp(Echoing):
    name = "aiohttp"
    modules = ("aiohttp",)

    @asynccontextmanager
    async def connect(self, port: int, path: str) -> AsyncIterator[Any]:
        import aiohttp

        uri = f"http://{HOST}:{port}{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(uri, max_msg_size=LARGEST) as ws,
        ):
            yield ws

    async def send(self, conn: Any, data: bytes) -> None:
        await conn.send_bytes(data)

    async def receive(self, conn: Any) -> bytes:
        data: bytes = await conn.receive_bytes()
        return data

    async def serve(self) -> None:
        from aiohttp import web

        async def endpoint(request: web.Request) -> web.WebSocketResponse:
            ws = web.WebSocketResponse(compress=False, max_msg_size=LARGEST)
            await ws.prepare(request)
            async for message in ws:
                if request.path == "/echo" or not message.data:
                    await ws.send_bytes(message.data)
            return ws

        app = web.Application()
        app.add_routes([web.get("/echo", endpoint), web.get("/sink", endpoint)])
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, HOST, 0)
        await site.start()
        await until_told(int(runner.addresses[0][1]))


# ---------------------------------------------------------------------- reliable_ws


class Reliable(Contestant):
    name = "reliable_ws"
    means = "the peer's application has taken the message; kept across lost connections"
    transport: ClassVar[str] = "websockets"

    def connect(self, port: int, path: str) -> Any:  # noqa: ARG002 - there is one handler
        return reliable_ws.connect(
            f"ws://{HOST}:{port}",
            transport=self.transport,  # type: ignore[arg-type]
            proxy=None,
            config=reliable_ws.Config(outbox_messages=200_000, outbox_bytes=2**26),
            reconnect=reliable_ws.Backoff(initial=0.0),
        )

    async def serve(self) -> None:
        methods = reliable_ws.Methods()
        methods.register(echo)
        async with reliable_ws.serve(
            reliable_sink,
            HOST,
            0,
            methods=methods,
            drain_timeout=1,
            transport=self.transport,  # type: ignore[arg-type]
        ) as server:
            await until_told(server.port)

    async def stream(self, conn: Any, payload: bytes, count: int) -> None:
        for _ in range(count):
            await conn.send(payload)
        await conn.flush()

    async def burst(self, conn: Any, payload: bytes, count: int) -> None:
        for _ in range(count):
            receipt = await conn.send(payload)
        await receipt

    async def calls(self, conn: Any, payload: bytes, count: int, callers: int) -> None:
        async def caller() -> None:
            for _ in range(count // callers):
                await conn.request("echo", payload)

        if callers == 1:
            await caller()
        else:
            await asyncio.gather(*(caller() for _ in range(callers)))

    async def resume(self, conn: Any, payload: bytes, count: int) -> float:
        for _ in range(count):
            conn.send_nowait(payload)  # no turn of the loop: no acknowledgement is read
        conn.transport.abort()
        began = perf_counter()
        await conn.flush()
        return perf_counter() - began


class ReliablePicows(Reliable):
    name = "reliable_ws over picows"
    modules = ("picows",)
    transport = "picows"


# ---------------------------------------------------------------------- threads


class Threads(Contestant):
    """websockets.sync. The methods block: there is nobody else in this process."""

    name = "websockets.sync"
    means = Echoing.means
    share = 0.5

    @asynccontextmanager
    async def connect(self, port: int, path: str) -> AsyncIterator[Any]:
        uri = f"ws://{HOST}:{port}{path}"
        with websockets.sync.client.connect(uri, proxy=None, **PLAIN) as conn:
            yield conn

    async def serve(self) -> None:
        def handler(ws: Any) -> None:
            for message in ws:
                if ws.request.path == "/echo" or not message:
                    ws.send(message)

        server = websockets.sync.server.serve(handler, HOST, 0, **PLAIN)
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, server.serve_forever)
        await until_told(int(server.socket.getsockname()[1]))
        os._exit(0)

    async def stream(self, conn: Any, payload: bytes, count: int) -> None:
        for _ in range(count):
            conn.send(payload)
        conn.send(b"")
        conn.recv()

    async def burst(self, conn: Any, payload: bytes, count: int) -> None:
        for _ in range(count):
            conn.send(payload)
        for _ in range(count):
            conn.recv()


class ReliableThreads(Contestant):
    name = "reliable_ws.sync"
    means = Reliable.means
    share = Threads.share

    @asynccontextmanager
    async def connect(self, port: int, path: str) -> AsyncIterator[Any]:  # noqa: ARG002
        with reliable_ws.sync.connect(f"ws://{HOST}:{port}", proxy=None) as conn:
            yield conn

    async def serve(self) -> None:
        def handler(conn: Any) -> None:
            for _message in conn:
                pass

        server = reliable_ws.sync.serve(handler, HOST, 0)
        await until_told(server.port)
        os._exit(0)

    async def stream(self, conn: Any, payload: bytes, count: int) -> None:
        for _ in range(count):
            conn.send(payload)
        conn.flush()

    async def burst(self, conn: Any, payload: bytes, count: int) -> None:
        for _ in range(count):
            receipt = conn.send(payload)
        receipt.wait()


# ---------------------------------------------------------------------- what one would take instead


class HandMade(WebSockets):
    """websockets, where each message has a number, and the handler sends it back."""

    name = "websockets, hand-made acks"
    means = "the handler has taken the message; nothing is known once the connection is lost"
    path_of_stream = "/echo"

    async def serve(self) -> None:
        async def handler(ws: Any) -> None:
            async for message in ws:
                await ws.send(message[:8])

        async with websockets.asyncio.server.serve(handler, HOST, 0, **PLAIN) as server:
            await until_told(port_of(server))

    async def stream(self, conn: Any, payload: bytes, count: int) -> None:
        async def acks() -> None:
            for number in range(count):
                assert int.from_bytes(await conn.recv(), "big") == number

        reading = asyncio.create_task(acks())
        for number in range(count):
            await conn.send(number.to_bytes(8, "big") + payload)
        await reading

    async def burst(self, conn: Any, payload: bytes, count: int) -> None:
        await self.stream(conn, payload, count)

    calls = None  # type: ignore[assignment]
    resume = None  # type: ignore[assignment]


class SocketIO(Contestant):
    name = "python-socketio, ack callbacks"
    means = "the handler has returned; nothing is known once the connection is lost"
    modules = ("socketio", "aiohttp")
    share = 0.1

    @asynccontextmanager
    async def connect(self, port: int, path: str) -> AsyncIterator[Any]:  # noqa: ARG002
        import socketio

        client = socketio.AsyncClient()
        await client.connect(f"http://{HOST}:{port}", transports=["websocket"])
        yield client
        await client.disconnect()

    async def serve(self) -> None:
        import socketio
        from aiohttp import web

        server = socketio.AsyncServer(
            async_mode="aiohttp",
            max_http_buffer_size=LARGEST,
            ping_interval=3600,  # nobody else sends any
            ping_timeout=3600,
        )

        @server.event
        async def message(_sid: str, _data: bytes) -> None: ...

        @server.event
        async def echo(_sid: str, data: bytes) -> bytes:
            return data

        app = web.Application()
        server.attach(app)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        await until_told(int(runner.addresses[0][1]))

    async def stream(self, conn: Any, payload: bytes, count: int) -> None:
        left = count
        over = asyncio.Event()

        def acknowledged() -> None:
            nonlocal left
            left -= 1
            if not left:
                over.set()

        for _ in range(count):
            await conn.emit("message", payload, callback=acknowledged)
        await over.wait()

    async def burst(self, conn: Any, payload: bytes, count: int) -> None:
        await self.stream(conn, payload, count)

    async def calls(self, conn: Any, payload: bytes, count: int, callers: int) -> None:
        async def caller() -> None:
            for _ in range(count // callers):
                await conn.call("echo", payload)

        await asyncio.gather(*(caller() for _ in range(callers)))


class Broker(Contestant):
    """A broker of Debian, in memory. Nobody receives what is sent."""

    share = 0.1
    program: ClassVar[str]
    package: ClassVar[str]

    def absent(self) -> str | None:
        if brokers.find(self.program) is None:
            return f"not installed: apt-get install {self.package}"
        return super().absent()

    def command(self, port: int, directory: Path) -> list[str]:
        """Return the command that runs it."""
        raise NotImplementedError


class NATS(Broker):
    name = "NATS JetStream, publish with ack"
    means = "the broker has stored the message, here in memory; nobody has received it"
    modules = ("nats",)
    program, package = "nats-server", "nats-server"

    def command(self, port: int, directory: Path) -> list[str]:
        path = brokers.find(self.program)
        return [str(path), "-a", HOST, "-p", str(port), "-js", "-sd", str(directory)]

    @asynccontextmanager
    async def connect(self, port: int, path: str) -> AsyncIterator[Any]:  # noqa: ARG002
        import nats
        from nats.js.api import DiscardPolicy, StorageType

        client = await nats.connect(f"nats://{HOST}:{port}")
        context = client.jetstream(publish_async_max_pending=brokers.NATS_IN_FLIGHT)
        await context.add_stream(
            name="bench",
            subjects=["bench"],
            storage=StorageType.MEMORY,
            max_bytes=2**26,
            discard=DiscardPolicy.OLD,
        )
        yield context
        await client.close()

    async def stream(self, conn: Any, payload: bytes, count: int) -> None:
        await asyncio.gather(*[await conn.publish_async("bench", payload) for _ in range(count)])

    async def burst(self, conn: Any, payload: bytes, count: int) -> None:
        if count == 1:
            await conn.publish("bench", payload)
        else:
            await self.stream(conn, payload, count)


class MQTT(Broker):
    """QoS 1; the subclass has QoS 2. The client has a thread of its own, and waiting blocks."""

    name = "MQTT, QoS 1"
    means = "the broker has taken the message, maybe twice; nobody has received it"
    modules = ("paho",)
    program, package = "mosquitto", "mosquitto"
    qos: ClassVar[int] = 1

    def command(self, port: int, directory: Path) -> list[str]:
        settings = directory / "mosquitto.conf"
        settings.write_text(
            f"listener {port} {HOST}\nallow_anonymous true\npersistence false\n"
            f"max_inflight_messages {brokers.MQTT_IN_FLIGHT}\nuser root\nlog_type error\n"
        )
        return [str(brokers.find(self.program)), "-c", str(settings)]

    @asynccontextmanager
    async def connect(self, port: int, path: str) -> AsyncIterator[Any]:  # noqa: ARG002
        client = brokers.mqtt_client(port, "publisher")
        yield client
        client.disconnect()
        client.loop_stop()

    async def stream(self, conn: Any, payload: bytes, count: int) -> None:
        for said in [conn.publish("bench", payload, qos=self.qos) for _ in range(count)]:
            said.wait_for_publish()

    async def burst(self, conn: Any, payload: bytes, count: int) -> None:
        await self.stream(conn, payload, count)


class MQTT2(MQTT):
    name = "MQTT, QoS 2"
    means = "the broker has taken the message, once; nobody has received it"
    qos = 2


PLAIN_ONE = WebSockets()
OURS = Reliable()
OURS_PICOWS = ReliablePicows()
THREADS = (Threads(), ReliableThreads())
QUICK: tuple[Contestant, ...] = (PLAIN_ONE, OURS, Picows(), OURS_PICOWS)
FULL: tuple[Contestant, ...] = (*QUICK, Aiohttp(), HandMade(), SocketIO(), NATS(), MQTT(), MQTT2())


def main() -> None:
    name, loop = sys.argv[1:]
    (contestant,) = (one for one in (*FULL, *THREADS) if one.name == name)
    with contextlib.suppress(KeyboardInterrupt):
        run(contestant.serve(), loop)


def run(work: Any, loop: str) -> Any:
    """Run a coroutine in a loop of this kind."""
    if loop == "asyncio":
        return asyncio.run(work)
    import uvloop

    return uvloop.run(work)


if __name__ == "__main__":
    main()
