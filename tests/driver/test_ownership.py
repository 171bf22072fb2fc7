"""A WebSocket belongs to one connection."""

from __future__ import annotations

import gc

import pytest

from reliable_ws.driver.ownership import AlreadyOwned, check_free, own, release, take_over


class WebSocket:
    pass


class Transport:
    def __init__(self, websocket):
        self.websocket = websocket


class Slotted:
    __slots__ = ("websocket",)


def test_a_websocket_that_was_taken_over_is_not_free():
    websocket = WebSocket()
    check_free(websocket)
    transport = take_over(websocket, Transport)
    with pytest.raises(AlreadyOwned, match="wrapped already"):
        check_free(websocket)
    with pytest.raises(ValueError, match="wrapped already"):
        take_over(websocket, Transport)
    assert transport.websocket is websocket


def test_it_is_free_again_when_its_transport_is_released():
    websocket = WebSocket()
    transport = take_over(websocket, Transport)
    release(transport)
    release(transport)
    second = take_over(websocket, Transport)
    release(transport)  # another one's by now
    with pytest.raises(AlreadyOwned):
        check_free(websocket)
    release(second)


def test_or_when_nobody_uses_its_transport_any_more():
    websocket = WebSocket()
    transport = take_over(websocket, Transport)
    del transport
    gc.collect()
    check_free(websocket)


def test_what_cannot_be_adapted_stays_free():
    websocket = WebSocket()
    with pytest.raises(ZeroDivisionError):
        take_over(websocket, lambda _websocket: 1 / 0)
    check_free(websocket)


def test_behind_a_proxy_it_is_the_websocket_that_counts():
    inner = WebSocket()
    transport = take_over(WebSocket(), lambda _proxy: Transport(inner))
    with pytest.raises(AlreadyOwned):
        check_free(inner)
    with pytest.raises(AlreadyOwned):
        take_over(WebSocket(), lambda _proxy: Transport(inner))
    assert transport.websocket is inner


def test_a_transport_of_the_users_own():
    mine = Transport(None)
    assert take_over(mine, lambda transport: transport) is mine
    with pytest.raises(AlreadyOwned):
        check_free(mine)
    release(mine)
    check_free(mine)


def test_what_cannot_be_referred_to_weakly_is_not_noted():
    mine = Slotted()
    own(mine, mine)
    check_free(mine)
