"""Ports for programs that are told where to listen, and need a while until they do.

The kernel gives no port of this range to a listener or a client that asks for any port. So no
other test takes the port meanwhile, and is then taken for the program.
"""

from __future__ import annotations

import itertools
import os
import re
import socket

HOST = "127.0.0.1"
FIRST, PER_WORKER = 20_000, 500
"""Below 32,768, where the ports begin that Linux gives out; a slice for each process of pytest."""

_worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0)
_offsets = itertools.cycle(range(PER_WORKER))


def free_port() -> int:
    """Return a port on which nobody listens, and that nobody else is told."""
    for offset in _offsets:
        port = FIRST + _worker * PER_WORKER + offset
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise AssertionError("cycle() ends never")
