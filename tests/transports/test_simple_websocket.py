"""simple-websocket, both sides: Flask-Sock's server, and the library's own client."""

from __future__ import annotations

import gc
import threading
import warnings

import pytest
import simple_websocket
from websockets.sync.server import serve

from reliable_ws.adapters import adapt_blocking
from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.testing.transport_contract import BlockingClientContract

from .programs import ProgramContract


class TestFlaskSock(ProgramContract):
    library = "simple-websocket, Flask-Sock on Werkzeug"
    distributions = ("simple-websocket", "flask-sock", "werkzeug")
    program = ("own", "flask_sock_app")


# A connect() that is refused leaves its socket to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestClient(BlockingClientContract):
    library = "simple-websocket"
    distributions = ("simple-websocket",)

    def open(self, uri):
        return simple_websocket.Client.connect(
            uri if uri.count("/") > 2 else f"{uri}/",  # it asks for no empty path
            subprotocols=[SUBPROTOCOL],
            max_message_size=2**20,
        )


def test_pongs_do_not_get_into_a_message_that_is_being_sent():
    """The library's own thread answers pings meanwhile, on the same socket."""
    received = []

    def handler(ws):
        for _ in range(3):
            for _ in range(20):
                ws.ping()
            received.append(len(ws.recv()))
        ws.send(b"done")

    with serve(handler, "127.0.0.1", 0, max_size=None) as server:
        port = server.socket.getsockname()[1]
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        transport = adapt_blocking(simple_websocket.Client.connect(f"ws://127.0.0.1:{port}/"))
        for _ in range(3):
            transport.send(bytes(6_000_000))
        assert transport.recv() == b"done"
        transport.close()
        server.shutdown()
        serving.join()
    assert received == [6_000_000] * 3


def test_a_websocket_that_is_closed_is_refused():
    with serve(lambda ws: ws.recv(), "127.0.0.1", 0) as server:
        port = server.socket.getsockname()[1]
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        ws = simple_websocket.Client.connect(f"ws://127.0.0.1:{port}/")
        ws.close()
        with pytest.raises(ValueError, match="is closed"):
            adapt_blocking(ws)
        ws.thread.join()
        ws.sock.close()  # the library does not
        server.shutdown()
        serving.join()


@pytest.fixture(autouse=True)
def _sockets_that_the_library_leaves_open():
    """Its client leaves a socket to the collector where the peer is gone: not in a later test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
