"""Waits that are interrupted."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque

import pytest

from reliable_ws.protocol.deadline import NEVER
from reliable_ws.sync.waiters import Condition, Waiter, WaitQueue, deadline_after

from .conftest import Interrupting, until


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
        Waiter().wait(lock, NEVER)
    assert lock.locked()


@pytest.mark.parametrize(
    "wait", [lambda lock: Waiter().wait(lock, 0), lambda lock: Condition(lock).wait(0)]
)
def test_ctrl_c_as_a_wait_ends_leaves_the_lock_taken(wait):
    lock = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        wait(lock)
    assert lock.locked()
    assert lock.acquire(timeout=0) is False


def test_ctrl_c_as_a_thread_enters_a_queue_leaves_nobody_in_it():
    class Turns(deque):
        def append(self, turn):
            super().append(turn)
            raise KeyboardInterrupt

    queue = WaitQueue(threading.Lock())
    queue.threads = Turns()
    with pytest.raises(KeyboardInterrupt):
        queue.wait(lambda: False, NEVER)
    assert len(queue) == 0


def test_a_waiter_waits_again_after_it_was_woken_as_its_time_was_over():
    lock = threading.Lock()
    waiter = Waiter()
    lock.acquire()
    assert not waiter.wait(lock, deadline_after(0))
    waiter.wake()  # nobody sleeps any more
    waiter.again()
    assert not waiter.wait(lock, deadline_after(0))


def test_threads_that_wait_one_after_another_share_a_waiter():
    lock = threading.Lock()
    queue, ready = WaitQueue(lock), []

    def wait():
        with lock:
            queue.wait(lambda: ready, deadline_after(10))

    used = set()
    for _ in range(5):
        thread = threading.Thread(target=wait)
        thread.start()
        until(lambda: queue.threads)
        with lock:
            used.add(queue.threads[0])
            ready.append(True)
            queue.notify()
        thread.join(60)
        assert not thread.is_alive()
        ready.clear()
    assert len(used) == 1


class Signalled(Exception):
    pass


def wait_for_a_turn(lock):
    Waiter().wait(lock, deadline_after(20))


def wait_for_a_change(lock):
    Condition(lock).wait_for(lambda: False, 20)


@pytest.mark.skipif(os.name == "nt", reason="signals are sent")
@pytest.mark.parametrize("wait", [wait_for_a_turn, wait_for_a_change])
def test_a_signal_that_does_not_wake_the_main_thread_is_noticed(wait):
    """It comes to another thread: as little awakened by it as if it came just before the sleep."""

    def handle(*_):
        raise Signalled

    def send():
        while lock.locked():  # until the main thread waits
            pass
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    lock = threading.Lock()
    by = deadline_after(10)
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with lock:
            sender = threading.Thread(target=send)
            sender.start()
            with pytest.raises(Signalled):
                wait(lock)
        sender.join()
        assert time.monotonic() < by
    finally:
        signal.signal(signal.SIGUSR1, before)
