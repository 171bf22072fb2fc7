"""Servers that run as programs of their own, one for each class of tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import ClassVar

from reliable_ws.testing.transport_contract import Served, ServerContract
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
SECONDS = 60


class Program:
    """One server, running."""

    def __init__(self, *arguments: str) -> None:
        self.port = free_port()
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by end()
        server, app, *options = arguments
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.transports.serve", server, app, str(self.port), *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Granian has worker processes
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    async def ready(self) -> None:
        """Return when it accepts connections."""
        async with asyncio.timeout(SECONDS):
            while not await listens(self.port):
                if not self.alive:
                    raise AssertionError(f"the server did not start:\n{self.output()}")
                await asyncio.sleep(0.05)

    async def shutdown(self) -> list[str]:
        """SIGTERM; return the reports that it prints as it goes."""
        self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            await asyncio.to_thread(self._process.wait)
        lines = self.output().splitlines()
        return [line.partition(": ")[2] for line in lines if line.startswith("drained: ")]

    def output(self) -> str:
        self._output.seek(0)
        return self._output.read()

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # all of it has ended
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()


class ProgramContract(ServerContract):
    """The contract for a server that runs as a program; subclasses say which."""

    library: ClassVar[str]
    "Name of the row in docs/transports.md."
    distributions: ClassVar[tuple[str, ...]]
    "Packages whose versions are shown there."
    remarks: ClassVar[str] = ""
    "What has to be known besides the traits."
    program: ClassVar[tuple[str, ...]]
    "Arguments of ``tests.transports.serve`` without the port."
    running: ClassVar[Program | None] = None

    @contextlib.asynccontextmanager
    async def serving(self, _endpoints):
        cls = type(self)
        if cls.running is None or not cls.running.alive:
            cls.stop()
            cls.running = Program(*self.program)
        await cls.running.ready()
        yield Served(f"ws://{HOST}:{cls.running.port}", cls.running.shutdown)

    @classmethod
    def stop(cls) -> None:
        if cls.running is not None:
            cls.running.end()
            cls.running = None

    @classmethod
    def teardown_class(cls) -> None:
        cls.stop()


async def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True
