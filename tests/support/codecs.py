"""Payload codecs that cannot carry everything, and errors that cannot be told."""

from __future__ import annotations

import json

from reliable_ws import RemoteError

__all__ = ["NoNone", "Odd", "Unsayable"]


class NoNone:
    """JSON, but no null."""

    def dumps(self, value, /):
        if value is None:
            raise TypeError("no null here")
        return json.dumps(value).encode()

    def loads(self, data, /):
        return json.loads(data)


class Odd(NoNone):
    """Gives text in place of bytes for maps with something in them."""

    def dumps(self, value, /):
        packed = super().dumps(value)
        return packed.decode() if isinstance(value, dict) and value else packed


class Unsayable(RemoteError):
    """Its parts cannot be read."""

    def __getattribute__(self, name):
        if name == "data":
            raise ZeroDivisionError
        return super().__getattribute__(name)
