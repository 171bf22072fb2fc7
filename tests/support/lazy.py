"""Modules that are imported when something of them is used.

pytest imports every file of tests in each of its processes; few of them use one framework.
"""

from __future__ import annotations

import importlib
from typing import Any


class Lazy:
    """Stands for a module, and for its submodules: ``Lazy("falcon").asgi.App``."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest looks at whatever stands in a module of tests
            raise AttributeError(name)
        module = importlib.import_module(self._path)
        try:
            return getattr(module, name)
        except AttributeError:
            return importlib.import_module(f"{self._path}.{name}")
