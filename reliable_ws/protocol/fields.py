"""One field of a frame: the right type, in range, or a violation (FRAME-5, FRAME-8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgpack

from .errors import Violation
from .frames import EXT_VALUE, MAX_NUMBER, Code, Payload

__all__ = [
    "MAX_REASON",
    "array",
    "bad",
    "code",
    "flag",
    "grown",
    "number",
    "numbers",
    "octets",
    "payload",
    "reason",
    "sayable",
    "text",
]

PAYLOADS = frozenset((str, bytes, msgpack.ExtType))

MAX_REASON = 123
"""Most bytes of a reason, as in a WebSocket close frame (RFC 6455, 5.5.1)."""


def bad(what: str) -> Violation:
    """Return the violation for a field that is not what it must be."""
    return Violation(Code.MALFORMED, f"bad {what}")


def number(value: Any, low: int, what: str) -> int:
    """Return an integer in range; ``True`` and 5.0 are none (FRAME-8)."""
    if type(value) is not int or not low <= value <= MAX_NUMBER:
        raise bad(what)
    return value


def numbers(values: Sequence[Any], what: str) -> tuple[int, ...]:
    """Return integers in range."""
    for value in values:
        if type(value) is not int or not 0 <= value <= MAX_NUMBER:  # as `number`, without a call
            raise bad(what)
    return tuple(values)


def octets(value: Any, length: int, what: str) -> bytes:
    """Return bytes of exactly this length."""
    if type(value) is not bytes or len(value) != length:
        raise bad(what)
    return value


def array(item: Any, count: int, what: str) -> list[Any]:
    """Return exactly ``count`` fields of a frame, or of an array inside one."""
    if type(item) is not list or len(item) != count:
        raise bad(what)
    return item


def grown(item: Any, count: int, what: str) -> list[Any]:
    """Return ``count`` fields where a later version may have more (FRAME-6)."""
    if type(item) is not list or len(item) < count:
        raise bad(what)
    return item[:count]


def reason(value: Any) -> str:
    """Return a text that is short enough to ride on a close frame."""
    if type(value) is not str or len(value.encode()) > MAX_REASON:
        raise bad("reason")
    return value


def code(value: Any) -> int:
    """Return a closing or refusal code."""
    if type(value) is not int or not 1000 <= value <= 4999:
        raise bad("code")
    return value


def flag(value: Any, what: str) -> bool:
    """Return a boolean."""
    if type(value) is not bool:
        raise bad(what)
    return value


def payload(value: Any) -> Payload:
    """Return a payload: text, bytes, or a packed value under the one extension code (MSG-5)."""
    if type(value) not in PAYLOADS:
        raise bad("payload type")
    if type(value) is msgpack.ExtType and value.code != EXT_VALUE:
        raise bad("extension code")
    return cast("Payload", value)


def text(value: Any, longest: int, what: str) -> str:
    """Return a text of at most so many bytes; a character takes four at most."""
    if type(value) is not str or (len(value) * 4 > longest and len(value.encode()) > longest):
        raise bad(what)
    return value


def sayable(code: object, reason: object) -> str:
    """Return as much of a reason of ours as may be sent.

    Raises:
        ValueError: The code may not be sent.
        TypeError: The code is no int, or the reason no str.
    """
    if not isinstance(code, int) or not isinstance(reason, str):
        raise TypeError(
            f"a code must be an int and a reason a str, not {code!r} and {reason!r:.100}"
        )
    if not 1000 <= code <= 4999:
        raise ValueError(f"a code is from 1000 to 4999, not {code}")
    return reason.encode(errors="replace")[:MAX_REASON].decode(errors="ignore")
