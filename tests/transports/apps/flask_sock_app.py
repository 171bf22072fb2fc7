"""Flask-Sock on Werkzeug's server with threads: a ``Server`` of simple-websocket."""

from __future__ import annotations

import signal
import threading

from flask import Flask
from flask_sock import Sock
from werkzeug.serving import make_server

from reliable_ws.protocol.frames import SUBPROTOCOL
from tests.sync.endpoints import BlockingEndpoints

from . import print_reports

ENDPOINTS = BlockingEndpoints()

app = Flask(__name__)
app.config["SOCK_SERVER_OPTIONS"] = {"subprotocols": [SUBPROTOCOL], "max_message_size": 2**20}
sock = Sock(app)


@sock.route("/<name>")
def endpoint(ws, name: str) -> None:
    ENDPOINTS.paths[f"/{name}"](ws)


def run(port: int) -> None:
    gone = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: gone.set())
    server = make_server("127.0.0.1", port, app, threaded=True)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    gone.wait()
    print_reports(ENDPOINTS.session.sessions.drain(5.0))
    server.shutdown()
