"""Waits that are interrupted."""

from __future__ import annotations

import threading

import pytest

from reliable_ws.protocol.inbox import NEVER
from reliable_ws.sync.waiting import Turn


def test_ctrl_c_as_a_wait_begins_leaves_the_lock_taken():
    class Lock:
        def __init__(self):
            self._lock = threading.Lock()
            self.acquire, self.locked = self._lock.acquire, self._lock.locked

        def release(self):
            self._lock.release()
            raise KeyboardInterrupt

    lock = Lock()
    lock.acquire()
    with pytest.raises(KeyboardInterrupt):
        Turn().wait(lock, NEVER)
    assert lock.locked()
