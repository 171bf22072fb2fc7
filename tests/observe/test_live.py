"""The live page and ``top``: what waits for whom, for this machine and with a token alone."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request

import pytest

import reliable_ws
from reliable_ws import live, serve
from reliable_ws.cli import main
from reliable_ws.cli.top import lines
from reliable_ws.live_page import snapshot as snapshots
from tests.aio.sockets import local
from tests.docs.test_examples import ROOT
from tests.support.asgi_server import running
from tests.sync.conftest import pair as pair_of_threads

TOKEN = "a token of many characters"
SECRET = "a payload that nobody may see"


async def silent(conn):
    await conn.send(SECRET)
    await conn.wait_closed()


def fetch(uri, token=TOKEN):
    """Return status, headers and body."""
    request = urllib.request.Request(uri, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


async def test_the_page_and_its_state_over_both_kinds_of_servers():
    async with (
        serve(silent, "127.0.0.1", 0, principal=lambda _: "ann") as server,
        local(server) as conn,
    ):
        app = live(orders=server, token=TOKEN)
        async with running(app) as port, app.serve() as own:
            for at in (port, own.sockets[0].getsockname()[1]):
                uri = f"http://127.0.0.1:{at}/"
                status, headers, page = await asyncio.to_thread(fetch, uri, "none is needed")
                assert (status, b"state.json" in page) == (200, True)
                assert headers["Content-Security-Policy"].startswith("default-src 'none'")
                status, _, body = await asyncio.to_thread(fetch, f"{uri}state.json")
                assert status == 200
                (endpoint,) = json.loads(body)["endpoints"]
                (row,) = endpoint["sessions"]
                assert (endpoint["endpoint"], row["session"]) == ("orders", conn.id.hex()[:8])
                assert row["principal"] == "'ann'"
                assert "1 message" in row["line"]
                assert endpoint["figures"]["outbox_messages"] == 1
                assert SECRET not in body.decode()
                assert (await asyncio.to_thread(fetch, f"{uri}state.json", "wrong"))[0] == 401
                assert (await asyncio.to_thread(fetch, f"{uri}else"))[0] == 404
        await conn.recv()


async def test_other_machines_are_refused_unless_they_are_asked_for():
    near = live(reliable_ws.Sessions(), token=TOKEN)
    far = live(reliable_ws.Sessions(), token=TOKEN, only_this_machine=False)
    for path in ("/", "/state.json"):
        assert (await near.answer(path, "10.0.0.1", f"Bearer {TOKEN}".encode()))[0] == 403
        assert (await far.answer(path, "10.0.0.1", f"Bearer {TOKEN}".encode()))[0] == 200
    assert (await far.answer("/state.json", "10.0.0.1", b""))[0] == 401


def test_what_cannot_be_shown_is_refused():
    with pytest.raises(ValueError, match="token= must have 16 ASCII characters at least"):
        live(reliable_ws.Sessions(), token="short")
    with pytest.raises(TypeError, match="a live page is of a server or of Sessions, not of 3"):
        live(3, token=TOKEN)
    with pytest.raises(TypeError, match="a live page of what"):
        live(token=TOKEN)


async def test_those_that_wait_longest_come_first_and_the_rest_is_counted(monkeypatch):
    monkeypatch.setattr(snapshots, "SHOWN", 2)
    monkeypatch.setattr(snapshots, "SLICE", 1)
    async with serve(silent, "127.0.0.1", 0) as server, local(server) as first:
        first_id = first.id.hex()[:8]
        for one in server.connections:
            one.explain()
        async with local(server), local(server):
            state = await snapshots.snapshot({"": server})
            (endpoint,) = state["endpoints"]
            assert (len(endpoint["sessions"]), endpoint["left_out"]) == (2, 1)
            assert endpoint["sessions"][0]["session"] == first_id
            text = "\n".join(lines(state, 100))
            assert text.startswith("3 open\nout: 3 wait")
            assert "and 1 more" in text
            narrow = "\n".join(lines(state, 60))
            assert max(map(len, narrow.splitlines())) <= 60
            assert " ".join(narrow.split()).partition(" session ")[0].endswith(" 0 sent again")
            assert " ".join(text.split()[-30:])[-20:] == " ".join(narrow.split()[-30:])[-20:]
            assert first_id in text
            for one in server.connections:
                one.abort()


async def test_sessions_of_threads_are_shown_too():
    class Threads:
        def __init__(self, connection):
            self.connections = [connection]

        def figures(self):
            return reliable_ws.Figures()

    with pair_of_threads() as (ours, _theirs):
        ours.send("x")
        (endpoint,) = (await snapshots.snapshot({"": Threads(ours)}))["endpoints"]
        assert "1 message" in endpoint["sessions"][0]["line"]


async def test_top(capsys, monkeypatch):
    async with serve(silent, "127.0.0.1", 0) as server, local(server) as conn:
        async with live(server, token=TOKEN).serve() as own:
            uri = f"http://127.0.0.1:{own.sockets[0].getsockname()[1]}/"

            async def top(*args):
                code = await asyncio.to_thread(main, ["top", *args])
                captured = capsys.readouterr()
                return code, captured.out, captured.err

            code, out, _err = await top(f"{uri}#{TOKEN.replace(' ', '%20')}", "--once")
            assert code == 2  # a token is taken as it stands
            monkeypatch.setenv("RELIABLE_WS_TOKEN", TOKEN)
            code, out, _err = await top(uri, "--once")
            assert (code, out.splitlines()[0]) == (0, "1 open")
            assert conn.id.hex()[:8] in out
            code, out, _err = await top(uri, "--json")
            assert json.loads(out)["format"] == "reliable_ws live"
            code, _out, err = await top(f"{uri}else", "--once")
            assert (code, "404" in err) == (2, True)
            code, _out, err = await top("ws://127.0.0.1/", "--once")
            assert (code, "has an address like" in err) == (2, True)
        code, _out, err = await top(uri, "--once")
        assert (code, "refused" in err) == (2, True)
        conn.abort()


def test_the_page_asks_nothing_of_other_hosts():
    page = (ROOT / "reliable_ws" / "live_page" / "page.html").read_text()
    assert "http:" not in page
    assert "https:" not in page
