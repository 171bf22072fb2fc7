"""What public objects are called in logs and at a prompt."""

from __future__ import annotations

import pytest

import reliable_ws.sync
from reliable_ws import Connection, Group, Methods, connect, serve
from reliable_ws.driver.status import describe_server
from reliable_ws.testing import ChaosProxy, pair, virtual_clock


def test_methods_say_what_can_be_requested() -> None:
    methods = Methods()
    assert repr(methods) == "<Methods none yet>"
    methods.register(print)
    methods.add(print, "say")
    assert repr(methods) == "<Methods print, say>"


def test_what_is_not_open_says_what_to_do() -> None:
    words = "<connect(…): 'await' it, or enter it with 'async with'>"
    assert repr(connect("ws://127.0.0.1:1")) == words
    assert repr(serve(lambda _: None, "127.0.0.1", 0)).startswith("<serve(…): 'await' it")  # type: ignore[arg-type, return-value]


@virtual_clock
async def test_groups_and_deliveries() -> None:
    async with pair() as ends:
        group = Group()
        group.join(ends.server)
        assert repr(group) == "<Group 1 members, when_full='wait'>"
        await ends.client.send("x")
        async for delivery in ends.server.deliveries():
            assert repr(delivery) == "<Delivery 1>"
            delivery.confirm()
            break


@pytest.mark.transport
async def test_servers() -> None:
    async def handler(conn: Connection) -> None:
        await conn.wait_closed()

    async with serve(handler, "127.0.0.1", 0) as server:
        port = server.port
        assert repr(server) == f"<Server 127.0.0.1:{port}, 0 sessions>"
        async with ChaosProxy("127.0.0.1", port) as proxy:
            assert repr(proxy) == f"<ChaosProxy 127.0.0.1:{proxy.port} to 127.0.0.1:{port}, 0 live>"
    assert repr(server) == "<Server closed, 0 sessions>"
    assert describe_server(["/run/it"], 1) == "<Server /run/it, 1 sessions>"


@pytest.mark.transport
def test_servers_with_threads() -> None:
    with reliable_ws.sync.serve(lambda _: None, "127.0.0.1", 0) as server:
        assert repr(server) == f"<Server 127.0.0.1:{server.port}, 0 sessions>"
    assert repr(server) == "<Server closed, 0 sessions>"
