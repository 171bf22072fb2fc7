"""What stands for a dict or a list that most sessions never put anything in.

One of its own takes 64 bytes. A session has several, and a server holds ten thousand sessions that
are idle. Who puts something in makes one first: ``if self.open is UNUSED: self.open = {}``.
"""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["UNUSED", "UNUSED_LIST"]


class _Unused(dict[Any, Any]):
    """An empty dict that stays so."""

    __slots__ = ()

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise TypeError("this dict stands for many: make one first")


class _UnusedList(list[Any]):
    """An empty list that stays so."""

    __slots__ = ()

    def append(self, _item: Any) -> NoReturn:
        raise TypeError("this list stands for many: make one first")


UNUSED: dict[Any, Any] = _Unused()

UNUSED_LIST: list[Any] = _UnusedList()
