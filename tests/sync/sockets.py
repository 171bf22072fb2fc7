"""What the tests of the driver with threads over real sockets share."""

from __future__ import annotations

import inspect

import pytest
import websockets.sync.client

from reliable_ws import Backoff, Config
from reliable_ws.sync import connect
from tests.adapters.links import RELEASE

PROXIED = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
over_sockets = [
    pytest.mark.transport,
    # 13.1 alone: a connection that is reset while it is being made fails in a thread, too
    *([PROXIED] if RELEASE < (14, 0) else []),
]

AT_ONCE = Backoff(initial=0.02, longest=0.1)
HASTY = Config(open_timeout=2, idle_timeout=0.6, session_ttl=20, close_progress_timeout=10)

KNOWN = inspect.signature(websockets.sync.client.connect).parameters
PLAIN = {key: value for key, value in {"proxy": None, "legacy": True}.items() if key in KNOWN}


def echo(conn):
    for message in conn:
        conn.send(message)


def local(server, port=None, **options):
    """Connect to a server, or to a proxy before it: only there is silence noticed soon."""
    options = {"reconnect": AT_ONCE} | ({} if port is None else {"config": HASTY}) | options
    return connect(f"ws://127.0.0.1:{port or server.port}/path", proxy=None, **options)


def plain(server):
    return websockets.sync.client.connect(f"ws://127.0.0.1:{server.port}", **PLAIN)
