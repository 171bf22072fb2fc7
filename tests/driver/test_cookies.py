"""Cookies of handshakes: what is kept, and what is sent."""

from __future__ import annotations

import pytest
from websockets.datastructures import Headers

from reliable_ws.driver.cookies import LONGEST_COOKIE, MOST_COOKIES, Cookies

URI = "wss://example.org/live"


def sent(*lines, uri=URI, headers=None):
    cookies = Cookies()
    cookies.take(URI, lines)
    return cookies.add_to(uri, headers)


@pytest.mark.parametrize(
    ("lines", "header"),
    [
        (["a=1"], "a=1"),
        (
            ["SERVERID=s1; path=/; HttpOnly; SameSite=Lax"],
            "SERVERID=s1",
        ),
        (["a=1; Expires=Wed, 21 Oct 2099 07:28:00 GMT", "b=2"], "a=1; b=2"),
        (["a=1", "a=2"], "a=2"),
        (['a="x y"'], 'a="x y"'),
        (["a=1", "b=2", "a=; Max-Age=0"], "b=2"),
        (["[]=1", "b=2"], "b=2"),
    ],
)
def test_what_a_handshake_sets_is_sent_with_the_next_one(lines, header):
    assert sent(*lines) == [("Cookie", header)]


@pytest.mark.parametrize("headers", [None, {"X": "y"}, [("X", "y")]])
def test_without_cookies_headers_stay_as_they_are(headers):
    assert sent(headers=headers) is headers


@pytest.mark.parametrize(
    "uri", ["ws://example.org/live", "wss://example.com/live", "wss://example.org:8443/live"]
)
def test_another_server_gets_none_and_its_own_take_their_place(uri):
    cookies = Cookies()
    cookies.take(URI, ["a=1"])
    assert cookies.add_to(uri, None) is None
    cookies.take(uri, [])
    assert cookies.add_to(URI, None) is None


def test_another_path_query_user_or_spelling_is_the_same_server():
    assert sent("a=1", uri="WSS://ann:secret@Example.org/other?x=1") == [("Cookie", "a=1")]


@pytest.mark.parametrize(
    "headers",
    [
        {"X": "y", "Cookie": "auth=t; a=mine"},
        [("X", "y"), ("cookie", "auth=t; a=mine")],
        Headers({"X": "y", "Cookie": "auth=t; a=mine"}),
    ],
)
def test_the_applications_own_cookies_come_first(headers):
    assert sent("a=1", "b=2", headers=headers) == [
        ("X", "y"),
        ("Cookie", "auth=t; a=mine; b=2"),
    ]


def test_what_is_kept_and_sent_is_bounded():
    lines = [f"name{n}=1" for n in range(2 * MOST_COOKIES)]
    ((_, header),) = sent(*lines)
    assert header.count("=") == MOST_COOKIES
    assert sent("a=" + "x" * (LONGEST_COOKIE - 2)) == [
        ("Cookie", "a=" + "x" * (LONGEST_COOKIE - 2))
    ]
    assert sent("a=" + "x" * (LONGEST_COOKIE - 2), "b=1") is None
