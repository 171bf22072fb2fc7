"""What Pyodide talks to: an echo behind a proxy that cuts, a plain WebSocket, and files."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import json
import zipfile
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote

from websockets.asyncio.server import serve as serve_plain
from websockets.datastructures import Headers
from websockets.http11 import Response

import reliable_ws
from reliable_ws import ConnectionClosed, Methods
from reliable_ws.testing import ChaosProxy

HERE = Path(__file__).parent
TYPES = {
    ".html": "text/html",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".json": "application/json",
}


@functools.cache
def package() -> bytes:
    """The package as it stands, zipped as in a wheel."""
    root = Path(reliable_ws.__file__).parent
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(root.rglob("*.py")):
            archive.write(path, path.relative_to(root.parent))
    return buffer.getvalue()


class Serving:
    """One server for one run of Pyodide."""

    def __init__(self, pyodide: Path, wheel: Path) -> None:
        self.pyodide = pyodide
        self.wheel = wheel
        self.result: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.closed: asyncio.Queue[int] = asyncio.Queue()
        self.proxy: ChaosProxy
        self.http = ""

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, pyodide: Path, wheel: Path):
        serving = cls(pyodide, wheel)
        async with (
            reliable_ws.serve(serving.echo, "127.0.0.1", 0, methods=METHODS) as server,
            ChaosProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as serving.proxy,
            serve_plain(
                serving.plain, "127.0.0.1", 0, process_request=serving.answer, compression=None
            ) as files,
        ):
            serving.http = f"http://127.0.0.1:{files.sockets[0].getsockname()[1]}"
            yield serving

    async def echo(self, conn) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await conn.send(await conn.recv())

    async def plain(self, ws) -> None:
        await ws.wait_closed()
        self.closed.put_nowait(ws.close_code)

    async def answer(self, ws, request):
        """Answer a request of HTTP; ``None``: it is one for a WebSocket."""
        path, _, query = request.path.partition("?")
        if "Upgrade" in request.headers:
            return None
        body: bytes | str | Path
        match path:
            case "/do":
                body = str(await self.do(query))
            case "/result" | "/failure":
                if not self.result.done():
                    self.result.set_result(unquote(query))
                body = ""
            case "/ports":
                plain = self.http.replace("http", "ws")
                body = json.dumps({"proxied": self.proxy.uri(), "plain": plain})
            case "/reliable_ws.whl":
                body = package()
            case "/msgpack.whl":
                body = self.wheel
            case "/page.md":
                body = HERE.parents[1] / "docs/pyodide.md"
            case _ if path.startswith("/pyodide/"):
                body = self.pyodide / Path(path).name
            case _:
                body = HERE / Path(path).name
        return respond(body)

    async def do(self, command: str) -> object:
        """Do something to the network, or tell with what code a plain WebSocket was closed."""
        match command:
            case "cut":
                return self.proxy.cut()
            case "reset":
                struck = self.proxy.reset()
                self.proxy.resume()
                return struck
            case "offline":
                self.proxy.refuse(listening=False)
                return self.proxy.reset()
            case "online":
                return self.proxy.accept()
            case "stall":
                return self.proxy.stall()
            case "closed":
                return await self.closed.get()
        raise AssertionError(command)


def respond(body: bytes | str | Path) -> Response:
    """Return an answer of HTTP with these contents, or those of a file."""
    kind = TYPES.get(body.suffix, "text/plain") if isinstance(body, Path) else "text/plain"
    if isinstance(body, Path) and not body.is_file():
        return Response(HTTPStatus.NOT_FOUND, "Not Found", Headers({"Content-Length": "0"}), b"")
    data = body.read_bytes() if isinstance(body, Path) else body
    data = data.encode() if isinstance(data, str) else data
    headers = {"Content-Type": kind, "Content-Length": str(len(data)), "Connection": "close"}
    headers["Access-Control-Allow-Origin"] = "*"
    return Response(HTTPStatus.OK, "OK", Headers(headers), data)


METHODS = Methods()


@METHODS.add
async def ask_back(conn: reliable_ws.Connection, number: int) -> object:
    return await conn.request("double", number)


@METHODS.add
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "slept"


@METHODS.add
async def ready() -> bool:
    return True


@METHODS.add
async def count(upto: int):
    for number in range(upto):
        yield number
