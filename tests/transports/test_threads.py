"""websockets with threads, both sides, driven by ``reliable_ws.sync``, in every release."""

from __future__ import annotations

import inspect

import pytest
from websockets.sync.client import connect

from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.testing.transport_contract import BlockingClientContract
from tests.adapters.links import RELEASE

from .programs import ProgramContract

UNMADE = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
OPTIONS = {"proxy": None, "legacy": True, "ping_interval": None}
OPTIONS = {key: OPTIONS[key] for key in OPTIONS if key in inspect.signature(connect).parameters}

pytestmark = [
    pytest.mark.transport,
    # 13.1 alone: a connection that is reset while it is being made fails in a thread, too
    *([UNMADE] if RELEASE < (14, 0) else []),
]

KEEPS_UNREAD = RELEASE != (14, 0)


class TestServer(ProgramContract):
    library = "websockets (sync)"
    distributions = ("websockets",)
    program = ("own", "websockets_sync")
    keeps_unread = KEEPS_UNREAD


class TestClient(BlockingClientContract):
    library = "websockets (sync)"
    distributions = ("websockets",)
    keeps_unread = KEEPS_UNREAD

    def open(self, uri):
        return connect(uri, subprotocols=[SUBPROTOCOL], compression=None, **OPTIONS)
