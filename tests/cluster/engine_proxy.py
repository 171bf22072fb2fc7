"""Stands between one node and its engine: it cuts the line, and kills the node at a chosen step.

It reads each command that the node sends, so it knows which step of :mod:`reliable_ws.cluster` that
is. The node itself has no part in this: it dies from a SIGKILL that comes from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from typing import Any, Self

from reliable_ws.cluster import scripts
from tests.support.ports import HOST, free_port

STEPS = ("make", "append", "trim", "end", "park", "claim")
"""The steps at which a node may be killed.

``make``: the record of a new session. ``append``: what changed. ``trim``: the same, and confirmed
messages are forgotten. ``end``: a tombstone. ``park``: a session is left to others. ``claim``: one
is taken over.
"""


def _sha(script: str) -> bytes:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest().encode()


APPEND, CLAIM, FIND, RESTATE = map(
    _sha, (scripts.APPEND, scripts.CLAIM, scripts.FIND, scripts.RESTATE)
)


def steps_of(command: list[bytes]) -> set[str]:
    """Return which of :data:`STEPS` a command is; an append may be several."""
    if len(command) < 3 or command[0].upper() != b"EVALSHA":
        return set()
    _evalsha, sha, count, *rest = command
    args = rest[int(count) :]
    if sha == CLAIM:
        return {"claim"}
    if sha == FIND:
        return {"make"} if args[2] == b"1" else set()
    if sha == RESTATE:
        return {"park"} if b"parked" in args[3:] else set()
    return _steps_of_append(int(count), args[2:]) if sha == APPEND else set()


def _steps_of_append(sessions: int, args: list[bytes]) -> set[str]:
    steps = {"append"}
    for _ in range(sessions):
        _attempt, _life, values, names = map(int, args[:4])
        fields = dict(zip(args[4 : 4 + values : 2], args[5 : 4 + values : 2], strict=True))
        if names:
            steps.add("trim")
        if fields.get(b"state") == b"ended":
            steps.add("end")
        args = args[4 + values + names :]
    return steps


class Trap:
    """Kills the node that first comes to a step, for as long as it is set."""

    def __init__(self, step: str, *, answered: bool, skip: int = 0) -> None:
        """``answered``: the engine does the step, and the node dies before it hears of it.

        Else the engine never hears of it. ``skip``: how many such steps are let through before.
        """
        self.step = step
        self.answered = answered
        self.skip = skip
        self.sprung = asyncio.Event()
        self.victim: str | None = None
        "The name of the node that was killed."

    def __str__(self) -> str:
        return f"{'after' if self.answered else 'before'} {self.step}"

    def catches(self, command: list[bytes]) -> bool:
        """Whether the node dies at this command."""
        if self.victim is not None or self.step not in steps_of(command):
            return False
        self.skip -= 1
        return self.skip < 0


class EngineProxy:
    """The line between one node and the engine."""

    def __init__(self, name: str, engine_port: int, kill: Callable[[], None]) -> None:
        """``kill`` kills the node at once."""
        self.name = name
        self.port = free_port()
        self.trap: Trap | None = None
        self._engine_port = engine_port
        self._kill = kill
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[Any]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._is_cut = False

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()  # also what has been accepted, and is not served yet
        self._flows.set()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def cut(self) -> None:
        """Drop the line, and refuse new ones, until :meth:`mend`."""
        self._is_cut = True
        self._drop()

    def hold(self) -> None:
        """Let nothing through, as a network that drops packets, until :meth:`mend`."""
        self._flows.clear()

    def lead_to(self, engine_port: int) -> None:
        """Drop the line, and lead to another engine from now on."""
        self._engine_port = engine_port
        self._drop()

    def mend(self) -> None:
        """Let everything through again."""
        self._is_cut = False
        self._flows.set()

    def _drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        if self._is_cut:
            writer.transport.abort()
            return
        self._writers.add(writer)  # what is dropped while the engine is dialed is dropped, too
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._flows.wait()
            there = await asyncio.open_connection(HOST, self._engine_port)
            self._writers.add(there[1])
            caught: list[Trap] = []  # by which the next answer is kept back
            ways = [
                asyncio.create_task(self._pass_commands(reader, there[1], caught)),
                asyncio.create_task(self._pass_answers(there[0], writer, caught)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._writers.discard(there[1])
            there[1].transport.abort()
        self._writers.discard(writer)
        writer.transport.abort()

    async def _pass_commands(
        self, reader: asyncio.StreamReader, engine: asyncio.StreamWriter, caught: list[Trap]
    ) -> None:
        while True:
            raw, command = await _read_command(reader)
            await self._flows.wait()
            trap = self.trap
            if trap is not None and trap.catches(command):
                trap.victim = self.name
                if not trap.answered:
                    self._spring(trap)
                    return
                caught.append(trap)
            engine.write(raw)
            await engine.drain()

    async def _pass_answers(
        self, engine: asyncio.StreamReader, writer: asyncio.StreamWriter, caught: list[Trap]
    ) -> None:
        while data := await engine.read(2**16):
            await self._flows.wait()
            if caught:
                self._spring(caught[0])
                return
            writer.write(data)
            await writer.drain()

    def _spring(self, trap: Trap) -> None:
        self._kill()
        trap.sprung.set()


async def _read_command(reader: asyncio.StreamReader) -> tuple[bytes, list[bytes]]:
    """Return one command, as it came and in parts."""
    line = await reader.readuntil(b"\r\n")
    raw, command = [line], []
    for _ in range(int(line[1:])):
        size = await reader.readuntil(b"\r\n")
        data = await reader.readexactly(int(size[1:]) + 2)
        raw += size, data
        command.append(data[:-2])
    return b"".join(raw), command
