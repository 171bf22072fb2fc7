"""Where messages are read from: line by line, never more than a little ahead of the network."""

from __future__ import annotations

import asyncio
import io
import queue
import select
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

from .common import Failure

__all__ = ["LineTooLong", "Source", "as_message"]

READ_CHUNK = 128 * 1024


class LineTooLong(Exception):
    """A line is larger than any message may be."""


class Source:
    """Bytes of a file or of standard input, read by a thread, one chunk per request.

    The thread is a daemon: a terminal on which nobody types does not keep the process alive.
    """

    def __init__(self, path: str | None, longest: int) -> None:
        self._longest = longest
        self._begun: list[bytes] = []  # of a line, without its end
        self._requests: queue.SimpleQueue[asyncio.Future[bytes]] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        try:
            if path is None or path == "-":
                self._file = io.FileIO(sys.stdin.fileno(), "rb", closefd=False)
            else:
                self._file = io.FileIO(path, "rb")
        except OSError as error:
            raise Failure(f"cannot read {path}: {error.strerror}") from None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            request = self._requests.get()
            try:
                while (answer := self._read()) is None:  # somebody made it non-blocking
                    select.select([self._file], [], [])
            except OSError as error:
                answer = error
            try:
                self._loop.call_soon_threadsafe(_answer, request, answer)
            except RuntimeError:  # the loop is closed
                return

    def _read(self) -> Any:
        return self._file.read(READ_CHUNK)

    async def _chunk(self) -> bytes:
        request: asyncio.Future[bytes] = self._loop.create_future()
        self._requests.put(request)
        return await request

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """Iterate over lists of lines, with their line feeds; the last may have none.

        Raises ``LineTooLong`` after the lines before that one, and ``OSError``.
        """
        begun = self._begun
        size = 0
        while chunk := await self._chunk():
            lines = chunk.splitlines(keepends=True) if _only_line_feeds(chunk) else _split(chunk)
            if begun and lines[0].endswith(b"\n"):
                lines[0] = b"".join((*begun, lines[0]))
                begun.clear()
                size = 0
            if not lines[-1].endswith(b"\n"):
                begun.append(lines.pop())
                size += len(begun[-1])
            if lines and len(lines[0]) > self._longest:  # only the first can be above a chunk
                raise LineTooLong
            if lines:
                yield lines
            if size > self._longest:
                raise LineTooLong
        if begun:
            last = b"".join(begun)
            begun.clear()
            yield [last]

    @property
    def begun(self) -> bytes:
        """What has been read of a line, without its end."""
        return b"".join(self._begun)

    async def whole(self) -> bytes:
        """Return everything, as one message. Raises ``LineTooLong`` if that is too much."""
        data = bytearray()
        while chunk := await self._chunk():
            data += chunk
            if len(data) > self._longest:
                raise LineTooLong
        return bytes(data)


def as_message(data: bytes) -> str | bytes:
    """Return text where it is text: the receiver's UTF-8 of it is the same bytes again."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _only_line_feeds(chunk: bytes) -> bool:
    return b"\r" not in chunk  # of bytes, splitlines() splits at these two only


def _split(chunk: bytes) -> list[bytes]:
    lines = [line + b"\n" for line in chunk.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    if not lines[-1]:
        lines.pop()
    return lines


def _answer(request: asyncio.Future[bytes], answer: Any) -> None:
    if request.done():
        return
    if isinstance(answer, OSError):
        request.set_exception(answer)
    else:
        request.set_result(answer)
