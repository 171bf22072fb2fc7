"""ASGI servers, with an application that has no framework."""

from __future__ import annotations

from .programs import ProgramContract

MIB = 1024 * 1024


class TestUvicorn(ProgramContract):
    library = "ASGI on uvicorn"
    distributions = ("uvicorn", "websockets")
    program = ("uvicorn", "raw_asgi", 'ws="websockets-sansio"', "ws_max_size=1048576")
