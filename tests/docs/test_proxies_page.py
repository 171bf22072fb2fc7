"""docs/proxies.md quotes what the library says, and its settings work in the real programs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pwd
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets

import reliable_ws
from reliable_ws import Backoff, Config
from reliable_ws.driver.status import log_silence
from reliable_ws.protocol.report import End, Ending, Outcome, Report, Undelivered
from tests.observe.programs import program, running
from tests.observe.proxies import listens
from tests.support.ports import HOST, free_port

from .test_examples import ROOT

TEXT = (ROOT / "docs" / "proxies.md").read_text()
PAGE = " ".join(TEXT.split())
BLOCKS = dict(re.findall(r"<!-- run: (\w+) -->\n```python\n(.*?)```", TEXT, re.DOTALL))
CONFIGS = dict(re.findall(r"<!-- config: (\w+) -->\n```\w+\n(.*?)```", TEXT, re.DOTALL))
SECONDS = 60
CUTS = 3
CLIENTS = 24
"So many that a hash of their values sends some to each server, whatever the ports are."
BACKOFF = Backoff(initial=0.01, longest=0.1)


def test_the_log_line_about_silence(caplog):
    log_silence("session 1a2b3c4d", 3.0)
    assert caplog.records[0].levelno == logging.WARNING  # it does not stop by itself
    assert caplog.messages[0] in PAGE


def test_the_words_of_an_unknown_session():
    lost = tuple(Undelivered(number, Outcome.UNKNOWN, "") for number in (3, 4, 5))
    report = Report(5, 2, lost, Ending(End.REFUSED, 4404, "no such session here"))
    assert f"SessionLost: {report}" in PAGE


def test_how_often_a_side_speaks_by_default():
    (every,) = re.findall(r"which is every ([0-9.]+) seconds by default", PAGE)
    assert float(every) == round(Config().idle_timeout / 3, 1)


# ------------------------------------------------------------------ the blocks


async def echo(conn: reliable_ws.Connection) -> None:
    async for message in conn:
        await conn.send(message)


async def run(name: str, port: int, **names: Any) -> dict[str, Any]:
    """Run a block as the body of a function; return its names."""
    text = BLOCKS[name].replace("wss://example.org", f"ws://{HOST}:{port}")
    body = "".join(f"    {line}\n" for line in text.splitlines())
    names["reliable_ws"] = reliable_ws
    exec(f"async def block():\n{body}    return locals()", names)
    return await names["block"]()


async def test_a_value_in_the_query_is_repeated():
    paths = []

    async def handler(conn):
        paths.append(conn.websocket.request.path)
        await conn.wait_closed()

    async with asyncio.timeout(SECONDS), reliable_ws.serve(handler, HOST, 0) as server:
        made = await run("route", server.port)
    assert paths == [f"/live?route={made['route']}"]


async def test_a_function_that_opens_websockets_sends_the_cookies():
    """The server sets two; the second WebSocket brings both."""
    cookies = []

    def look(_connection, request):
        cookies.append(request.headers.get("Cookie"))

    def answer(_connection, _request, response):
        response.headers["Set-Cookie"] = "node=a; Path=/"
        response.headers["Set-Cookie"] = "user=ann; HttpOnly"

    async with (
        asyncio.timeout(SECONDS),
        reliable_ws.serve(
            echo, HOST, 0, process_request=look, process_response=answer, drain_timeout=1
        ) as server,
    ):
        uri = f"ws://{HOST}:{server.port}"
        opened = await websockets.connect(uri, proxy=None)
        names = {"websockets": websockets, "uri": uri, "opened": opened}
        made = await run("reopen", server.port, **names)
        async with reliable_ws.wrap(opened, reopen=made["reopen"]) as conn:
            conn.transport.abort()
            await conn.send("x")
            assert await conn.recv() == "x"
    assert cookies == [None, "node=a; user=ann"]


# ------------------------------------------------------------------ the settings

NGINX = """
daemon off; pid {folder}/pid; error_log stderr; events {{}}
{config}
"""
HAPROXY = """
{config}
frontend web
    bind {host}:{port}
    default_backend live
"""
APACHE = """
ServerRoot {folder}
ServerName {host}
PidFile {folder}/pid
DefaultRuntimeDir {folder}
ErrorLog /dev/stderr
Listen {host}:{port}
User {user}
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule slotmem_shm_module {modules}/mod_slotmem_shm.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
LoadModule proxy_balancer_module {modules}/mod_proxy_balancer.so
LoadModule lbmethod_byrequests_module {modules}/mod_lbmethod_byrequests.so
{config}
"""
CADDY = """
{{
    admin off
    auto_https off
    storage file_system {folder}/caddy
}}
http://{host}:{port} {{
{config}
}}
"""
LIGHTTPD = """
server.document-root = "{folder}"
server.port = {port}
server.bind = "{host}"
server.modules = ( "mod_proxy" )
{config}
proxy.server = ( "" => ( ( "host" => "{host}", "port" => {first} ),
                         ( "host" => "{host}", "port" => {second} ) ) )
"""
PROGRAMS: dict[str, tuple[str, list[str], list[str]]] = {
    "nginx": (NGINX, ["nginx", "-e", "stderr", "-c"], []),
    "haproxy": (HAPROXY, ["haproxy", "-db", "-f"], []),
    "apache": (APACHE, ["apache2", "-D", "FOREGROUND", "-f"], []),
    "caddy": (CADDY, ["caddy", "run", "--config"], ["--adapter", "caddyfile"]),
    "lighttpd": (LIGHTTPD, ["lighttpd", "-D", "-f"], []),
}
"""For each program: what stands around the lines of the page, and its command before and behind the
name of the file. Varnish is not here: it needs a C compiler to run. It was tried by hand."""


def test_every_program_is_run():
    assert {*CONFIGS} - {"varnish"} == {*PROGRAMS}


@contextlib.contextmanager
def balancer(name: str, folder: Path, first: int, second: int) -> Iterator[int]:
    """Run a program with the settings of the page before two servers; its port."""
    around, before, behind = PROGRAMS[name]
    config = CONFIGS[name].replace("127.0.0.1:8001", f"{HOST}:{first}")
    config = config.replace("127.0.0.1:8002", f"{HOST}:{second}")
    assert "800" not in config
    port, user = free_port(), pwd.getpwuid(os.geteuid()).pw_name
    if name == "nginx":
        temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        paths = "".join(f"{one}_temp_path {folder}/{one}; " for one in temporary)
        config = config.replace("http {", f"http {{ access_log off; {paths}")
        config = config.replace("server {\n", f"server {{ listen {HOST}:{port};\n")
    path = folder / f"{name}.conf"
    path.write_text(
        around.format(
            config=config,
            folder=folder,
            host=HOST,
            port=port,
            first=first,
            second=second,
            modules="/usr/lib/apache2/modules",
            user="www-data" if user == "root" else user,
        )
    )
    folder.chmod(0o755)
    command = [program(before[0]), *before[1:], str(path), *behind]
    with running(command, lambda: listens(port), folder / f"{name}.log"):
        yield port


@pytest.mark.parametrize("name", sorted(PROGRAMS))
async def test_the_settings_bring_a_client_to_its_server_again(name, tmp_path):
    """Clients that are cut reach the process that has their session; both processes have some."""
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(SECONDS))
        servers = [
            await stack.enter_async_context(reliable_ws.serve(echo, HOST, 0, drain_timeout=1))
            for _ in range(2)
        ]
        began = contextlib.ExitStack()
        ports = [server.port for server in servers]
        port = await asyncio.to_thread(began.enter_context, balancer(name, tmp_path, *ports))
        stack.push_async_callback(asyncio.to_thread, began.close)

        async def talk(number: int) -> None:
            member = "a" if number % 2 else "b"
            uri = f"ws://{HOST}:{port}/live?route={number}.{member}"
            async with reliable_ws.connect(uri, proxy=None, reconnect=BACKOFF) as conn:
                for message in range(CUTS):
                    await conn.send(message)
                    assert await conn.recv() == message
                    conn.transport.abort()
                await conn.send("last")
                assert await conn.recv() == "last"
                assert conn.stats.resumes == CUTS

        await asyncio.gather(*map(talk, range(CLIENTS)))
        if name != "lighttpd":  # there it is the client's address that chooses
            assert all(server.figures().resumes for server in servers)
