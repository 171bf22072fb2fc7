"""simple-websocket, both sides: Flask-Sock's server, and the library's own client."""

from __future__ import annotations

import threading
import warnings

import pytest
import simple_websocket
from websockets.sync.server import serve

from reliable_ws.adapters import adapt_blocking
from reliable_ws.protocol.frames import SUBPROTOCOL
from reliable_ws.testing.transport_contract import BlockingClientContract
from reliable_ws.transport import TransportClosed

from .programs import ProgramContract

SECONDS = 60


class TestFlaskSock(ProgramContract):
    library = "simple-websocket, Flask-Sock on Werkzeug"
    distributions = ("simple-websocket", "flask-sock", "werkzeug")
    program = ("own", "flask_sock_app")


class TestFlaskSockOnGunicorn(ProgramContract):
    library = "simple-websocket, Flask-Sock on gunicorn, `-k gthread`"
    distributions = ("simple-websocket", "flask-sock", "gunicorn")
    program = ("gunicorn", "flask_sock_app", 'worker_class="gthread"', "threads=64")


class TestClient(BlockingClientContract):
    library = "simple-websocket"
    distributions = ("simple-websocket",)

    def open(self, uri):
        try:
            return simple_websocket.Client.connect(
                uri if uri.count("/") > 2 else f"{uri}/",  # it asks for no empty path
                subprotocols=[SUBPROTOCOL],
                max_message_size=2**20,
            )
        except Exception as error:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                error.__traceback__ = None  # frames hold a socket, which is left open
            raise


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


BREAKS = {
    "the peer closes": lambda ws: ws.close(),
    "the peer resets": lambda ws: ws.socket.close(),
    "the peer breaks the rules": lambda ws: ws.socket.sendall(b"\xff\xff\xff\xff"),
    "the peer waits": lambda ws: None,
}


@pytest.mark.parametrize("end", BREAKS)
# Its thread dies of bytes that are no WebSocket, and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_abort_leaves_no_socket_open(end):
    """The library closes it in its thread, if that does not die before."""
    ready, over = threading.Event(), threading.Event()

    def handler(ws):
        ready.wait(SECONDS)
        BREAKS[end](ws)
        over.wait(SECONDS)

    with serve(handler, "127.0.0.1", 0) as server:
        port = server.socket.getsockname()[1]
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        ws = simple_websocket.Client.connect(f"ws://127.0.0.1:{port}/")
        sock, transport = ws.sock, adapt_blocking(ws)
        ready.set()
        if end != "the peer waits":
            with pytest.raises(TransportClosed):
                transport.recv()
        transport.abort()
        assert sock.fileno() == -1
        ws.thread.join(SECONDS)
        over.set()
        server.shutdown()
        serving.join()
