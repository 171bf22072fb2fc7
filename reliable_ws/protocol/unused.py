"""What stands for a dict that most sessions never put anything in: one of its own takes 64 bytes.

A session has several, and a server holds ten thousand sessions that are idle. Who puts something in
makes a dict first: ``if self.open is UNUSED: self.open = {}``.
"""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["UNUSED"]


class _Unused(dict[Any, Any]):
    """An empty dict that stays so."""

    __slots__ = ()

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise TypeError("this dict stands for many: make one first")


UNUSED: dict[Any, Any] = _Unused()
