"""The live page: one ASGI application, for this machine and with a token."""

from __future__ import annotations

import hmac
import http
import json
from pathlib import Path
from typing import Any

from .snapshot import LiveSource, snapshot

__all__ = ["Live", "live"]

SHORTEST_TOKEN = 16
"""Characters of a token, at least: whoever has it sees whom this process talks to."""

LOOPBACK = frozenset(("127.0.0.1", "::1"))

PAGE = Path(__file__).with_name("page.html")

HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'"
    ),
}

Answer = tuple[int, str, bytes]
"""Status, content type, and body."""

FORBIDDEN: Answer = (403, "text/plain", b"Only this machine may look at this.\n")
UNAUTHORIZED: Answer = (401, "text/plain", b"Authorization: Bearer TOKEN\n")
NOT_FOUND: Answer = (404, "text/plain", b"There is / and /state.json.\n")


class Live:
    """An ASGI application that shows the sessions of this process. :func:`live` makes it."""

    def __init__(
        self, sources: dict[str, LiveSource], token: str, *, only_this_machine: bool
    ) -> None:
        self._sources = sources
        self._token = token.encode()
        self._only_this_machine = only_this_machine

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer an HTTP request, or the life of the server."""
        if scope["type"] == "lifespan":
            while (await receive())["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["type"] != "http":
            raise ValueError(f"the live page answers HTTP, not {scope['type']!r}")
        given = {name: value for name, value in scope["headers"] if name == b"authorization"}
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        client = (scope.get("client") or ("",))[0]
        status, kind, body = await self.answer(path, client, given.get(b"authorization", b""))
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), **HEADERS}
        pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": body})

    async def answer(self, path: str, client: str, authorization: bytes) -> Answer:
        """Return what is answered to a request from an address."""
        if self._only_this_machine and client not in LOOPBACK:
            return FORBIDDEN
        if path in ("", "/"):
            return 200, "text/html; charset=utf-8", PAGE.read_bytes()
        if path != "/state.json":
            return NOT_FOUND
        if not hmac.compare_digest(authorization, b"Bearer " + self._token):
            return UNAUTHORIZED
        return 200, "application/json", json.dumps(await snapshot(self._sources)).encode()

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> Any:
        """Serve it without another web server: ``async with app.serve(port=9999)``.

        Returns what websockets' ``serve`` returns.
        """
        from websockets.asyncio.server import serve

        return serve(_refuse_websocket, host, port, process_request=self._process_request)

    async def _process_request(self, connection: Any, request: Any) -> Any:
        authorization = request.headers.get("Authorization", "").encode()
        client = str(connection.remote_address[0])
        path = request.path.partition("?")[0]
        status, kind, body = await self.answer(path, client, authorization)
        response = connection.respond(http.HTTPStatus(status), "")
        response.body = body
        del response.headers["Content-Type"], response.headers["Content-Length"]
        for name, value in {"Content-Type": kind, **HEADERS}.items():
            response.headers[name] = value
        response.headers["Content-Length"] = str(len(body))
        return response


async def _refuse_websocket(connection: Any) -> None:
    """Nothing comes here: every request was answered."""
    await connection.close()


def live(
    source: LiveSource | None = None,
    /,
    *,
    token: str,
    only_this_machine: bool = True,
    **endpoints: LiveSource,
) -> Live:
    """Return a live page of the sessions of a server: one ASGI application.

    It shows each session with its state, what it waits for and for how long, by the rules of
    :meth:`Connection.explain`; no payload and no key. Open ``http://127.0.0.1:PORT/#TOKEN`` in a
    browser, or run ``python -m reliable_ws top``. Without a web server: ``async with
    live(server, token=…).serve(port=9999)``. docs/live.md has more.

    Args:
        source: A server or ``Sessions``, also of ``reliable_ws.sync``.
        token: What a reader has to show: 16 characters at least, as ``secrets.token_urlsafe(16)``.
        only_this_machine: Whether other machines are refused. If a proxy in front passes requests
            on, all of them come from this machine.
        endpoints: The same as ``source``, by name.

    Raises:
        TypeError: There is no source, or it is something else.
        ValueError: The token is too short.
    """
    if len(token) < SHORTEST_TOKEN or not token.isascii():
        raise ValueError(f"token= must have {SHORTEST_TOKEN} ASCII characters at least")
    sources: dict[str, Any] = ({} if source is None else {"": source}) | endpoints
    for one in sources.values():
        if isinstance(one, type) or not hasattr(one, "connections"):
            raise TypeError(f"a live page is of a server or of Sessions, not of {one!r:.100}")
    if not sources:
        raise TypeError("a live page of what? Pass a server or Sessions")
    return Live(sources, token, only_this_machine=only_this_machine)
