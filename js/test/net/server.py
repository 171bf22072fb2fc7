"""A server of sessions behind a ChaosProxy, for tests of the JavaScript client without browsers.

    python js/test/net/server.py [--config JSON] [--ledger FILE]

What a session is for stands in the path of its WebSocket's address: see ``Application``. Commands
come as lines of JSON on stdin, ``{"id": 1, "do": "reset", "with": {}}``, and are answered by a line
``{"id": 1, "result": …}``. The first line says where the proxy listens. It ends with its stdin.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import reliable_ws
from reliable_ws import Config, Connection, ConnectionEvent, Methods, RemoteError
from reliable_ws.testing import ChaosProxy


class Application:
    """What the server does with a session."""

    def __init__(self, ledger: Path | None) -> None:
        self.ledger = ledger.open("a", encoding="utf-8") if ledger else None
        self.events: list[dict[str, Any]] = []
        self.cancelled = 0
        self.closed_with: set[tuple[str, str]] = set()
        self.commands: Commands | None = None
        self.methods = Methods()
        for method in (self.add, self.count, self.endless, self.slow, self.fails, self.breaks):
            self.methods.add(method)

    async def handle(self, conn: Connection) -> None:
        """Serve one session as its path says."""
        url = urlsplit(conn.websocket.request.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        await getattr(self, "on_" + url.path.strip("/"))(conn, **query)

    async def on_echo(self, conn: Connection) -> None:
        """Send everything back."""
        async for message in conn:
            await conn.send(message)

    async def on_take(self, conn: Connection) -> None:
        """Write down what is taken."""
        async for message in conn:
            self.write(conn, message)

    async def on_feed(self, conn: Connection, count: str, size: str = "0") -> None:
        """Send so many messages, and take nothing."""
        for number in range(int(count)):
            await conn.send(str(number).ljust(int(size), "."))
        await conn.wait_closed()

    async def on_both(self, conn: Connection, count: str) -> None:
        """Send so many messages, and write down what is taken."""
        sending = asyncio.create_task(self._send(conn, int(count)))
        await self.on_take(conn)
        await sending

    async def _send(self, conn: Connection, count: int) -> None:
        for number in range(count):
            await conn.send(f"down {number}")
        await conn.flush()

    async def on_idle(self, conn: Connection) -> None:
        """Take nothing, send nothing."""
        await conn.wait_closed()

    async def on_leave(self, conn: Connection, code: str) -> None:
        """Finish with a code as soon as something has arrived."""
        await conn.recv()
        await conn.close(int(code), "as asked")

    async def on_abort(self, conn: Connection, code: str) -> None:
        """Abort with a code as soon as something has arrived."""
        await conn.recv()
        conn.abort(int(code), "as asked")
        await conn.wait_closed()

    async def on_drop(self, conn: Connection, code: str, by: str = "") -> None:
        """Close the WebSocket itself with a code, once; the session knows nothing of it."""
        async for message in conn:
            if (code, by) not in self.closed_with:
                self.closed_with.add((code, by))
                await conn.websocket.close(int(code), "as asked")
            await conn.send(message)

    async def on_command(self, conn: Connection) -> None:
        """Do what each message says, as a line on stdin would."""
        async for message in conn:
            await conn.send(json.dumps(await getattr(self.commands, message)()))

    async def on_ask(self, conn: Connection) -> None:
        """Request what each message says, as JSON, and send what came of it."""
        async for message in conn:
            ask = json.loads(message)
            try:
                if ask.get("stream"):
                    stream = conn.stream(ask["method"], ask.get("params"))
                    result = [item async for item in stream]
                else:
                    params, timeout = ask.get("params"), ask.get("timeout")
                    result = await conn.request(ask["method"], params, timeout=timeout)
            except RemoteError as error:
                result = {"code": error.code, "message": error.message, "data": error.data}
            except Exception as error:  # noqa: BLE001 - the test looks at its name
                result = type(error).__name__
            await conn.send(json.dumps(result))

    async def add(self, a: int, b: int) -> int:
        """Return the sum."""
        return a + b

    async def count(self, upto: int):  # noqa: ANN201 - a generator
        """Count."""
        for number in range(upto):
            yield f"{number}".ljust(100)

    async def endless(self):  # noqa: ANN201 - a generator
        """Count until nobody listens any more."""
        number = 0
        try:
            while True:
                yield str(number).ljust(1000)
                number += 1
        finally:
            self.cancelled += 1

    async def slow(self) -> None:
        """Wait until it is cancelled."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.cancelled += 1

    async def fails(self) -> None:
        """Answer with an error."""
        raise RemoteError("no-luck", "try again", b"data")

    async def breaks(self) -> None:
        """Raise something that is not told."""
        raise ValueError("a secret")

    def write(self, conn: Connection, message: object) -> None:
        """Write down that a message was taken."""
        if self.ledger is not None:
            self.ledger.write(json.dumps([conn.id.hex(), message]) + "\n")
            self.ledger.flush()

    def on_event(self, event: ConnectionEvent) -> None:
        """Note what happened to a session."""
        self.events.append({"name": event.name, "code": event.code, "reason": event.reason})


class Commands:
    """What the tests have done. A command is a method."""

    def __init__(
        self,
        application: Application,
        start: Callable[[int], Any],
        server: reliable_ws.Server,
        proxy: ChaosProxy,
    ) -> None:
        self._application = application
        self._start = start
        self._server = server
        self._proxy = proxy

    async def reset(self) -> int:
        """Break the connections."""
        return self._proxy.reset()

    async def half_open(self) -> int:
        """Break the server's side only."""
        return self._proxy.half_open()

    async def offline(self) -> int:
        """Break the connections, and let nothing listen any more."""
        self._proxy.refuse(listening=False)
        return self._proxy.reset()

    async def online(self) -> None:
        """Listen again."""
        self._proxy.accept()

    async def restart(self) -> None:
        """Let the server forget everything, as one does whose process has ended."""
        port = self._server.port
        self._server.inner.close()
        self._proxy.reset()
        await self._server.inner.wait_closed()
        self._server = await self._start(port)

    async def drain(self) -> None:
        """Let the server end its sessions, and begin anew."""
        port = self._server.port
        await self._server.drain(1)
        self._server = await self._start(port)

    async def events(self) -> list[dict[str, Any]]:
        """Return what happened to the sessions, in order."""
        return self._application.events

    async def cancelled(self) -> int:
        """Return how many handlers were cancelled."""
        return self._application.cancelled

    async def living(self) -> int:
        """Return how many sessions live."""
        return len(self._server.connections)

    async def inbox(self) -> list[int]:
        """Return, of each session, how many of our messages are not confirmed."""
        return [conn.stats.sent - conn.stats.confirmed for conn in self._server.connections]


async def main(options: argparse.Namespace) -> None:
    """Serve until stdin ends."""
    application = Application(options.ledger)

    async def start(port: int) -> reliable_ws.Server:
        return await reliable_ws.serve(
            application.handle,
            "127.0.0.1",
            port,
            methods=application.methods,
            config=Config(**json.loads(options.config)),
            on_event=application.on_event,
        )

    server = await start(0)
    async with ChaosProxy("127.0.0.1", server.port) as proxy:
        commands = application.commands = Commands(application, start, server, proxy)
        direct = f"ws://127.0.0.1:{server.port}"
        print(json.dumps({"url": proxy.uri(""), "direct": direct}), flush=True)
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            command = json.loads(line)
            result = await getattr(commands, command["do"])(**command.get("with", {}))
            print(json.dumps({"id": command["id"], "result": result}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default="{}")
    parser.add_argument("--ledger", type=Path)
    asyncio.run(main(parser.parse_args()))
