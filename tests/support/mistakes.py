"""Options of the wrong kind, the same for both drivers, and how each is refused."""

from __future__ import annotations

import re

import pytest

from reliable_ws import Config


async def awaited(event): ...


OPTIONS = [
    ("methods", {}, "a reliable_ws.Methods"),
    ("config", {}, "a reliable_ws.Config"),
    ("config", Config, "a reliable_ws.Config"),
    ("on_event", "closed", "a plain function"),
    ("on_event", awaited, "a plain function"),
    ("payload_codec", "json", "an object with dumps() and loads()"),
]
FOR_CONNECT = [*OPTIONS, ("reconnect", 5, "True, False or a reliable_ws.Backoff")]
FOR_WRAP = [
    *OPTIONS,
    ("reconnect", True, "a reliable_ws.Backoff"),
    ("resume_within", "60", "a number of seconds"),
]
FOR_ENDPOINTS = [
    *OPTIONS,
    ("principal", "ann", "a function"),
    ("drain_timeout", "10", "a number of seconds"),
]


def refused(name, expected, value):
    what = re.escape(repr(value)[:30])
    return pytest.raises(TypeError, match=f"^{name}=? must be {re.escape(expected)}, not .*{what}")


UNKNOWN = [
    ("idle_timeout", "it is a field of Config: pass it in config=, as config=Config(idle_timeout="),
    ("session_ttl", "it is a field of Config: pass it in config="),
    ("max_siz", "did you mean max_size="),
    ("extra_headers", "it is additional_headers= now"),
    ("zzz", "neither reliable_ws nor websockets knows it"),
]
"""Options that there are not, and what is said of each."""


def unknown(verb, name, words):
    return pytest.raises(TypeError, match=f"^{re.escape(f'{verb} has no option {name}=: {words}')}")
