"""Log lines say which session they are about, and whose it is."""

from __future__ import annotations

import logging
import re

import pytest

import reliable_ws.sync
from reliable_ws import Connection, Methods, RemoteError, connect, serve

NAME = r"session [0-9a-f]{8} of 'ann'"


def fail() -> None:
    raise ZeroDivisionError


@pytest.mark.transport
async def test_a_request_handler_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "reliable_ws")
    methods = Methods()
    methods.register(fail)

    async def handler(conn: Connection) -> None:
        await conn.wait_closed()

    async with (
        serve(handler, "127.0.0.1", 0, methods=methods, principal=lambda _: "ann") as server,
        connect(f"ws://127.0.0.1:{server.port}", proxy=None) as conn,
    ):
        with pytest.raises(RemoteError):
            await conn.request("fail")
    assert re.search(NAME + ": the handler of 'fail' failed", caplog.text)
    assert re.search(NAME + " gets", caplog.text)


@pytest.mark.transport
def test_a_request_handler_that_fails_in_a_thread(caplog: pytest.LogCaptureFixture) -> None:
    methods = Methods()
    methods.register(fail)
    with (
        reliable_ws.sync.serve(
            lambda conn: conn.wait_closed(),
            "127.0.0.1",
            0,
            methods=methods,
            principal=lambda _: "ann",
        ) as server,
        reliable_ws.sync.connect(f"ws://127.0.0.1:{server.port}", proxy=None) as conn,
        pytest.raises(RemoteError),
    ):
        conn.request("fail")
    assert re.search(NAME + ": the handler of 'fail' failed", caplog.text)
