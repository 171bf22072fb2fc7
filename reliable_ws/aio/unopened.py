"""What ``connect()``, ``wrap()`` and ``serve()`` return: it is awaited, or entered as a block."""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from .connection import Connection

__all__ = ["Unopened", "UnopenedConnection"]


class Unopened:
    """What is used before it was awaited or entered says so."""

    verb: ClassVar[str]
    "What it is made by."

    def __repr__(self) -> str:
        """What it is, and what to do with it."""
        return f"<{self.verb}(…): 'await' it, or enter it with 'async with'>"

    if not TYPE_CHECKING:  # a type checker knows what it has

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(
                f"{self.verb}(…) has no {name!r} before it is open: "
                f"'async with {self.verb}(…) as …' or '… = await {self.verb}(…)'"
            )


class UnopenedConnection(Unopened):
    """A connection that is still to be opened: ``await`` it, or ``async with`` it."""

    _connection: Connection | None = None

    async def _open(self) -> Connection:
        raise NotImplementedError

    def __await__(self) -> Generator[object, None, Connection]:
        """Open the connection."""
        return self._open().__await__()

    async def __aenter__(self) -> Connection:
        """Open the connection; leaving the block closes it."""
        self._connection = await self._open()
        return self._connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """As leaving the connection's own block."""
        if self._connection is not None:
            await self._connection.__aexit__(kind, value, tb)
