"""reliable_ws for programs with threads: the same session, without ``await``.

``connect``, ``serve``, ``wrap`` and ``Sessions`` mean what their namesakes in :mod:`reliable_ws`
mean; errors, ``Config``, ``Backoff`` and everything else are the same objects.
"""

from .client import connect
from .connection import Connection
from .reading import Delivery
from .sending import Receipt
from .server import Server, serve
from .sessions import Sessions
from .wrapping import wrap

__all__ = [
    "Connection",
    "Delivery",
    "Receipt",
    "Server",
    "Sessions",
    "connect",
    "serve",
    "wrap",
]
