"""reliable_ws for programs with threads: the same session, without ``await``.

``connect``, ``serve``, ``wrap`` and ``Sessions`` mean the same as in :mod:`reliable_ws`.
Exceptions, ``Config``, ``Backoff`` and everything else are the same objects.
"""

from .broadcast import broadcast
from .connect import connect, unix_connect
from .connection import Connection
from .receiver import Delivery
from .sender import Receipt
from .serve import Server, serve, unix_serve
from .sessions import Sessions
from .sigterm import drain_on_sigterm
from .wrap import wrap

__all__ = [
    "Connection",
    "Delivery",
    "Receipt",
    "Server",
    "Sessions",
    "broadcast",
    "connect",
    "drain_on_sigterm",
    "serve",
    "unix_connect",
    "unix_serve",
    "wrap",
]
