"""A request is answered also when the answer, or the error, cannot be packed."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest

from reliable_ws import RemoteError, Sessions, wrap
from reliable_ws.testing.memory import pair
from tests.aio.memory_network import on_virtual_clock, registry, start, take
from tests.support.codecs import NoNone, Odd, Unsayable


async def refuse(data=None, code="no"):
    raise RemoteError(code, "never", data)


async def refuse_with_object():
    raise RemoteError("no", "never", object())


async def nothing():
    return None


async def unsayable():
    raise Unsayable("no")


async def fail():
    raise LookupError


async def odd():
    return {"a": "map"}


@contextlib.asynccontextmanager
async def with_codec(codec, *functions):
    """A client and a server that have this codec."""
    near, far = pair()
    sessions = Sessions(methods=registry(*functions), payload_codec=codec)
    client, server = await asyncio.gather(
        wrap(near, role="initiator", payload_codec=codec), wrap(far, sessions=sessions)
    )
    try:
        yield client
    finally:
        client.abort()
        server.abort()


@pytest.mark.parametrize("codec", [None, NoNone(), Odd()])
@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        (refuse, [], "no"),
        (refuse, [None, "closing"], "closing"),
        (refuse, [None, "timeout"], "timeout"),
        (refuse_with_object, [], "no"),
        (unsayable, [], "internal"),
        (fail, [], "internal"),
    ],
)
@on_virtual_clock(seeds=(None,), limit=60)
async def test_an_error_is_told_whatever_the_codec_cannot_pack(codec, method, params, code):
    """CALL-11."""
    async with with_codec(codec, method) as client:
        with pytest.raises(RemoteError) as caught:
            await client.request(method.__name__, params)
        assert (caught.value.code, caught.value.data) == (code, None)


@pytest.mark.parametrize(("codec", "method"), [(NoNone(), nothing), (Odd(), odd), (Odd(), nothing)])
@on_virtual_clock(seeds=(None,), limit=60)
async def test_a_result_that_cannot_be_packed_is_an_error(codec, method):
    async with with_codec(codec, method) as client:
        with pytest.raises(RemoteError, match="the result cannot be sent"):
            await client.request(method.__name__, [])


@on_virtual_clock(seeds=(None,), limit=60)
async def test_a_log_that_cannot_be_written_costs_no_answer():
    class Full(logging.Handler):
        def emit(self, record):
            raise OSError("no space left")

    full = Full()
    log = logging.getLogger("reliable_ws")
    log.addHandler(full)
    try:
        async with with_codec(None, fail) as client:
            with pytest.raises(RemoteError, match="the handler failed"):
                await client.request("fail")
    finally:
        log.removeHandler(full)


@on_virtual_clock(seeds=(None,), limit=60)
async def test_a_transport_that_cannot_be_closed_is_dropped():
    near, far = pair()

    async def close(code, reason):
        raise ZeroDivisionError("a bug of the transport")

    near.close = far.close = close
    client, server = await asyncio.gather(
        wrap(near, role="initiator"), wrap(far, sessions=Sessions())
    )
    await client.send("last")
    closing = start(client.close())
    assert await take(server, 1) == ["last"]
    await server.close()
    await closing
