"""Where messages are read from: line by line, never more than a little ahead of the network."""

from __future__ import annotations

import asyncio
import io
import os
import queue
import select
import stat
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any
from zlib import crc32

from .common import Failure

__all__ = ["InputDiffers", "LineTooLong", "Source", "as_message"]

READ_CHUNK = 128 * 1024


class LineTooLong(Exception):
    """A line is larger than any message may be."""


class InputDiffers(Exception):
    """This is not what was read before."""


class Source:
    """Bytes of a file or of standard input, read by a thread, one chunk per request.

    The thread is a daemon: a terminal on which nobody types does not keep the process alive.
    """

    def __init__(self, path: str | None, longest: int) -> None:
        self._longest = longest
        self._begun: list[bytes] = []  # of a line, without its end
        self._ahead = b""  # read, and not given
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

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file, which begins with the same when it is opened again."""
        return stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)

    async def leave_out(self, size: int) -> int:
        """Read so many bytes, and return their CRC (32 bits).

        Raises ``InputDiffers`` if there are fewer, and ``OSError``.
        """
        crc = 0
        left = size
        while left:
            chunk = await self._chunk()
            if not chunk:
                raise InputDiffers(f"it has fewer than {size:,} bytes")
            crc = crc32(chunk[:left], crc)
            chunk, left = chunk[left:], max(0, left - len(chunk))
            self._ahead = chunk
        return crc

    async def _chunk(self) -> bytes:
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            return ahead
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

    async def whole(self) -> AsyncIterator[list[bytes]]:
        """Iterate over one list with everything in it, as one message.

        Raises ``LineTooLong`` if that is too much, and ``OSError``.
        """
        data = bytearray()
        while chunk := await self._chunk():
            data += chunk
            if len(data) > self._longest:
                raise LineTooLong
        yield [bytes(data)]


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
