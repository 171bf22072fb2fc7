"""The documentation site is built without a warning, and its recipes and texts are true."""

from __future__ import annotations

import asyncio
import contextlib
import http
import re
import subprocess
import sys

import pytest
from websockets.exceptions import InvalidStatus

import reliable_ws
from reliable_ws.testing import Network, pair, virtual_clock

from .test_examples import ROOT

DOCS = ROOT / "docs"
HOWTO = (DOCS / "howto.md").read_text()
TROUBLES = (DOCS / "troubleshooting.md").read_text()
BLOCKS = re.findall(r"<!-- run: (\w+) -->\n```python\n(.*?)```", HOWTO, re.DOTALL)
SOURCE = re.sub(
    r'"\s*\n\s*f?"',
    "",
    "\n".join(path.read_text() for path in sorted((ROOT / "reliable_ws").rglob("*.py"))),
)


def test_the_site_is_built_without_a_warning(tmp_path):
    arguments = ["-q", "-W", "--keep-going", "-b", "html", "-c", "docs", ".", tmp_path / "site"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for page in ("README.html", "protocol.html", "docs/index.html", "docs/api.html"):
        assert (tmp_path / "site" / page).exists()


# -- recipes -------------------------------------------------------------------------------------


def names_of(name, **more):
    namespace = {"reliable_ws": reliable_ws, "contextlib": contextlib, "http": http, **more}
    for block, text in BLOCKS:
        if block == name:
            exec(text, namespace)
    return namespace


def test_every_block_is_run():
    assert {name for name, _ in BLOCKS} == {"llm", "job", "token", "stop", "hangs"}
    assert HOWTO.count("```python") == len(BLOCKS)


@virtual_clock
async def test_an_answer_goes_on_after_a_cut():
    said = [f"word {number} " for number in range(10)]

    async def model(_question):
        for word in said:
            await asyncio.sleep(0.1)
            yield word

    names = names_of("llm", model=model)
    async with pair(methods=names["methods"]) as (client, _server, network):
        asking = asyncio.create_task(names["ask"](client, "why?"))
        await asyncio.sleep(0.35)
        network.cut()
        assert await asking == "".join(said)
        assert client.stats.resumes == 1


@virtual_clock
async def test_a_job_tells_its_progress_and_its_result():
    async def work_on(_page):
        await asyncio.sleep(1)

    names, shown = names_of("job", work_on=work_on), []
    async with pair(methods=names["jobs"]) as (client, _server, network):
        following = asyncio.create_task(names["follow"](client, 4, shown.append))
        await asyncio.sleep(2.5)
        network.cut()
        assert await following == "4 pages"
        assert shown == [0.25, 0.5, 0.75, 1.0]


async def test_tokens_are_fresh_and_name_the_user():
    names, tokens, users = names_of("token"), iter(["one", "two"]), []

    async def handler(conn):
        users.append(conn.principal)

    async with names["serve"](handler, {"one": "ann", "two": "bob"}.get) as server:
        uri = f"ws://127.0.0.1:{server.port}"
        for _ in range(2):
            async with names["connect"](uri, lambda: next(tokens)) as conn:
                await conn.wait_closed()
        with pytest.raises(InvalidStatus, match="401"):
            await names["connect"](uri, lambda: "old")
    assert users == ["ann", "bob"]


async def test_a_session_goes_on_with_a_fresh_token(caplog):
    """Its WebSocket is closed as its token has expired; the first new one has expired as well."""
    names, tokens = names_of("token"), iter(["one", "old", "two"])

    async def handler(conn):
        async for message in conn:
            conn.transport.abort()
            await conn.send(message)

    caplog.set_level("INFO", "reliable_ws")
    async with names["serve"](handler, {"one": "ann", "two": "ann"}.get) as server:
        uri = f"ws://127.0.0.1:{server.port}"
        async with names["connect"](uri, lambda: next(tokens)) as conn:
            await conn.send("a")
            assert await conn.recv() == "a"
            assert conn.stats.resumes == 1
    assert "HTTP 401" in caplog.text


@virtual_clock
async def test_a_handler_that_may_stop_costs_no_wait():
    async def work_for(conn):
        await conn.send(await jobs.get())
        await jobs.get()

    async def listens():
        async for _ in client:
            pass

    loop, jobs = asyncio.get_running_loop(), asyncio.Queue()
    names = names_of("stop", work_for=work_for, asyncio=asyncio)
    for says in ("nothing", "its end", "and the handler ends"):
        network = Network()
        async with network.serve(names["handler"]) as server:
            client = await network.connect()
            jobs.put_nowait("a job")
            assert await client.recv() == "a job"
            if says == "its end":
                listening = asyncio.create_task(listens())
            elif says == "and the handler ends":
                jobs.put_nowait("the last one")
            began = loop.time()
            [report] = (await server.drain(10)).values()
            assert loop.time() - began < 1
            assert report.confirmed == 1
            await client.close()
    await listening
    assert jobs.empty()


@virtual_clock
async def test_a_client_that_hangs_says_what_it_waits_for_and_where(capsys):
    methods = reliable_ws.Methods()

    @methods.register
    async def report():
        await asyncio.Event().wait()

    async def work(conn):
        await ask(conn)

    async def ask(conn):
        await conn.request("report")

    names = names_of("hangs", asyncio=asyncio, sys=sys)
    async with pair(methods=methods) as (client, _server, _network):
        working = asyncio.create_task(work(client), name="working")
        telling = asyncio.create_task(names["tell_every"](client, 10))
        await asyncio.sleep(25)
        working.cancel()
        telling.cancel()
    told = capsys.readouterr().err
    assert told.count("request 'report' waits for its answer") == 2
    of_the_task = told.partition("working\n")[2].splitlines()
    lines = [work.__code__.co_firstlineno + 1, ask.__code__.co_firstlineno + 1]
    assert of_the_task[:2] == [f"  {__file__}:{line}" for line in lines]


# -- texts ---------------------------------------------------------------------------------------

ROWS = re.findall(r"^\| (`.+?) \|", TROUBLES, re.MULTILINE)


@pytest.mark.parametrize("row", ROWS)
def test_a_text_is_one_of_the_library(row):
    for text in re.findall(r"`(.+?)`", row):
        assert text in SOURCE, text


def test_every_line_of_the_log_above_debug_is_there():
    """Unless it only hands on a text that stands elsewhere."""
    logged = re.findall(r'logger\.(?:info|warning|error|exception)\(\s*f?"([^"]+)"', SOURCE)
    logged += re.findall(r'words = "([^"]+)"\s+logger\.log\(', SOURCE)
    lines = {line for line in logged if re.sub(r"%\w|[:{} ]", "", line)}
    lacking = {
        line
        for line in lines
        if not any(all(part in line for part in re.findall(r"`(.+?)`", row)) for row in ROWS)
    }
    assert not lacking
