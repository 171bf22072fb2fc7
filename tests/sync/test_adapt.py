"""Which adapter takes which object, and what is said of the others."""

from __future__ import annotations

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.sync.client import ClientConnection as SyncClientConnection

from reliable_ws.adapters import adapt as adapt_async
from reliable_ws.adapters import adapt_blocking as adapt
from reliable_ws.sync import Sessions, wrap
from reliable_ws.testing.memory import pair as memory_pair
from reliable_ws.transport import EagerTransport, SyncPushTransport, SyncTransport

from .pipe import EagerPipe, Pipe, pipe


def test_a_transport_is_taken_as_it_is():
    near, _ = pipe(Pipe)
    assert adapt(near) is near
    assert isinstance(near, SyncTransport)
    assert not isinstance(near, EagerTransport)
    assert isinstance(pipe(EagerPipe)[0], EagerTransport)
    with pytest.raises(TypeError, match="takes no options: max_frame"):
        adapt(near, max_frame=1)


def test_a_connection_of_a_subclass_is_found():
    class Mine(SyncClientConnection):
        pass

    with pytest.raises(TypeError, match=r"Mine block: use reliable_ws\.sync"):
        adapt_async(Mine.__new__(Mine))


def test_what_is_awaited_is_for_the_other_driver():
    for awaited in (memory_pair()[0], ClientConnection.__new__(ClientConnection)):
        with pytest.raises(TypeError, match=r"use reliable_ws\.wrap, not reliable_ws\.sync"):
            adapt(awaited)


def test_what_blocks_is_for_this_driver():
    for blocking in (pipe()[0], SyncClientConnection.__new__(SyncClientConnection)):
        with pytest.raises(TypeError, match=r"block: use reliable_ws\.sync"):
            adapt_async(blocking)


@pytest.mark.parametrize("wrong", [7, None, Pipe])
def test_an_object_that_nobody_knows(wrong):
    with pytest.raises(
        TypeError, match=r"no adapter for .* Supported: .* websockets\.sync"
    ) as raised:
        wrap(wrong)
    assert "reliable_ws.transport.SyncTransport" in str(raised.value)


def test_the_side_has_to_be_known():
    near, _ = pipe()
    near.role = None
    with pytest.raises(ValueError, match="which side is this"):
        wrap(near)
    with pytest.raises(ValueError, match="sessions= is for the acceptor"):
        wrap(near, role="initiator", sessions=Sessions())
    with pytest.raises(ValueError, match="reopen= is for the initiator"):
        wrap(near, role="acceptor", reopen=pipe)


def test_not_everything_pushes():
    assert not isinstance(pipe()[0], SyncPushTransport)
