"""The libraries that ``connect`` and ``serve`` can open WebSockets with, by their names.

Each has a module with ``dial``, ``listen``, ``connect_options``, ``listen_options``,
``cookies_set`` and ``GREETED``. It is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal, TypeAlias, get_args

from .registry import check_installed

__all__ = ["TransportName", "opener"]

TransportName: TypeAlias = Literal["websockets", "picows"]
"""What ``transport=`` may be."""

MODULES = {"websockets": "websockets.asyncio", "picows": "picows_opener"}


def opener(transport: str) -> Any:
    """Return the module that opens WebSockets with this library.

    Raises:
        ValueError: There is none of this name.
        ImportError: The library is not installed, or too old.
    """
    if transport not in MODULES:
        known = " or ".join(map(repr, get_args(TransportName)))
        raise ValueError(f"transport= must be {known}, not {transport!r:.100}")
    try:
        module = import_module(f"reliable_ws.adapters.{MODULES[transport]}")
    except ModuleNotFoundError as error:
        raise ImportError(
            f"transport={transport!r} needs {error.name}: pip install 'reliable-ws[fast]'"
        ) from error
    check_installed(transport)
    return module
