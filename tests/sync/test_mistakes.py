"""Callers' mistakes: refused at the call, with what was expected, and nothing has changed."""

from __future__ import annotations

import pytest

from reliable_ws.sync import Sessions, wrap

from .conftest import pair


def handler(conn):
    conn.wait_closed()


# -- WebSockets ----------------------------------------------------------------------------------


def test_what_is_reliable_already_is_no_websocket():
    with pair() as (ours, _theirs):
        with pytest.raises(TypeError, match=r"Connection .*reliable already"):
            wrap(ours)
        with pytest.raises(TypeError, match="reliable already"):
            Sessions().handle(ours, handler)
