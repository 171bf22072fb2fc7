"""ASGI servers, with an application that has no framework."""

from __future__ import annotations

import asyncio

import pytest

from reliable_ws import connect
from reliable_ws.testing.transport_contract.endpoints import SESSION

from .programs import Program, ProgramContract

MIB = 1024 * 1024


class TestUvicorn(ProgramContract):
    library = "ASGI on uvicorn, `--ws websockets-sansio`"
    distributions = ("uvicorn", "websockets")
    program = ("uvicorn", "raw_asgi", 'ws="websockets-sansio"', "ws_max_size=1048576")


class TestUvicornWebsockets(ProgramContract):
    library = "ASGI on uvicorn, `--ws websockets`"
    distributions = ("uvicorn", "websockets")
    program = ("uvicorn", "raw_asgi", 'ws="websockets"', "ws_max_size=1048576")


class TestUvicornWsproto(ProgramContract):
    library = "ASGI on uvicorn, `--ws wsproto`"
    distributions = ("uvicorn", "wsproto")
    program = ("uvicorn", "raw_asgi", 'ws="wsproto"', "ws_max_size=1048576")


class TestHypercorn(ProgramContract):
    library = "ASGI on Hypercorn"
    distributions = ("hypercorn",)
    program = ("hypercorn", "raw_asgi", "websocket_max_message_size=1048576")
    tells_code = False
    tells_reason = False


class TestDaphne(ProgramContract):
    library = "ASGI on Daphne"
    distributions = ("daphne",)
    program = ("daphne", "raw_asgi")
    takes_empty = False
    tells_reason = False
    sends_reason = False


class TestGunicorn(ProgramContract):
    library = "ASGI on gunicorn, `-k asgi`"
    distributions = ("gunicorn",)
    program = ("gunicorn", "raw_asgi", 'asgi_loop="asyncio"')
    tells_reason = False
    max_frame = 16 * MIB


class TestGranian(ProgramContract):
    library = "ASGI on Granian"
    distributions = ("granian",)
    program = ("granian", "raw_asgi")
    tells_reason = False
    max_frame = 16 * MIB


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_after_the_draining_gunicorn_lets_lifespan_end(loop):
    """SIGINT would not: only after its own SIGTERM it does so, and uvloop does not tell that."""
    program = Program("gunicorn", "raw_asgi", f'asgi_loop="{loop}"')
    try:
        await program.ready()
        async with connect(f"ws://127.0.0.1:{program.port}{SESSION}", proxy=None) as conn:
            await conn.send("echo")
            await conn.send("last words")
            await conn.flush()
            down = asyncio.create_task(program.shutdown())
            assert [message async for message in conn] == ["last words"]
        assert await down == ["1 sent, 1 confirmed; finished (1000)"]
        assert "lifespan.shutdown" in program.output()
    finally:
        program.end()
