"""Cookies that handshakes set, for those that follow: by them a balancer knows a client."""

from __future__ import annotations

from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Cookies"]

MOST_COOKIES = 32
"""How many cookies are kept; more are not looked at."""

LONGEST_COOKIE = 4096
"""Characters of one ``Set-Cookie`` line that are looked at, and of the header that is sent."""


class Cookies:
    """Cookies by name, all of the server that set them; they last as long as this object.

    Another scheme, host or port in the URI is another server. Path, domain and age are not looked
    at, except that ``Max-Age=0`` takes a cookie back.
    """

    __slots__ = ("_by_name", "_server")

    def __init__(self) -> None:
        self._server = ("", "")
        self._by_name: dict[str, str] = {}

    def take(self, uri: str, lines: Sequence[str]) -> None:
        """Keep what the ``Set-Cookie`` lines say that answer a handshake with this URI."""
        if not (lines or self._by_name):
            return  # nothing to keep, and nothing of another server to forget
        if _server_of(uri) != self._server:
            self._server, self._by_name = _server_of(uri), {}
        for line in lines:
            try:
                parsed = SimpleCookie(line[:LONGEST_COOKIE])
            except CookieError:  # its name is not valid
                continue
            for name, cookie in parsed.items():
                self._by_name.pop(name, None)
                if cookie["max-age"] != "0" and len(self._by_name) < MOST_COOKIES:
                    self._by_name[name] = cookie.coded_value

    def add_to(self, uri: str, headers: Any) -> Any:
        """Return these headers for a handshake with this URI, with the cookies of its server.

        ``headers`` are what websockets takes: a mapping, pairs, or ``None``. A cookie that they
        have themselves stays as it is.
        """
        if not self._by_name or _server_of(uri) != self._server:
            return headers
        pairs = [] if headers is None else list(_pairs(headers))
        own = [value for name, value in pairs if name.lower() == "cookie"]
        named = {part.partition("=")[0].strip() for value in own for part in value.split(";")}
        ours = [f"{name}={value}" for name, value in self._by_name.items() if name not in named]
        cookie = "; ".join(own + ours)
        if len(cookie) > LONGEST_COOKIE:
            return headers
        others = [pair for pair in pairs if pair[0].lower() != "cookie"]
        return [*others, ("Cookie", cookie)]


def _pairs(headers: Any) -> Any:
    """Return pairs of name and value, one for each time that a name occurs."""
    if hasattr(headers, "raw_items"):  # Headers of websockets
        return headers.raw_items()
    return headers.items() if hasattr(headers, "items") else headers


def _server_of(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    return parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower()
