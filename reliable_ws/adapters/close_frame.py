"""Codes and reasons of close frames, as far as every library lets them pass."""

from __future__ import annotations

__all__ = ["code_of", "reason_of", "told"]

MAX_CLOSE_REASON = 123  # bytes; RFC 6455, 5.5

NO_CODES = (None, 0, 1005, 1006)
"""How libraries say that the peer gave no code."""


def code_of(code: int) -> int:
    """Return a code that may be sent: 1011 for others."""
    return code if code in {1000, 1001, 1011, 1012} or 3000 <= code <= 4999 else 1011


def reason_of(reason: str) -> str:
    """Return as much of a reason as a close frame has room for."""
    return reason.encode(errors="replace")[:MAX_CLOSE_REASON].decode(errors="ignore")


def told(code: int | None, reason: str | None) -> tuple[int | None, str]:
    """Return what the peer's close frame said: ``None`` and no reason if it gave no code."""
    return (None, "") if code in NO_CODES else (code, reason or "")
