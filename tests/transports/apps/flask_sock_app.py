"""Flask-Sock on Werkzeug's server with threads: a ``Server`` of simple-websocket."""

from __future__ import annotations

from flask import Flask
from flask_sock import Sock
from werkzeug.serving import make_server

from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.sync import drain_on_sigterm
from tests.sync.endpoints import BlockingEndpoints

from . import print_reports

ENDPOINTS = BlockingEndpoints()

app = Flask(__name__)
app.config["SOCK_SERVER_OPTIONS"] = {"subprotocols": [SUBPROTOCOL], "max_message_size": 2**20}
sock = Sock(app)


@sock.route("/<name>")
def endpoint(ws, name: str) -> None:
    ENDPOINTS.paths[f"/{name}"](ws)


def prepare(then=None) -> None:
    drain_on_sigterm(ENDPOINTS.session.sessions, timeout=5.0, on_drained=print_reports, then=then)


def run(port: int) -> None:
    server = make_server("127.0.0.1", port, app, threaded=True)
    server.daemon_threads = True
    prepare(then=server.shutdown)
    server.serve_forever()
