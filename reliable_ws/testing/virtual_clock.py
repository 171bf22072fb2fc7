"""An asyncio event loop whose clock is a number: nothing ever waits, everything replays.

``loop.time()`` stands still while anything is ready to run and jumps to the next timer when
nothing is, so a test of a 120-second timeout takes microseconds. There is no selector, no
socket and no thread: a loop with nothing ready and no timer can never go on, and says so.
``asyncio.to_thread`` runs its function at once, in the loop's own thread. ``time.monotonic()`` and
its like are the real clock, as ever.

With a ``seed`` the tasks (and timers) that are ready in one turn run in a shuffled order, the
same for the same seed. What asyncio promises is kept: ``call_soon`` callbacks that are not steps
of tasks stay in the order in which they were scheduled, and what is scheduled in one turn runs
in the next.
"""

# ruff: noqa: SLF001 - a loop is made of the insides of asyncio's

from __future__ import annotations

import asyncio
import functools
import gc
import heapq
import random
import traceback
import weakref
from asyncio import base_events
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

__all__ = ["VirtualClockLoop", "run", "virtual_clock", "where"]

P = ParamSpec("P")
T = TypeVar("T")

_SETTLE_TURNS = 100
"""Turns in which what is already ready may finish, once ``main`` has: no clock moves in them."""


_AWAITED = ("cr_await", "gi_yieldfrom", "ag_await")
"""Where coroutines and generators keep what they wait for."""


class _Jump:
    """Stands where the loop expects a selector: instead of waiting, moves the clock."""

    def __init__(self, loop: VirtualClockLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        self._loop._next_turn(timeout)
        return []


class VirtualClockLoop(base_events.BaseEventLoop):
    """The event loop of :func:`run`. Also a loop factory for ``asyncio.Runner`` and pytest-asyncio.

    Its clock starts at 0. Sockets, pipes, subprocesses and signals raise ``NotImplementedError``,
    and say what to use instead.
    The loop raises an ``AssertionError`` when ``limit`` or ``max_turns`` is exceeded, and when
    nothing can ever happen again. The error lists the pending tasks with the lines at which they
    wait.

    Args:
        seed: Shuffles what is ready in one turn. Default: asyncio's own order.
        limit: The most virtual seconds.
        max_turns: The most turns of the loop.
        collect: Whether to run the garbage collector in every turn. This destroys tasks that
            nothing refers to.
    """

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(
        self,
        *,
        seed: int | None = None,
        limit: float = 3600.0,
        max_turns: int = 1_000_000,
        collect: bool = False,
    ) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = _Jump(self)
        self._clock_resolution = 0.0
        self._chance = None if seed is None else random.Random(seed)
        self._limit = limit
        self._turns_left = max_turns
        self._collect = collect
        self._futures: weakref.WeakKeyDictionary[asyncio.Future[Any], int]
        self._futures = weakref.WeakKeyDictionary()
        self._births = 0
        self.reports: list[str] = []
        "What the exception handler was told."

    # -- what needs the world outside, whose time is another -------------------------------

    def _refuse(self, *_: Any, **__: Any) -> Any:
        """Say in place of a method what there is not, and what to use."""
        raise NotImplementedError(
            "the virtual clock has no sockets, pipes, subprocesses and signals: they need real "
            "time. Use reliable_ws.testing.Network or pair() in place of connect() and serve(), or "
            "run this test with asyncio.run()"
        )

    create_connection = create_server = create_datagram_endpoint = _refuse
    create_unix_connection = create_unix_server = connect_accepted_socket = _refuse
    sock_accept = sock_connect = sock_recv = sock_recv_into = sock_sendall = sock_sendfile = _refuse
    connect_read_pipe = connect_write_pipe = subprocess_exec = subprocess_shell = _refuse
    add_reader = add_writer = add_signal_handler = _refuse  # type: ignore[assignment]

    # -- what asyncio asks of a loop -------------------------------------------------------

    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self._now

    def create_future(self) -> asyncio.Future[Any]:
        """As ever; futures are remembered to see whose exceptions nobody looked at."""
        return self._born(super().create_future())

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """As ever; tasks are numbered to give them an order."""
        task: asyncio.Task[Any] = super().create_task(coro, **options)
        self._born(task)
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Call it now: a thread would not replay."""
        del executor
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's
            future.set_exception(error)
        return future

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Log as ever, and keep for :attr:`reports`."""
        super().default_exception_handler(context)
        report = f"exception handler called: {context.get('message')}"
        for key in sorted(context.keys() - {"message", "exception"}):
            report += f"\n    {key}: {context[key]!r}"
        if isinstance(error := context.get("exception"), BaseException):
            report += "\n" + "".join(traceback.format_exception(error))
        self.reports.append(report)

    def _write_to_self(self) -> None:
        """Called by ``call_soon_threadsafe``; there is no select to wake."""

    def _process_events(self, event_list: list[Any]) -> None:
        """Called between moving the clock and running what is ready."""
        del event_list  # always empty: see _Jump
        due: list[asyncio.Handle] = []
        while self._scheduled and self._scheduled[0].when() <= self._now:
            handle = heapq.heappop(self._scheduled)
            handle._scheduled = False  # type: ignore[attr-defined]  # as the base class does
            due.append(handle)
        if self._chance is None:
            self._ready.extend(due)
        else:
            shuffled = self._shuffle([*self._ready], due, self._chance)
            self._ready.clear()
            self._ready.extend(shuffled)

    # -- clock, order, guards --------------------------------------------------------------

    def _next_turn(self, timeout: float | None) -> None:
        self._turns_left -= 1
        if self._turns_left < 0:
            raise AssertionError(f"endless: too many turns of the loop\n{self.dump()}")
        if self._collect:
            gc.collect()
        if timeout is None:
            raise AssertionError(f"deadlock: nothing can ever happen\n{self.dump()}")
        if timeout > 0:
            when = self._scheduled[0].when()
            if when > self._limit:
                raise AssertionError(f"endless: past {self._limit} s\n{self.dump()}")
            self._now = max(self._now, when)

    def _shuffle(
        self, ready: list[asyncio.Handle], due: list[asyncio.Handle], chance: random.Random
    ) -> list[asyncio.Handle]:
        """Steps of tasks and timers in any order, other callbacks in theirs.

        Steps are first put in the order in which their tasks were created: asyncio keeps
        tasks in sets, whose order differs from process to process.
        """
        callbacks: list[asyncio.Handle] = []
        steps: list[tuple[int, asyncio.Handle]] = []
        for handle in ready:
            callback = handle._callback  # type: ignore[attr-defined]
            task = getattr(callback, "__self__", None)
            if isinstance(task, asyncio.Task) and callback != task.cancel:
                steps.append((self._futures.get(task, 0), handle))
            else:
                callbacks.append(handle)
        steps.sort(key=lambda step: step[0])
        free = iter(chance.sample([*(handle for _, handle in steps), *due], len(steps) + len(due)))
        fixed = iter(callbacks)
        places = [True] * len(callbacks) + [False] * (len(steps) + len(due))
        chance.shuffle(places)
        return [next(fixed) if is_callback else next(free) for is_callback in places]

    def _born(self, future: asyncio.Future[T]) -> asyncio.Future[T]:
        self._births += 1
        self._futures[future] = self._births
        return future

    # -- what a test wants to know ---------------------------------------------------------

    def timers(self) -> list[asyncio.TimerHandle]:
        """Return the timers that are still running, soonest first."""
        return sorted(handle for handle in self._scheduled if not handle.cancelled())

    def pending(self) -> list[asyncio.Task[Any]]:
        """Return the tasks that are not done, oldest first."""
        return sorted(asyncio.all_tasks(self), key=lambda task: self._futures.get(task, 0))

    def dump(self) -> str:
        """Return the state of the loop.

        It has the clock, every pending task with the lines at which it waits, and every timer.
        """
        lines = [f"virtual time {self._now:.6f}"]
        for task in self.pending():
            lines.append(f"pending task {task.get_name()}:")
            lines += [f"    {line}" for line in where(task.get_coro())]
        lines += [f"timer at {timer.when():.6f}: {timer!r}" for timer in self.timers()]
        return "\n".join(lines)

    def problems(self) -> list[str]:
        """Return tasks left over, unretrieved exceptions, and calls of the exception handler."""
        left = [
            f"task left over: {task.get_name()}\n" + "\n".join(where(task.get_coro()))
            for task in self.pending()
        ]
        unseen = [
            f"exception never retrieved: {future!r}"
            for future, _ in sorted(self._futures.items(), key=lambda item: item[1])
            if getattr(future, "_log_traceback", False)
        ]
        return [*left, *unseen, *self.reports]

    def settle(self) -> None:
        """Run what is ready, and what that makes ready, without moving the clock."""
        for _ in range(_SETTLE_TURNS):
            if not self._ready:
                return
            self.call_soon(self.stop)
            self.run_forever()

    def clean_up(self) -> None:
        """Cancel what is left and close the loop, whatever state it is in."""
        self._limit, self._turns_left = self._now + 3600.0, 100_000
        try:
            for task in (left := self.pending()):
                task.cancel()
            if left:
                self.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self.run_until_complete(self.shutdown_asyncgens())
        finally:
            self.close()


def run(
    main: Coroutine[Any, Any, T],
    *,
    seed: int | None = None,
    limit: float = 3600.0,
    max_turns: int = 1_000_000,
    collect: bool = False,
) -> T:
    """``asyncio.run`` on a :class:`VirtualClockLoop`, with more checks.

    The module ``random`` is seeded with ``seed`` (or 0) for the run, so that jitter replays too.
    Afterwards its state is as it was before. ``seed``, ``limit`` (virtual seconds), ``max_turns``
    and ``collect`` are those of :class:`VirtualClockLoop`.

    Raises:
        Exception: What ``main`` raises.
        AssertionError: The run does not end; or ``main`` returned and left tasks behind, an
            exception handler was called, or the exception of a task or future was never retrieved.
    """
    __tracebackhide__ = True
    loop = VirtualClockLoop(seed=seed, limit=limit, max_turns=max_turns, collect=collect)
    before = random.getstate()
    random.seed(seed or 0)
    if collect:
        gc.collect()
        gc.freeze()  # every collection from here on looks at what the run made, and is quick
    try:
        try:
            result = loop.run_until_complete(main)
            loop.settle()
            if problems := loop.problems():
                raise AssertionError("\n".join(problems))
        except BaseException as error:
            if seed is not None:
                error.add_note(f"replay with seed={seed}")
            if not isinstance(error, AssertionError):
                for report in loop.reports:
                    error.add_note(report)
            _clean_up_after(loop, error)
            raise
        loop.clean_up()
        return result
    finally:
        random.setstate(before)
        if collect:
            gc.unfreeze()


def virtual_clock(test: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, T]:
    """Decorate an ``async def`` test: it becomes a plain function that :func:`run` carries out.

    It needs no plugin of the test runner. Fixtures must be plain functions: what an async fixture
    makes belongs to another event loop.
    """

    @functools.wraps(test)
    def run_it(*args: P.args, **kwargs: P.kwargs) -> T:
        __tracebackhide__ = True
        return run(test(*args, **kwargs))

    return run_it


def where(coroutine: Any) -> list[str]:
    """The lines at which a suspended coroutine waits, the outermost first."""
    lines: list[str] = []
    while coroutine is not None:
        for kind in ("cr", "gi", "ag"):
            if (frame := getattr(coroutine, f"{kind}_frame", None)) is not None:
                name = frame.f_code.co_qualname
                lines.append(f"{name} ({frame.f_code.co_filename}:{frame.f_lineno})")
        awaited = [getattr(coroutine, name, None) for name in _AWAITED]
        coroutine = next((inner for inner in awaited if inner is not None), None)
    return lines


def _clean_up_after(loop: VirtualClockLoop, error: BaseException) -> None:
    try:
        loop.clean_up()
    except AssertionError as stubborn:
        error.add_note(f"and cancelling what was left did not end it: {stubborn}")
