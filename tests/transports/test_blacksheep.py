"""BlackSheep on uvicorn."""

from __future__ import annotations

from .programs import ProgramContract


class TestBlackSheep(ProgramContract):
    library = "BlackSheep on uvicorn"
    distributions = ("blacksheep", "uvicorn")
    program = ("uvicorn", "blacksheep_app", "ws_max_size=1048576")
    tells_reason = False
