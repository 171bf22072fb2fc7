"""The JavaScript client, ready to be served to pages from this package: no npm, no build step.

A page imports it from wherever the server has it::

    import { connect, indexedDB, msgpack } from "/reliable-ws.js";

It is the npm package ``reliable-ws`` with its store and its codec in one file (an ES module).
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["files", "path"]

NAME = "reliable-ws.js"


def path() -> Path:
    """Return the path of the module, for frameworks that serve files.

    It is served as ``text/javascript``.
    """
    return Path(__file__).with_name(NAME)


def files() -> dict[str, bytes]:
    """Return what is to be served, by the name of each file: for now, ``reliable-ws.js`` alone."""
    return {NAME: path().read_bytes()}
