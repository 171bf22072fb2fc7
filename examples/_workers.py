"""Programs for two examples: redis-server, haproxy, and workers behind it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
    option redispatch
    retries 3
frontend web
    bind 127.0.0.1:{port}
    default_backend workers
backend workers
    balance roundrobin
{servers}
"""
SERVER = "    server w{port} 127.0.0.1:{port} check inter 200ms fall 1"


class Shop:
    """Three workers behind haproxy, with one engine. All ends with the block."""

    def __init__(self, program: str, folder: Path, workers: int = 3) -> None:
        self._program = program
        self._folder = folder
        with contextlib.ExitStack() as stack:
            probes = [
                stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                for _ in range(2 + workers)
            ]
            self._front, self._engine, *self.ports = (p.getsockname()[1] for p in probes)
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._running: list[subprocess.Popen[bytes]] = []

    @property
    def uri(self) -> str:
        """Where clients go."""
        return f"ws://127.0.0.1:{self._front}"

    async def __aenter__(self) -> Shop:  # noqa: PYI034 - nobody derives from it
        try:
            await self._begin()
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._end()

    async def _begin(self) -> None:
        engine = ["redis-server", "--port", str(self._engine), "--save", ""]
        self._start(*engine, "--dir", str(self._folder))
        await self._until_it_listens(self._engine)
        for port in self.ports:
            self._start_worker(port)
        servers = "\n".join(SERVER.format(port=port) for port in self.ports)
        config = self._folder / "haproxy.cfg"
        config.write_text(HAPROXY.format(port=self._front, servers=servers))
        for port in self.ports:
            await self._until_it_listens(port)
        haproxy = shutil.which("haproxy") or "/usr/sbin/haproxy"
        self._start(haproxy, "-q", "-db", "-f", str(config))
        await self._until_it_listens(self._front)

    def _end(self) -> None:
        for program in reversed(self._running):  # the engine last
            program.kill()
            program.wait()

    async def restart(self, port: int) -> None:
        """Send SIGTERM to a worker, wait until it is gone, and start it anew."""
        self._workers[port].send_signal(signal.SIGTERM)
        await asyncio.to_thread(self._workers[port].wait)
        self._running.remove(self._workers[port])
        self._start_worker(port)
        await self._until_it_listens(port)

    def _start_worker(self, port: int) -> None:
        engine = f"redis://127.0.0.1:{self._engine}"
        self._workers[port] = self._start(sys.executable, self._program, str(port), engine)

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        program = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self._running.append(program)
        return program

    async def _until_it_listens(self, port: int) -> None:
        """Return when somebody listens at a port of this machine; raise if a program has ended."""
        by = time.monotonic() + 30
        while time.monotonic() < by:
            for program in self._running:
                if program.poll() is not None:
                    raise ChildProcessError(f"this has ended: {program.args!r}")
            with contextlib.suppress(OSError):
                _reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)
        raise TimeoutError(f"nobody listens at {port}")
