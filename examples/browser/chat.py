"""A chat in the browser that loses nothing: not when the network is cut, not by a reload.

python examples/browser/chat.py, then open the address that it prints, in two windows.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

import reliable_ws
from reliable_ws import browser
from reliable_ws.testing import ChaosProxy

PAGE = Path(__file__).with_name("chat.html")
MAX_LINES = 200

# ---------------------------------------------------------------- the chat: any server can have it

room = reliable_ws.Group()
methods = reliable_ws.Methods()
lines: dict[str, dict[str, Any]] = {}  # what was said, by its id; the page draws that
followers: set[asyncio.Task[None]] = set()


@methods.register
async def join(conn: reliable_ws.Connection, name: str) -> list[dict[str, Any]]:
    """Give this session what is said from now on, and return what was said before."""
    if conn not in room:
        room.join(conn, identity=name)
    return list(lines.values())


async def chat(conn: reliable_ws.Connection) -> None:
    """Serve one session: it lives on while WebSockets, and even pages, come and go."""
    async for delivery in conn.deliveries():
        line = {**delivery.message, "got": {}}
        if line["id"] not in lines:  # said in an earlier session, which the server had lost
            lines[line["id"]] = line
            if len(lines) > MAX_LINES:
                del lines[next(iter(lines))]
            task = asyncio.create_task(follow(room.publish(line), line))
            followers.add(task)
            task.add_done_callback(followers.discard)
        delivery.confirm()  # the sender's page says "saved" now


async def follow(publication: reliable_ws.Publication, line: dict[str, Any]) -> None:
    """Tell everybody who has got this line, as it becomes known."""
    async for recipient in publication:
        line["got"][recipient.identity] = recipient.fate.value
        room.publish({"id": line["id"], "got": dict(line["got"])})


# ---------------------------------------------------------------- cables, to cut them


class Cables:
    """The network of this example: a cable for each person, who can cut it."""

    def __init__(self, stack: contextlib.AsyncExitStack, port: int) -> None:
        self._stack = stack
        self._port = port
        self._proxies: dict[str, ChaosProxy] = {}

    async def handle(self, name: str, action: str) -> str:
        """Cut or mend the cable of a person, and return the address at its end."""
        if name not in self._proxies:
            proxy = ChaosProxy("127.0.0.1", self._port)
            self._proxies[name] = await self._stack.enter_async_context(proxy)
        proxy = self._proxies[name]
        if action == "cut":
            proxy.refuse()
            proxy.reset()
        elif action == "mend":
            proxy.accept()
        return proxy.uri("/chat")


# ---------------------------------------------------------------- this server: websockets' own


async def main(port: int) -> None:
    """Serve the page, the JavaScript client and the chat, all at one port."""
    async with contextlib.AsyncExitStack() as stack:

        async def answer(_: ServerConnection, request: Request) -> Response | None:
            """Answer what is asked by HTTP; ``None``: it is a WebSocket."""
            url = urlsplit(request.path)
            query = dict(parse_qsl(url.query))
            match url.path:
                case "/chat":
                    return None
                case "/":
                    return respond("text/html", PAGE.read_bytes())
                case "/reliable-ws.js":
                    return respond("text/javascript", browser.path().read_bytes())
                case "/cable":
                    uri = await cables.handle(query.get("name", ""), query.get("do", ""))
                    return respond("text/plain", uri.encode())
            return respond("text/plain", b"there is no such page", HTTPStatus.NOT_FOUND)

        server = await stack.enter_async_context(
            reliable_ws.serve(chat, "127.0.0.1", port, methods=methods, process_request=answer)
        )
        cables = Cables(stack, server.port)
        print(f"open http://127.0.0.1:{server.port}/ in two windows", flush=True)
        await asyncio.Event().wait()


def respond(kind: str, body: bytes, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Return an answer by HTTP."""
    headers = {"Content-Type": f"{kind}; charset=utf-8", "Content-Length": str(len(body))}
    return Response(status, status.phrase, Headers(headers | {"Connection": "close"}), body)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="a chat in the browser that loses nothing")
    parser.add_argument("--port", type=int, default=8765, help="0: any that is free")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(parser.parse_args().port))
