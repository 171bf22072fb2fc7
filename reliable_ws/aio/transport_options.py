"""What ``connect`` and ``serve`` check of ``transport=`` and its options before they begin."""

from __future__ import annotations

from collections.abc import Mapping

from reliable_ws.adapters.opener import opener
from reliable_ws.driver.validation import check_known

__all__ = ["check_in_browser", "check_opening"]


def check_opening(verb: str, transport: str, given: Mapping[str, object]) -> None:
    """Raise for a library that there is not, and for options that it does not have.

    Raises:
        ImportError: The library is not installed, or too old.
        TypeError: There is no option of this name, or its value has the wrong type.
        ValueError: There is no such library, or it cannot serve the value of an option.
    """
    if transport == "websockets" and not given:
        return  # it need not be imported yet
    library, usual = opener(transport), opener("websockets")
    named = "listen_options" if verb == "serve()" else "connect_options"
    known, elsewhere = getattr(library, named)(), getattr(usual, named)()
    if library is not usual:
        library.check_values(given)
    check_known(verb, given, known, transport, elsewhere=elsewhere)


def check_in_browser(transport: str, given: Mapping[str, object]) -> None:
    """The same for ``connect()`` in a page.

    Raises:
        TypeError: There is no option of this name, or its value has the wrong type.
        ValueError: A library is named: the page opens WebSockets itself.
    """
    from reliable_ws.adapters import pyodide

    if transport != "websockets":
        raise ValueError("transport= names a library, and a page opens its WebSockets itself")
    check_known("connect()", given, pyodide.connect_options(), "a page's WebSocket")
