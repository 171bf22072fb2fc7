"""What the engine's answer means: whether it keeps what it has answered. Pure.

``durability=`` of a :class:`~.cluster.Cluster` says what the application relies on. The engine is
asked for its settings when a node starts, and whenever it is another one than before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

__all__ = ["DURABILITIES", "Durability", "fault_of"]

Durability = Literal["memory", "fsync", "replicated"]
"""What the engine's answer means: it has it; its disk has it; a replica has it as well."""

DURABILITIES: tuple[Durability, ...] = ("memory", "fsync", "replicated")

ANYTHING_GOES = 'or give Cluster() durability="memory"'


def fault_of(
    durability: Durability, info: Mapping[str, Any], appendfsync: str | None
) -> str | None:
    """Return why an engine's answer means less, and what to do; ``None``: it means as much.

    ``info``: what the engine says of itself. ``appendfsync``: that setting, ``None`` if it may not
    be asked.
    """
    if durability == "fsync":
        if not info.get("aof_enabled"):
            return f'the engine has "appendonly no": set "appendonly yes", {ANYTHING_GOES}'
        if appendfsync is None:
            return (
                "the engine does not tell its appendfsync: allow CONFIG GET to this user, "
                f"{ANYTHING_GOES}"
            )
        if appendfsync != "always":
            return (
                f'the engine has "appendfsync {appendfsync}": set "appendfsync always", '
                f"{ANYTHING_GOES}"
            )
    if durability == "replicated" and not info.get("connected_slaves"):
        return f"the engine has no replica: start one, {ANYTHING_GOES}"
    return None
