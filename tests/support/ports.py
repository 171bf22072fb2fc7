"""Ports for programs that are told where to listen, and need a while until they do.

The kernel gives no port of this range to a listener or a client that asks for any port. Each
process of pytest has a slice of the range to itself: it holds the first port of the slice as long
as it runs. So no other test takes a port meanwhile, and is then taken for the program.
"""

from __future__ import annotations

import functools
import itertools
import socket
from collections.abc import Iterator

HOST = "127.0.0.1"
FIRST, SLICES, PER_SLICE = 20_000, 120, 100
"""Below 32,768, where the ports begin that Linux gives out."""


def free_port() -> int:
    """Return a port on which nobody listens, and that nobody else is told."""
    for port in _slice()[1]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise AssertionError("a cycle never ends")


@functools.cache
def _slice() -> tuple[socket.socket, Iterator[int]]:
    """Return the socket that holds the slice of this process, and the ports in turn."""
    for number in range(SLICES):
        first = FIRST + number * PER_SLICE
        holder = socket.socket()
        try:
            holder.bind((HOST, first))
            holder.listen(1)
        except OSError:
            holder.close()
            continue
        return holder, itertools.cycle(range(first + 1, first + PER_SLICE))
    raise RuntimeError("every slice of ports is taken")
