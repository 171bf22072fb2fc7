"""WebSockets from node to node: one inner WebSocket for each that is passed on.

Theory of operation. The node that a client has reached is the *edge*; the node that has its session
is the *owner*. The edge opens an inner WebSocket to the owner, sends a ticket
(:mod:`.ticket`) and the client's Hello, and from then on passes messages both ways, unopened. To
the owner this is one WebSocket more, :class:`RelayedTransport`. Whichever end goes, the other one
goes too.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from reliable_ws.adapters.websockets.asyncio import WebSocketsTransport, dial, listen
from reliable_ws.driver.log_limit import LogLimit
from reliable_ws.driver.status import logger
from reliable_ws.protocol.codec import encode
from reliable_ws.protocol.frames import Code, Refuse
from reliable_ws.protocol.session import Role
from reliable_ws.transport import Transport, TransportClosed

from .spread import Spread
from .ticket import BadTicket, Ticket, read_ticket
from .view import show

__all__ = ["Address", "Listener", "NotReachable", "PipedRelay", "RelayedTransport", "open_inner"]

TOO_BIG_TOLD = 3009
"""How 1009 is told on an inner WebSocket: libraries keep that code for themselves."""

YOUNG = 60.0
"""Seconds for which a socket that refuses may belong to a process that is just starting."""

LAST_WORD = 3.0
"""Seconds that a client has to take the last word of a node that leaves, and to close."""

SLACK = 64 * 1024
"""Bytes that an inner WebSocket takes above the largest frame."""


class NotReachable(ConnectionError):
    """A node that lives, as far as the engine knows, and cannot be reached from here."""


class Address(NamedTuple):
    """How a node can be reached."""

    name: str
    "For people."
    machine: str
    local: str
    "On the same machine: the path of a Unix socket, or a URI."
    uri: str | None
    "From other machines; ``None``: not at all."

    def pack(self) -> bytes:
        """Return it as the engine has it."""
        packed: bytes = msgpack.packb(tuple(self))
        return packed

    @classmethod
    def unpack(cls, data: bytes) -> Address:
        """Return what :meth:`pack` has packed."""
        return cls(*msgpack.unpackb(data))

    def way_from(self, machine: str) -> tuple[str, str | None] | None:
        """Return URI and path of the Unix socket, seen from a machine; ``None``: there is no way.

        Containers share a machine and not its files, so a socket counts only where it is seen.
        """
        if self.machine == machine:
            if self.local.startswith("ws:"):
                return self.local, None
            if Path(self.local).exists():
                return "ws://localhost/", self.local
        return None if self.uri is None else (self.uri, None)


def this_machine() -> str:
    """Return what tells this machine from others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return f"{socket.gethostname()}-{uuid.getnode():x}"


async def open_inner(address: Address, machine: str, timeout: float) -> WebSocketsTransport:
    """Return an inner WebSocket to a node.

    Raises:
        NotReachable: There is no way, or nobody answers within ``timeout`` seconds.
    """
    way = address.way_from(machine)
    if way is None:
        raise NotReachable(f"{address.name} cannot be reached from here: it has no advertise=")
    uri, path = way
    options: dict[str, Any] = {} if path is None else {"unix": True, "path": path}
    try:
        return await dial(
            uri, subprotocols=None, proxy=None, open_timeout=timeout, max_size=None, **options
        )
    except Exception as error:  # whatever the library or the system raises
        raise NotReachable(f"{address.name} at {path or uri}: {error!r}") from error


class RelayedTransport:
    """A WebSocket at another node, as a :class:`~reliable_ws.transport.Transport` here."""

    def __init__(self, inner: Transport, websocket: object, max_frame: int | None) -> None:
        self._inner = inner
        self.websocket = websocket
        "What the application may look at."
        self.role: Role | None = "acceptor"
        self.max_frame = max_frame
        # A call less for each message.
        self.send = inner.send
        self.send_now = inner.send_now
        self.abort = inner.abort

    def push_to(self, receiver: Callable[[bytes], None], /) -> Awaitable[None] | None:
        """Hand each message to ``receiver`` as it arrives, where the inner one can."""
        push_to = getattr(self._inner, "push_to", None)
        return None if push_to is None else push_to(receiver)

    async def recv(self) -> bytes | str:
        """Return the next message.

        Raises:
            TransportClosed: With the code that the client has said at the other node.
        """
        try:
            return await self._inner.recv()
        except TransportClosed as end:
            if end.code == TOO_BIG_TOLD:
                raise TransportClosed(Code.TOO_BIG, end.reason) from end
            raise

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Run the closing handshake; the other node closes its WebSocket in the same way."""
        await self._inner.close(code, reason)


class PipedRelay:
    """Passes messages on between a client's WebSocket and an inner one."""

    def __init__(self, inner: Transport, on_end: Callable[[PipedRelay], None]) -> None:
        self._inner = inner
        self._on_end = on_end
        self._leaving: asyncio.Future[tuple[str, Spread]] = (
            asyncio.get_running_loop().create_future()
        )
        self._ended = asyncio.Event()

    async def carry(self, transport: Transport) -> None:
        """Pass on everything, both ways, until one of the two ends is gone."""
        inner = self._inner
        ways = [
            asyncio.create_task(_pass_on(transport, inner, is_inward=True)),
            asyncio.create_task(_pass_on(inner, transport, is_inward=False)),
        ]
        try:
            ends: list[asyncio.Future[Any]] = [*ways, self._leaving]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            if self._leaving.done():
                await _ask_again(transport, *self._leaving.result())
            inner.abort()
            transport.abort()
            self._ended.set()
            self._on_end(self)

    def leave(self, reason: str, spread: Spread) -> None:
        """Ask the client to come again, at a moment of its own.

        It reaches another node then, and the owner has noticed nothing but the loss of a WebSocket.
        """
        if not self._leaving.done():
            self._leaving.set_result((reason, spread))

    async def ended(self) -> None:
        """Return when both WebSockets are gone: once it was to leave, soon."""
        await self._ended.wait()


async def _ask_again(transport: Transport, reason: str, spread: Spread) -> None:
    """Ask a client to come again, and close; one that does not listen is left."""
    retry = spread.retry(asyncio.get_running_loop().time())
    data = encode([Refuse(Code.AWAY, reason, int(retry * 1000), None)])
    with suppress(TransportClosed, TimeoutError):
        async with asyncio.timeout(LAST_WORD):
            await transport.send(data)
            await transport.close(Code.AWAY, "")


async def _pass_on(source: Transport, target: Transport, *, is_inward: bool) -> None:
    """Pass messages one way, to the end; then close the target as the source was closed."""
    try:
        while True:
            data = await source.recv()
            # A text breaks the protocol, and so does an empty message: the owner says so.
            packet = b"" if isinstance(data, str) else data
            if not target.send_now(packet):
                await target.send(packet)
    except TransportClosed as end:
        if is_inward:
            if end.code is not None:
                told = TOO_BIG_TOLD if end.code == Code.TOO_BIG else end.code
                await target.close(told, end.reason)
        else:
            # An owner that says no code is gone: the client comes again, and is told where to.
            await target.close(end.code or Code.RESTART, end.reason)


class Listener:
    """Takes inner WebSockets from other nodes."""

    def __init__(
        self,
        node: bytes,
        secret: Callable[[], bytes],
        serve: Callable[[Transport, Ticket], Awaitable[None]],
        wall: Callable[[], float],
        *,
        timeout: float,
        max_frame: int,
    ) -> None:
        self._node = node
        self._secret = secret
        self._serve = serve
        self._wall = wall
        self._timeout = timeout
        self._max_size = max_frame + SLACK
        self._servers: list[Any] = []
        self._refused = LogLimit()  # lines about tickets: anybody may send one
        self._path: Path | None = None

    async def open_local(self) -> str:
        """Listen on this machine; return where.

        Raises:
            OSError: It cannot be listened there.
        """
        if hasattr(socket, "AF_UNIX"):
            folder = private_folder()
            remove_dead(folder, time.time())
            path = folder / f"{self._node.hex()}.sock"
            self._servers.append(await self._listen(None, None, unix=True, path=str(path)))
            self._path = path
            return str(path)
        server = await self._listen("127.0.0.1", 0)
        self._servers.append(server)
        return f"ws://127.0.0.1:{_port_of(server)}/"

    async def open_for_others(self, host: str | None, port: int) -> int:
        """Listen for other machines; return the port.

        Raises:
            OSError: It cannot be listened there.
        """
        server = await self._listen(host, port)
        self._servers.append(server)
        return _port_of(server)

    async def _listen(self, host: str | None, port: int | None, **options: Any) -> Any:
        return await listen(
            self._accept,
            host,
            port,
            subprotocols=None,
            open_timeout=self._timeout,
            max_size=self._max_size,
            **options,
        )

    async def _accept(self, inner: Transport) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                data = await inner.recv()
            ticket = read_ticket(data, self._secret(), self._node, self._wall())
        except BadTicket as error:
            if self._refused.admits(time.monotonic()):
                words = "cluster: a WebSocket of another node was refused: %s%s"
                logger.warning(words, error, self._refused.more())
            await inner.close(Code.AWAY, "not believed")
            return
        except (TimeoutError, TransportClosed):
            inner.abort()
            return
        await self._serve(RelayedTransport(inner, show(ticket.view), ticket.max_frame), ticket)

    async def close(self) -> None:
        """Take no more, and drop those that there are."""
        for server in self._servers:
            server.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def private_folder() -> Path:
    """Return a folder for sockets that only this user can enter.

    Raises:
        OSError: There is none: somebody else has made a folder of that name.
    """
    folder = Path(tempfile.gettempdir()) / f"reliable-ws-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if about.st_uid != os.getuid() or about.st_mode & 0o077 or folder.is_symlink():
        raise OSError(f"{folder} is not this user's alone: remove it")
    return folder


def remove_dead(folder: Path, wall: float) -> None:
    """Remove the sockets of processes that were killed."""
    for path in folder.glob("*.sock"):
        try:
            if path.stat().st_mtime > wall - YOUNG:
                continue
            with socket.socket(socket.AF_UNIX) as probe:
                probe.setblocking(False)  # noqa: FBT003 - the method's own
                probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError:  # it is gone, or somebody listens and is busy
            continue


def _port_of(server: Any) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port
