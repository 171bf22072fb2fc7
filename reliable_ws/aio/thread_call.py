"""A handler that is no coroutine function: called in a thread of the loop's executor."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["run_in_thread"]


async def run_in_thread(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    left: Callable[[asyncio.Future[Any]], object],
) -> Any:
    """Call a function in a thread, and return its result; await that first if it is awaitable.

    Cancelled, ``left`` gets a future that is done when the thread has ended, or its turn has come.
    """
    attempt = Attempt(function, args, kwargs)
    context = contextvars.copy_context()
    working = asyncio.get_running_loop().run_in_executor(None, context.run, attempt)
    try:
        result, error = await asyncio.shield(working)
    except asyncio.CancelledError:
        attempt.call_off()
        left(working)
        raise
    if error is None:
        return await result if inspect.isawaitable(result) else result
    if isinstance(error, Exception | asyncio.CancelledError):
        raise error
    # in a thread this ends nothing but the handler
    raise RuntimeError(f"{type(error).__name__} in a thread") from error


class Attempt:
    """A call in a thread; what is raised is a value: no future can carry a StopIteration."""

    def __init__(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        self._call: Callable[[], Any] | None = functools.partial(function, *args, **kwargs)

    def __call__(self) -> tuple[Any, BaseException | None]:
        """Call, and return the result and the error."""
        call, self._call = self._call, None
        try:
            return call and call(), None
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the handler's
            return None, error

    def call_off(self) -> None:
        """Do nothing if it has not begun, and hold nothing meanwhile."""
        self._call = None
