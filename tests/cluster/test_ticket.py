"""What a node is told of a WebSocket that is passed on, and whether it is believed."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from reliable_ws.cluster.ticket import LIFE, BadTicket, Ticket, read_ticket, write_ticket
from reliable_ws.cluster.view import RelayedWebSocket, describe, show

NODE = b"owner"
TICKET = Ticket(NODE, b"s" * 16, False, b"who", 4096, {"path": "/"})


def test_a_ticket_says_what_was_written() -> None:
    assert read_ticket(write_ticket(TICKET, b"secret", 100.0), b"secret", NODE, 101.0) == TICKET


@pytest.mark.parametrize(
    ("change", "secret", "node", "wall", "words"),
    [
        (lambda data: data, b"other", NODE, 100.0, "signature"),
        (lambda data: data[:-1] + b"x", b"secret", NODE, 100.0, "signature"),
        (lambda data: data, b"secret", b"another", 100.0, "another node"),
        (lambda data: data, b"secret", NODE, 100.0 + LIFE, "too old"),
        (lambda data: data, b"secret", NODE, 100.0 - 2 * LIFE, "too old"),
        (lambda data: data[:20], b"secret", NODE, 100.0, "no ticket"),
        (lambda _data: "text", b"secret", NODE, 100.0, "no ticket"),
    ],
)
def test_a_bad_ticket_is_not_believed(
    change: Any, secret: bytes, node: bytes, wall: float, words: str
) -> None:
    data = change(write_ticket(TICKET, b"secret", 100.0))
    with pytest.raises(BadTicket, match=words):
        read_ticket(data, secret, node, wall)


def test_a_scope_of_asgi_is_shown_as_one() -> None:
    scope = {
        "type": "websocket",
        "path": "/chat",
        "query_string": b"room=1",
        "headers": [(b"x-tenant", b"bl\xfce")],
        "client": ("192.0.2.1", 4711),
        "server": ("192.0.2.2", 80),
        "subprotocols": ["reliable-ws.v1"],
        "app": object(),
    }
    shown = show(describe(scope))
    assert shown["path"] == "/chat"
    assert shown["query_string"] == b"room=1"
    assert shown["headers"] == [(b"x-tenant", b"bl\xfce")]
    assert tuple(shown["client"]) == ("192.0.2.1", 4711)
    assert "app" not in shown


def test_an_object_that_holds_a_scope_is_shown_with_its_scope() -> None:
    class Framework:
        scope: ClassVar[dict[str, Any]] = {
            "type": "websocket",
            "path": "/x",
            "headers": [],
            "client": ("192.0.2.1", 1),
        }

    shown = show(describe(Framework()))
    assert isinstance(shown, RelayedWebSocket)
    assert shown.path == "/x"
    assert shown.remote_address == ("192.0.2.1", 1)
    assert shown.scope is not None
    assert shown.scope["path"] == "/x"


def test_whatever_has_neither_is_shown_as_far_as_it_tells() -> None:
    shown = show(describe(object()))
    assert shown.remote_address is None
    assert list(shown.headers) == []
    assert "RelayedWebSocket" in repr(shown)
