"""The library websockets, its implementation with threads: connections go in as they are."""

from __future__ import annotations

import signal
import threading

from websockets.sync.server import serve

from tests.sync.endpoints import BlockingEndpoints

from . import print_reports, selected

ENDPOINTS = BlockingEndpoints()


def run(port: int) -> None:
    gone = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: gone.set())
    server = serve(
        lambda ws: ENDPOINTS.paths[ws.request.path](ws),
        "127.0.0.1",
        port,
        compression=None,
        select_subprotocol=lambda _, offered: selected(offered),
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    gone.wait()
    print_reports(ENDPOINTS.session.sessions.drain(5.0))
    server.shutdown()
