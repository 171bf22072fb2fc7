"""ASGI frameworks: their own WebSocket objects. Falcon's are in ``test_falcon.py``."""

from __future__ import annotations

from .programs import ProgramContract

LIMIT = "ws_max_size=1048576"


class TestFastAPI(ProgramContract):
    library = "Starlette, FastAPI on uvicorn"
    distributions = ("fastapi", "starlette", "uvicorn")
    program = ("uvicorn", "fastapi_app", LIMIT)


class TestLitestar(ProgramContract):
    library = "Litestar on uvicorn"
    distributions = ("litestar", "uvicorn")
    program = ("uvicorn", "litestar_app", LIMIT)


class TestQuart(ProgramContract):
    library = "Quart on Hypercorn"
    distributions = ("quart", "hypercorn")
    program = ("hypercorn", "quart_app", "websocket_max_message_size=1048576")
    keeps_unread = False
    tells_end = False
    tells_code = False
    tells_reason = False


class TestChannels(ProgramContract):
    library = "Django Channels on Daphne"
    distributions = ("channels", "django", "daphne")
    program = ("daphne", "channels_app")
    takes_empty = False
    tells_reason = False
    sends_reason = False
