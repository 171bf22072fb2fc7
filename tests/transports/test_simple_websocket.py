"""simple-websocket, both sides: Flask-Sock's server, and the library's own client."""

from __future__ import annotations

import simple_websocket

from reliable_ws.protocol.frames import SUBPROTOCOL
from tests.sync.awaited import BlockingClientContract

from .programs import ProgramContract


class TestFlaskSock(ProgramContract):
    library = "simple-websocket, Flask-Sock on Werkzeug"
    distributions = ("simple-websocket", "flask-sock", "werkzeug")
    program = ("own", "flask_sock_app")


class TestClient(BlockingClientContract):
    library = "simple-websocket"
    distributions = ("simple-websocket",)

    def open(self, uri):
        return simple_websocket.Client.connect(
            uri, subprotocols=[SUBPROTOCOL], max_message_size=2**20
        )
