"""A Sentinel of the test's own, which watches one engine and its replica."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from pathlib import Path

import redis

from tests.support.ports import HOST, free_port

NAME = "engine"
"""What the Sentinel calls the engine."""

CONFIG = """
port {port}
bind {host}
dir {folder}
sentinel monitor {name} {host} {engine} 1
sentinel down-after-milliseconds {name} 500
sentinel failover-timeout {name} 2000
"""


class Sentinel:
    """One redis-sentinel; a quorum of one is enough for a test."""

    def __init__(self, folder: Path, engine_port: int) -> None:
        found = shutil.which("redis-sentinel")
        assert found is not None, "redis-sentinel is missing: apt-get install redis-sentinel"
        self.port = free_port()
        config = folder / "sentinel.conf"
        values = {"port": self.port, "host": HOST, "folder": folder, "engine": engine_port}
        config.write_text(CONFIG.format(name=NAME, **values))
        self._process = subprocess.Popen([found, str(config)], stdout=subprocess.DEVNULL)

    def wait_for_replica(self) -> None:
        """Return when it knows the engine's replica: then it can fail over."""
        by = time.monotonic() + 30
        with redis.Redis(host=HOST, port=self.port) as client:
            while True:
                with contextlib.suppress(redis.RedisError):
                    if client.sentinel_slaves(NAME):
                        return
                assert time.monotonic() < by, "the Sentinel finds no replica"
                time.sleep(0.1)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
