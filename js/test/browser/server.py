"""What the browsers talk to: sessions behind a ChaosProxy, the built package, and the test pages.

    python js/test/browser/server.py --ledger FILE [--store FILE] [--config JSON] [--ports A,B,C]

It prints one line of JSON: the address of the pages (``http``) and that of the proxy (``ws``). With
``--ports`` the next process listens where the one before did: the ports are in that line, too.

What the application takes is written into the ledger before it is confirmed: a line of JSON with
the session's id, the message's number and the message. What it does is in the address of the
WebSocket: ``?echo=1`` sends every message back, ``?send=N`` sends N messages ("0", "1", ...),
``&every=S`` with a pause of S seconds; ``?cut=N`` cuts the network each time N messages were taken;
``?end=1`` ends the session behind the first message; ``?ask=METHOD`` calls a method of the page,
and writes the answer into the ledger. Pages may call ``add`` and ``tail``.
Everything else is commanded by ``POST /do/NAME?ARGUMENTS`` (see :class:`Commands`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import mimetypes
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import reliable_ws
from reliable_ws import Config, Connection, ConnectionEvent
from reliable_ws.testing import ChaosProxy

JS = Path(__file__).resolve().parents[2]
FOLDERS = {
    "browser": JS.parent / "reliable_ws" / "browser",
    "dist": JS / "dist",
    "pages": JS / "test" / "browser" / "pages",
    "test": JS / "test",
    "tests": JS.parent / "tests",
    "node_modules": JS / "node_modules",
}
"""What is served, by the first part of the path."""


class Application:
    """Takes what arrives, and sends what the address asks for."""

    proxy: ChaosProxy

    def __init__(self, ledger: Path) -> None:
        self.ledger = ledger.open("a", encoding="utf-8")
        self.events: list[dict[str, Any]] = []
        self.cuts = 0

    async def handle(self, conn: Connection) -> None:
        """Serve one session."""
        query = dict(parse_qsl(urlsplit(conn.websocket.request.path).query))
        sending = asyncio.create_task(
            send(conn, int(query.get("send", 0)), float(query.get("every", 0)))
        )
        try:
            if "ask" in query:
                params = {"id": 1, "name": "new"}
                self.write(conn, 0, await conn.request(query["ask"], params))
            async for delivery in conn.deliveries():
                self.write(conn, delivery.number, delivery.message)
                delivery.confirm()
                if "cut" in query and delivery.number % int(query["cut"]) == 0:
                    self.cuts += bool(self.proxy.cut())
                if "echo" in query:
                    await conn.send(delivery.message)
                if "end" in query:
                    break
            await sending
        finally:
            sending.cancel()

    def write(self, conn: Connection, number: int, message: object) -> None:
        """Write down that a message was taken."""
        self.ledger.write(json.dumps([conn.id.hex(), number, message], default=repr) + "\n")
        self.ledger.flush()

    def on_event(self, event: ConnectionEvent) -> None:
        """Write down when a session came, went and ended."""
        self.events.append(
            {
                "at": time.time() * 1000,
                "name": event.name,
                "session": event.connection and event.connection.id.hex(),
                "code": event.code,
                "reason": event.reason,
            }
        )


async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def tail(name: str) -> AsyncIterator[str]:
    """Stream two lines."""
    for number in (1, 2):
        yield f"{name} {number}"


async def send(conn: Connection, count: int, every: float) -> None:
    """Send so many messages, with a pause before each."""
    for number in range(count):
        if every:
            await asyncio.sleep(every)
        await conn.send(str(number))


class Commands:
    """What the tests have done. A command is a method; its arguments are texts."""

    def __init__(
        self, proxy: ChaosProxy, server: reliable_ws.Server, application: Application
    ) -> None:
        self._proxy = proxy
        self._server = server
        self._application = application

    def cut(self) -> int:
        """Cut the connections that live."""
        return self._proxy.cut()

    def reset(self) -> int:
        """Break them."""
        return self._proxy.reset()

    def half_open(self) -> int:
        """Break the server's side only: the browser does not notice."""
        return self._proxy.half_open()

    def offline(self) -> int:
        """Break the connections, and let nothing listen any more."""
        self._proxy.refuse(listening=False)
        return self._proxy.reset()

    def online(self) -> None:
        """Listen again."""
        self._proxy.accept()

    def cuts(self) -> int:
        """Return how often ``?cut=N`` has cut a connection."""
        return self._application.cuts

    def events(self) -> list[dict[str, Any]]:
        """Return what happened to the sessions, in order; ``at`` in milliseconds since 1970."""
        return self._application.events

    def living(self) -> int:
        """Return how many sessions live."""
        return len(self._server.connections)


async def answer(
    commands: Commands, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer one HTTP request: a file, or a command."""
    try:
        method, target, _version = (await reader.readline()).decode().split()
        while (await reader.readline()).strip():
            pass
        url = urlsplit(target)
        _, folder, name = url.path.split("/", 2)
        if method == "POST" and folder == "do":
            command: Callable[..., Any] = getattr(commands, name)
            kind, body = "application/json", json.dumps(command(**dict(parse_qsl(url.query))))
            status, content = "200 OK", body.encode()
        else:
            status, kind, content = read_file(folder, name)
        # A page that forbids to store it is not put into the back/forward cache.
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
        writer.write(head.encode() + b"Cache-Control: no-cache\r\nConnection: close\r\n\r\n")
        writer.write(content)
        await writer.drain()
    except (ConnectionError, ValueError):
        pass  # the browser went away, or opened a connection ahead and did not use it
    finally:
        writer.close()


def read_file(folder: str, name: str) -> tuple[str, str, bytes]:
    """Return status, type and content of a file."""
    root = FOLDERS.get(folder)
    path = root / name if root else None
    if root is None or path is None or root not in path.resolve().parents or not path.is_file():
        return "404 Not Found", "text/plain", b"there is no such file"
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return "200 OK", kind, path.read_bytes()


async def main(options: argparse.Namespace) -> None:
    """Serve until killed, or until stdin ends: whoever started this is gone."""
    ports = [int(port) for port in options.ports.split(",")]
    application = Application(options.ledger)
    store = reliable_ws.SQLiteStore(options.store) if options.store else None
    methods = reliable_ws.Methods()
    methods.add(add)
    methods.add(tail)
    serving = reliable_ws.serve(
        application.handle,
        "127.0.0.1",
        ports[0],
        config=Config(**json.loads(options.config)),
        principal=lambda _websocket: "one user",
        on_event=application.on_event,
        store=store,
        methods=methods,
    )
    async with serving as server, ChaosProxy("127.0.0.1", server.port, port=ports[1]) as proxy:
        application.proxy = proxy
        commands = Commands(proxy, server, application)
        http = await asyncio.start_server(
            lambda reader, writer: answer(commands, reader, writer), "127.0.0.1", ports[2]
        )
        http_port = http.sockets[0].getsockname()[1]
        ready = {
            "http": f"http://127.0.0.1:{http_port}",
            "ws": proxy.uri(),
            "ports": f"{server.port},{proxy.port},{http_port}",
        }
        print(json.dumps(ready), flush=True)
        async with http:
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)  # that peers are lost is what the tests are about
    parser = argparse.ArgumentParser()
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--config", default="{}")
    parser.add_argument("--ports", default="0,0,0")
    asyncio.run(main(parser.parse_args()))
