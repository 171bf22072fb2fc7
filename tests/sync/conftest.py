"""What the tests of the driver with threads share."""

from __future__ import annotations

import contextlib
import faulthandler
import threading
import time
from concurrent.futures import Future

import pytest

from reliable_ws.sync import wrap

from .network import SECONDS, looping
from .pipe import EagerPipe, Pipe, pipe


@pytest.fixture(autouse=True)
def nothing_hangs():
    """A test that hangs ends the run, and says where it hung."""
    faulthandler.dump_traceback_later(4 * SECONDS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def loop():
    """An event loop in a thread of its own."""
    with looping() as loop:
        yield loop


def run(work, *args) -> Future:
    """Do something in a thread; ask for its ``result(SECONDS)``."""
    future: Future = Future()

    def working() -> None:
        try:
            future.set_result(work(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=working, daemon=True).start()
    return future


class Interrupting:
    """A lock, taken; when it is waited for again, Ctrl-C comes, and once more."""

    def __init__(self):
        self._lock = threading.Lock()
        self._left = 2
        self._lock.acquire()
        self.release, self.locked = self._lock.release, self._lock.locked

    def acquire(self, blocking=True, timeout=-1):
        if blocking and self._left:
            self._left -= 1
            raise KeyboardInterrupt
        return self._lock.acquire(blocking, timeout)


@contextlib.contextmanager
def pair(kind: type[Pipe] = EagerPipe, on_event=None, **options):
    """Two connections over a pipe: an initiator, and an acceptor."""
    near, far = pipe(kind)
    accepted = run(lambda: wrap(far, **options))
    ours = wrap(near, on_event=on_event, **options)
    theirs = accepted.result(SECONDS)
    try:
        yield ours, theirs
    finally:
        ours.abort()
        theirs.abort()


def waits(line, count: int = 1) -> None:
    """Return when so many threads stand in a line."""
    until(lambda: len(line) >= count)


def until(true) -> None:
    """Return when something is true of which nobody tells."""
    by = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < by
        time.sleep(0.0005)
