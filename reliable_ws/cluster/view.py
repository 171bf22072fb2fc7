"""What the owner of a session is shown of a WebSocket that is at another node. Pure.

``describe`` is called where the WebSocket is, ``show`` where its session is. Everything in between
is plain values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from websockets.datastructures import Headers

__all__ = ["RelayedRequest", "RelayedWebSocket", "describe", "show"]

SHOWN_OF_SCOPE = (
    "type",
    "http_version",
    "scheme",
    "path",
    "raw_path",
    "query_string",
    "root_path",
    "subprotocols",
)
"""What is passed on of an ASGI scope, besides ``headers``, ``client`` and ``server``."""


class RelayedRequest:
    """The request that opened a relayed WebSocket.

    Attributes:
        path: Path and query.
        headers: As the client sent them.
    """

    def __init__(self, path: str, headers: Headers) -> None:
        self.path = path
        self.headers = headers


class RelayedWebSocket:
    """A WebSocket of a client at another node: what can be looked at.

    Attributes:
        request: Path and headers.
        remote_address: The client's address at the other node.
        local_address: The other node's address.
        subprotocol: What was selected, or ``None``.
        scope: The ASGI scope, where the other node's WebSocket has one, else ``None``.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.request = RelayedRequest(values["path"], Headers(values["headers"]))
        self.remote_address = _address(values["remote"])
        self.local_address = _address(values["local"])
        self.subprotocol: str | None = values["subprotocol"]
        self.scope = _scope(values["scope"])

    @property
    def headers(self) -> Headers:
        """The request's headers."""
        return self.request.headers

    @property
    def path(self) -> str:
        """Path and query of the request."""
        return self.request.path

    def __repr__(self) -> str:
        """Where it is from."""
        return f"<RelayedWebSocket {self.request.path} of {self.remote_address}>"


def describe(websocket: Any) -> dict[str, Any]:
    """Return what another process may see of a WebSocket, as plain values."""
    is_scope = isinstance(websocket, Mapping)
    scope = websocket if is_scope else getattr(websocket, "scope", None)
    if isinstance(scope, Mapping):
        query = _text(scope.get("query_string") or b"")
        path = str(scope.get("path") or "") + (f"?{query}" if query else "")
        headers = [(_text(name), _text(value)) for name, value in scope.get("headers") or ()]
        remote, local = scope.get("client"), scope.get("server")
        shown = {name: scope[name] for name in SHOWN_OF_SCOPE if _is_plain(scope.get(name))}
        subprotocol = None
    else:
        request = getattr(websocket, "request", None)
        path = str(getattr(request, "path", getattr(websocket, "path", "")))
        headers = _pairs(getattr(request, "headers", getattr(websocket, "request_headers", ())))
        remote = getattr(websocket, "remote_address", None)
        local = getattr(websocket, "local_address", None)
        shown = None
        subprotocol = getattr(websocket, "subprotocol", None)
    return {
        "is_scope": is_scope,
        "path": path,
        "headers": headers,
        "remote": list(remote) if isinstance(remote, list | tuple) else remote or None,
        "local": list(local) if isinstance(local, list | tuple) else local or None,
        "subprotocol": subprotocol if isinstance(subprotocol, str) else None,
        "scope": shown,
    }


def show(values: Mapping[str, Any]) -> Any:
    """Return what ``conn.websocket`` is for a relayed WebSocket: a scope, or an object."""
    websocket = RelayedWebSocket(_with_addresses(values))
    return websocket.scope if values["is_scope"] else websocket


def _with_addresses(values: Mapping[str, Any]) -> Mapping[str, Any]:
    scope = values["scope"]
    if scope is None:
        return values
    headers = [
        (name.encode("latin-1"), value.encode("latin-1")) for name, value in values["headers"]
    ]
    added = {"headers": headers, "client": values["remote"], "server": values["local"]}
    return {**values, "scope": {**scope, **added}}


def _scope(scope: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if scope is None else dict(scope)


def _address(address: Any) -> Any:
    return tuple(address) if isinstance(address, list) else address


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _pairs(headers: Any) -> list[tuple[str, str]]:
    pairs: Iterable[tuple[Any, Any]]
    if hasattr(headers, "raw_items"):  # of websockets
        pairs = headers.raw_items()
    elif isinstance(headers, Mapping):
        pairs = headers.items()
    else:
        pairs = headers
    return [(_text(name), _text(value)) for name, value in pairs]


def _is_plain(value: object) -> bool:
    return isinstance(value, str | bytes) or (
        isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
    )
