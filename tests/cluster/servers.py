"""A real engine, and a TCP balancer that sends every connection to some node."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import redis

from tests.support.ports import HOST, free_port

MISSING = "redis-server is missing: apt-get install redis-server"


class RedisServer:
    """A redis-server of the test's own."""

    def __init__(self, folder: Path, *options: str, port: int | None = None) -> None:
        found = shutil.which("redis-server")
        assert found is not None, MISSING
        self._program = found
        self.folder = folder
        self.options = options
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}"

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(host=HOST, port=self.port)

    def start(self) -> None:
        command = [self._program, "--port", str(self.port), "--bind", HOST, "--save", ""]
        command += ["--dir", str(self.folder), *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        by = time.monotonic() + 10
        while True:
            with contextlib.suppress(redis.RedisError), self.client as client:
                client.ping()
                return
            assert time.monotonic() < by, "redis-server does not answer"
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None


class Balancer:
    """Sends every TCP connection to one of several ports, at random or as it is told."""

    def __init__(self, ports: list[int], seed: int = 0, to: str = HOST) -> None:
        """``to``: the host of these ports."""
        self._to = to
        self.ports = ports
        self.choose = random.Random(seed).choice
        self._ends: dict[int, list[asyncio.StreamWriter]] = {}  # of each connection, by its number
        self._serving: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.arrivals: list[float] = []
        "When each connection came, by the monotonic clock."

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._server is not None
        self._server.close()
        self.ports = []  # for what has been accepted, and is not served yet
        self.cut()
        await asyncio.gather(*self._serving, return_exceptions=True)

    @property
    def uri(self) -> str:
        return f"ws://{HOST}:{self.port}/"

    @property
    def connections(self) -> int:
        """How many came."""
        return len(self.arrivals)

    def cut(self, most: int | None = None) -> None:
        """Drop all connections, or so many of them."""
        for ends in list(self._ends.values())[:most]:
            for writer in ends:
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.arrivals)
        self.arrivals.append(time.monotonic())
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        ends = self._ends[number] = [writer]
        try:
            there = await self._open()
            if there is None:
                return
            ends.append(there[1])
            if not writer.is_closing():  # it was not cut meanwhile
                await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
        except OSError:
            pass
        finally:
            del self._ends[number]
            for one in ends:
                one.transport.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Return a connection to one of the ports, or nothing if none takes it."""
        ports = list(self.ports)
        while ports:
            port = self.choose(ports)
            try:
                return await asyncio.open_connection(self._to, port)
            except OSError:  # as a balancer does whose check has failed
                if port not in ports:  # it was told to take no other one
                    return None
                ports.remove(port)
        return None


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
