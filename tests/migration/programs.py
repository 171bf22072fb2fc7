"""Programs of the kinds that users of websockets have. ``#imports`` stands for their imports.

Each prints what it sees. It has to be the same with both libraries.
"""

from __future__ import annotations

import textwrap
from typing import NamedTuple


class Program(NamedTuple):
    name: str
    websockets: str
    "The imports for websockets."
    reliable_ws: str
    "The same for reliable_ws: the only lines that differ."
    text: str

    def source(self, imports: str) -> str:
        return textwrap.dedent(self.text).replace("#imports", imports)


SERVER = "from websockets.asyncio.server import serve"
CLIENT = "from websockets.asyncio.client import connect"
BOTH = f"{SERVER}\n{CLIENT}"

PROGRAMS = [
    Program(
        "echo",
        BOTH,
        "from reliable_ws import connect, serve",
        """
        import asyncio
        #imports

        async def echo(websocket):
            async for message in websocket:
                await websocket.send(message)

        async def main():
            async with serve(echo, "127.0.0.1", 0) as server:
                port = server.sockets[0].getsockname()[1]
                async with connect(f"ws://127.0.0.1:{port}") as websocket:
                    for message in ("Hello world!", b"bytes"):
                        await websocket.send(message)
                        print(await websocket.recv())
                print(websocket.close_code, repr(websocket.close_reason))

        asyncio.run(main())
        """,
    ),
    Program(
        "greeting by recv and send, and a server that runs for ever",
        BOTH,
        "from reliable_ws import connect, serve",
        """
        import asyncio
        #imports

        async def hello(websocket):
            name = await websocket.recv()
            await websocket.send(f"Hello {name}!")

        async def client(port, stop):
            async with connect(f"ws://127.0.0.1:{port}", max_size=2**20) as websocket:
                await websocket.send("Ann")
                print(await asyncio.wait_for(websocket.recv(), timeout=10))
            stop.cancel()

        async def main():
            async with serve(hello, "127.0.0.1", 0, ping_interval=20) as server:
                port = server.sockets[0].getsockname()[1]
                task = asyncio.create_task(client(port, asyncio.current_task()))
                try:
                    await server.serve_forever()
                except asyncio.CancelledError:
                    await task

        asyncio.run(main())
        """,
    ),
    Program(
        "chat with broadcast",
        f"from websockets.asyncio.server import broadcast, serve\n{CLIENT}",
        "from reliable_ws import broadcast, connect, serve",
        """
        import asyncio
        #imports

        PEOPLE = set()

        async def chat(websocket):
            PEOPLE.add(websocket)
            try:
                async for message in websocket:
                    broadcast(PEOPLE, message)
            finally:
                PEOPLE.remove(websocket)

        async def main():
            async with serve(chat, "127.0.0.1", 0) as server:
                uri = "ws://127.0.0.1:{}".format(server.sockets[0].getsockname()[1])
                async with connect(uri) as ann, connect(uri) as bob:
                    while len(PEOPLE) < 2:
                        await asyncio.sleep(0.001)
                    await ann.send("hi")
                    print(await ann.recv(), await bob.recv())
                    await bob.send("hello")
                    print(await ann.recv(), await bob.recv())
                while PEOPLE:
                    await asyncio.sleep(0.001)
                broadcast(PEOPLE, "nobody is there")

        asyncio.run(main())
        """,
    ),
    Program(
        "counter with users who join",
        f"from websockets.asyncio.server import broadcast, serve\n{CLIENT}",
        "from reliable_ws import broadcast, connect, serve",
        """
        import asyncio
        import json
        #imports

        USERS = set()
        VALUE = 0

        def users():
            return json.dumps({"type": "users", "count": len(USERS)})

        def value():
            return json.dumps({"type": "value", "value": VALUE})

        async def counter(websocket):
            global VALUE
            joined = json.loads(await websocket.recv())
            assert joined["type"] == "join"
            try:
                USERS.add(websocket)
                broadcast(USERS, users())
                await websocket.send(value())
                async for message in websocket:
                    match json.loads(message)["action"]:
                        case "plus":
                            VALUE += 1
                        case "minus":
                            VALUE -= 1
                    broadcast(USERS, value())
            finally:
                USERS.discard(websocket)
                broadcast(USERS, users())

        async def main():
            async with serve(counter, "127.0.0.1", 0) as server:
                uri = "ws://127.0.0.1:{}".format(server.sockets[0].getsockname()[1])
                join = json.dumps({"type": "join", "name": "x"})
                async with connect(uri) as ann:
                    await ann.send(join)
                    print(await ann.recv(), await ann.recv())
                    async with connect(uri) as bob:
                        await bob.send(join)
                        print(await ann.recv(), await bob.recv(), await bob.recv())
                        await bob.send(json.dumps({"action": "plus"}))
                        print(await ann.recv(), await bob.recv())
                    print(await ann.recv())

        asyncio.run(main())
        """,
    ),
    Program(
        "consumer and producer, whichever ends first",
        f"{BOTH}\nfrom websockets.exceptions import ConnectionClosed",
        "from reliable_ws import ConnectionClosed, connect, serve",
        """
        import asyncio
        #imports

        SEEN = []

        async def consume(websocket):
            async for message in websocket:
                SEEN.append(message)

        async def produce(websocket):
            number = 0
            while True:
                try:
                    await websocket.send(f"number {number}")
                except ConnectionClosed:
                    break
                number += 1
                await asyncio.sleep(0.001)

        async def handler(websocket):
            tasks = [
                asyncio.create_task(consume(websocket)),
                asyncio.create_task(produce(websocket)),
            ]
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()

        async def main():
            async with serve(handler, "127.0.0.1", 0) as server:
                uri = "ws://127.0.0.1:{}".format(server.sockets[0].getsockname()[1])
                async with connect(uri) as websocket:
                    await websocket.send("from the client")
                    print(await websocket.recv(), await websocket.recv())
                while not SEEN:
                    await asyncio.sleep(0.001)
                print(SEEN)

        asyncio.run(main())
        """,
    ),
    Program(
        "health check",
        BOTH,
        "from reliable_ws import connect, serve",
        """
        import asyncio
        import http
        #imports

        def health(connection, request):
            if request.path == "/healthz":
                return connection.respond(http.HTTPStatus.OK, "fine\\n")

        async def echo(websocket):
            async for message in websocket:
                await websocket.send(message)

        async def main():
            async with serve(echo, "127.0.0.1", 0, process_request=health) as server:
                port = server.sockets[0].getsockname()[1]
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /healthz HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
                answer = (await reader.read()).decode().split("\\r\\n")
                print(answer[0], answer[-1])
                writer.close()
                async with connect(f"ws://127.0.0.1:{port}/") as websocket:
                    await websocket.send("and this")
                    print(await websocket.recv())

        asyncio.run(main())
        """,
    ),
    Program(
        "shutdown by a signal",
        f"{BOTH}\nfrom websockets.exceptions import ConnectionClosedOK",
        "from reliable_ws import ConnectionClosedOK, connect, serve",
        """
        import asyncio
        import os
        import signal
        #imports

        async def handler(websocket):
            try:
                await websocket.recv()
            except ConnectionClosedOK:
                print("the handler hears of it")

        async def client(uri):
            async with connect(uri) as websocket:
                os.kill(os.getpid(), signal.SIGTERM)
                try:
                    await websocket.recv()
                except ConnectionClosedOK:
                    pass
            print("closed with", websocket.close_code)

        async def main():
            loop = asyncio.get_running_loop()
            async with serve(handler, "127.0.0.1", 0) as server:
                loop.add_signal_handler(signal.SIGTERM, server.close)
                uri = "ws://127.0.0.1:{}".format(server.sockets[0].getsockname()[1])
                connecting = asyncio.create_task(client(uri))
                await server.wait_closed()
                await connecting
            loop.remove_signal_handler(signal.SIGTERM)

        asyncio.run(main())
        """,
    ),
    Program(
        "Unix socket",
        "from websockets.asyncio.server import unix_serve\n"
        "from websockets.asyncio.client import unix_connect",
        "from reliable_ws import unix_connect, unix_serve",
        """
        import asyncio
        import os
        import tempfile
        #imports

        async def echo(websocket):
            async for message in websocket:
                await websocket.send(message)

        async def main():
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "socket")
                async with unix_serve(echo, path), unix_connect(path) as websocket:
                    await websocket.send("by a file")
                    print(await websocket.recv())
                    print(websocket.remote_address == path)

        asyncio.run(main())
        """,
    ),
    Program(
        "TLS",
        BOTH,
        "from reliable_ws import connect, serve",
        """
        import asyncio
        import ssl
        #imports

        async def echo(websocket):
            async for message in websocket:
                await websocket.send(message)

        async def main():
            server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server_context.load_cert_chain(CERTIFICATE)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(CERTIFICATE)
            context.check_hostname = False
            async with serve(echo, "127.0.0.1", 0, ssl=server_context) as server:
                port = server.sockets[0].getsockname()[1]
                async with connect(f"wss://127.0.0.1:{port}", ssl=context) as websocket:
                    await websocket.send("secret")
                    print(await websocket.recv())

        asyncio.run(main())
        """,
    ),
    Program(
        "the loop that connects again",
        f"{BOTH}\nfrom websockets.exceptions import ConnectionClosed",
        "from reliable_ws import ConnectionClosed, connect, serve",
        """
        import asyncio
        #imports

        async def handler(websocket):
            await websocket.send("a message")

        async def main():
            async with serve(handler, "127.0.0.1", 0) as server:
                uri = "ws://127.0.0.1:{}".format(server.sockets[0].getsockname()[1])
                rounds = 0
                async for websocket in connect(uri):
                    try:
                        async for message in websocket:
                            print(message)
                    except ConnectionClosed:
                        continue
                    rounds += 1
                    if rounds == 2:
                        break

        asyncio.run(main())
        """,
    ),
    Program(
        "what a handler asks its connection",
        f"{BOTH}\nfrom websockets.exceptions import ConnectionClosedError",
        "from reliable_ws import ConnectionClosedError, connect, serve",
        """
        import asyncio
        #imports

        async def handler(websocket):
            host, port = websocket.remote_address[:2]
            print(host, port > 0, websocket.local_address[0], websocket.subprotocol)
            print(websocket.latency, websocket in {websocket})
            await websocket.close(4000, "that is all")

        async def main():
            options = {"additional_headers": {"X-Name": "x"}, "compression": None}
            async with serve(handler, "127.0.0.1", 0, subprotocols=["chat"]) as server:
                uri = "ws://127.0.0.1:{}".format(server.sockets[0].getsockname()[1])
                async with connect(uri, subprotocols=["chat"], **options) as websocket:
                    try:
                        await websocket.recv()
                    except ConnectionClosedError as error:
                        print(error.code, error.reason)
                print(websocket.close_code, websocket.close_reason)

        asyncio.run(main())
        """,
    ),
    Program(
        "threads",
        "from websockets.sync.server import serve\nfrom websockets.sync.client import connect",
        "from reliable_ws.sync import connect, serve",
        """
        import threading
        #imports

        def echo(websocket):
            for message in websocket:
                websocket.send(message)

        with serve(echo, "127.0.0.1", 0) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            port = PORT_OF(server)
            with connect(f"ws://127.0.0.1:{port}") as websocket:
                websocket.send("Hello world!")
                print(websocket.recv(timeout=10))
            print(websocket.close_code)
            server.shutdown()
            thread.join()
        """,
    ),
    Program(
        "a Unix socket with threads",
        "from websockets.sync.server import unix_serve\n"
        "from websockets.sync.client import unix_connect",
        "from reliable_ws.sync import unix_connect, unix_serve",
        """
        import os
        import tempfile
        import threading
        #imports

        def hello(websocket):
            websocket.send("Hello " + websocket.recv())

        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            with unix_serve(hello, path) as server:
                thread = threading.Thread(target=server.serve_forever)
                thread.start()
                with unix_connect(path) as websocket:
                    websocket.send("Ann")
                    print(websocket.recv())
                server.shutdown()
                thread.join()
        """,
    ),
]
