"""Falcon; alone, for the matrix runs it with old releases, too."""

from __future__ import annotations

from .programs import ProgramContract


class TestFalcon(ProgramContract):
    library = "Falcon on uvicorn"
    distributions = ("falcon", "uvicorn", "websockets")
    program = ("uvicorn", "falcon_app", "ws_max_size=1048576")
    takes_text = False
    tells_reason = False
