from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .servers import RedisServer


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.stop()
