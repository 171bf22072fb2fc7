"""ASGI servers, with an application that has no framework."""

from __future__ import annotations

from .programs import ProgramContract

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


class TestGranian(ProgramContract):
    library = "ASGI on Granian"
    distributions = ("granian",)
    program = ("granian", "raw_asgi")
    tells_reason = False
    max_frame = 16 * MIB
