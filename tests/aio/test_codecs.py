"""Two sides with different payload codecs are told at once, wherever the codec was passed."""

from __future__ import annotations

import asyncio
import json

import pytest

from reliable_ws import Group, Sessions, wrap
from reliable_ws.testing.memory import pair
from tests.aio.memory_network import on_virtual_clock, paired


class JSON:
    name = "json"

    def dumps(self, value):
        return json.dumps(value).encode()

    def loads(self, data):
        return json.loads(data)


class Unnamed(JSON):
    name = None


async def meet(initiator, acceptor):
    near, far = pair()
    return await asyncio.gather(
        wrap(near, role="initiator", payload_codec=initiator),
        wrap(far, sessions=Sessions(payload_codec=acceptor)),
        return_exceptions=True,
    )


@pytest.mark.parametrize(
    ("initiator", "acceptor", "words"),
    [
        (JSON(), None, "payload codecs differ: initiator json, acceptor msgpack"),
        (None, JSON(), "payload codecs differ: initiator msgpack, acceptor json"),
        (JSON(), Unnamed(), "payload codecs differ: initiator json, acceptor custom"),
    ],
)
@on_virtual_clock(seeds=(None,), limit=60)
async def test_two_sides_with_two_codecs_are_told_at_once(initiator, acceptor, words):
    """HELLO-18."""
    for error in await meet(initiator, acceptor):
        assert isinstance(error, Exception)
        assert words in str(error)


@pytest.mark.parametrize("codec", [JSON(), Unnamed(), None])
@on_virtual_clock(seeds=(None,), limit=60)
async def test_two_sides_with_one_codec_understand_each_other(codec):
    """HELLO-18."""
    client, server = await meet(codec, codec)
    await client.send({"a": [5]})
    assert await server.recv() == {"a": [5]}
    client.abort()
    server.abort()


@on_virtual_clock(seeds=(None,), limit=60)
async def test_a_group_takes_no_member_of_another_codec():
    async with paired() as (_, _client, server):
        with pytest.raises(
            ValueError, match="of the group is json, that of the connection msgpack"
        ):
            Group(payload_codec=JSON()).join(server)
        Group().join(server)


@pytest.mark.parametrize("name", ["", "a b", "ü", "x" * 33, 5])
def test_a_name_that_cannot_be_told_is_refused_at_the_call(name):
    codec = JSON()
    codec.name = name
    with pytest.raises(TypeError, match="payload_codec= must have no name, or one of 1 to 32"):
        Sessions(payload_codec=codec)
