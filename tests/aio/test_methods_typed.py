"""Typed calls: parameters are built, results are packed, decorated generators stream."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import uuid

import pytest

from reliable_ws import InvalidParams, MsgpackCodec, RemoteError, Sessions
from reliable_ws.driver.validation import check_codec
from tests.aio.memory_network import on_virtual_clock, paired, registry


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Dot:
    x: int
    color: Color = Color.RED


async def double(dot: Dot) -> Dot:
    return Dot(dot.x * 2, dot.color)


def double_in_thread(dot: Dot) -> Dot:
    return Dot(dot.x * 2, dot.color)


async def dots(*xs: int):
    for x in xs:
        yield Dot(x)


async def refuse():
    raise RemoteError("no", "never", Dot(1))


async def opaque():
    return [Dot(1), object()]


def passing_on(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def awaiting(function):
    @functools.wraps(function)
    async def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


PLAIN = {"x": 4, "color": "red"}


@pytest.mark.parametrize("method", [double, double_in_thread, passing_on(double)])
@on_virtual_clock(seeds=(None,))
async def test_what_is_annotated_is_built_and_its_results_are_packed(method):
    async with paired(methods=registry(method)) as (_, client, _server):
        assert await client.request(method.__name__, [Dot(2)]) == PLAIN
        assert await client.request(method.__name__, {"dot": {"x": 2}}) == PLAIN
        with pytest.raises(InvalidParams, match="x must be int"):
            await client.request(method.__name__, [{"x": "2"}])


@pytest.mark.parametrize("method", [dots, passing_on(dots), awaiting(dots)])
@on_virtual_clock(seeds=(None,))
async def test_an_async_generator_streams_also_when_it_is_decorated(method):
    async with paired(methods=registry(method)) as (_, client, _server):
        items = [item async for item in client.stream("dots", [1, 4])]
        assert items == [{"x": 1, "color": "red"}, PLAIN]
        with pytest.raises(InvalidParams, match=r"use stream\(\)"):
            await client.request("dots", [1])


@on_virtual_clock(seeds=(None,))
async def test_errors_and_results_that_have_no_plain_form():
    async with paired(methods=registry(refuse, opaque)) as (_, client, _server):
        with pytest.raises(RemoteError) as caught:
            await client.request("refuse")
        assert caught.value.data == {"x": 1, "color": "red"}
        with pytest.raises(RemoteError, match="the result cannot be sent"):
            await client.request("opaque")


@on_virtual_clock(seeds=(None,))
async def test_dates_and_ids_need_no_care():
    pytest.importorskip("msgspec")

    async def same(value: uuid.UUID) -> uuid.UUID:
        return value

    number = uuid.UUID(int=5)
    async with paired(methods=registry(same)) as (_, client, _server):
        assert await client.request("same", [number]) == str(number)


class Class:
    def dumps(self, value):
        return b""

    def loads(self, data):
        return None


@pytest.mark.parametrize("codec", [json, Class])
def test_a_codec_that_gives_no_bytes_is_refused_at_the_call(codec):
    with pytest.raises(TypeError, match="payload_codec= must") as caught:
        Sessions(payload_codec=codec)
    if codec is json:
        assert "return json.dumps(value).encode()" in str(caught.value)


def test_a_codec_need_not_pack_everything():
    class Picky(Class):
        def dumps(self, value):
            raise ValueError

    check_codec(Picky())
    check_codec(Class())
    check_codec(MsgpackCodec())
