"""Adapters: one small module per library, each turning its WebSocket into a ``Transport``.

``registry`` finds the adapter of an object, and imports nothing of a library before such an object
is at hand. ``coroutine``, ``callback`` and ``blocking`` have a base class each, for adapters over
libraries whose methods are awaited, that call back with what arrives, and whose methods block; to
write one of your own see docs/adapters.md.
"""

from __future__ import annotations

from .blocking import BlockingTransport
from .callback import CallbackTransport
from .coroutine import CoroutineTransport
from .registry import adapt, adapt_blocking, role_of

__all__ = [
    "BlockingTransport",
    "CallbackTransport",
    "CoroutineTransport",
    "adapt",
    "adapt_blocking",
    "role_of",
]
