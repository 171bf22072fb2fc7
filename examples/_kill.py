"""What runs the sender and the receiver of an example, and kills them."""

import asyncio
import logging
import random
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

Role = Callable[[Path, int], Awaitable[None]]


def run(send: Role, receive: Role, audit: Callable[[Path], None], times: int = 5) -> None:
    """Run one of the two; or, without arguments, kill both in mid-stream, so often, and audit.

    The arguments: ``send`` or ``receive``, a directory for the files, and a port.
    """
    logging.getLogger("reliable_ws").setLevel(logging.ERROR)  # an SQLite may have a known fault
    if len(sys.argv) > 1:
        role, directory, port = sys.argv[1:]
        asyncio.run(_run(send if role == "send" else receive, Path(directory), int(port)))
        return
    with tempfile.TemporaryDirectory() as folder:
        port = str(random.randrange(12_000, 20_000))  # the system gives these to no client
        for left in range(times, -1, -1):
            with _start("receive", folder, port) as receiver:
                assert receiver.stdout is not None
                receiver.stdout.readline()  # it listens
                with _start("send", folder, port) as sender:
                    if left:
                        for _ in range(20):  # orders are packed
                            receiver.stdout.readline()
                        sender.kill()
                    assert sender.wait() == 0 or left
                receiver.kill()
        print(f"both processes were killed {times} times in mid-stream")
        audit(Path(folder))


async def _run(role: Role, directory: Path, port: int) -> None:
    await role(directory, port)


def _start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, sys.argv[0], *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
