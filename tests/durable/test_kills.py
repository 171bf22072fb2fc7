"""Nothing is lost, nothing comes twice, and every outcome is true, whenever a process dies."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.python,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked"),
]

KILLS = int(os.environ.get("RELIABLE_WS_KILLS", "300"))


def test_processes_that_are_killed(tmp_path):
    """In a process of its own: it forks, and this one has threads."""
    command = [sys.executable, "-m", "tests.durable.harness", "--kills", str(KILLS)]
    done = subprocess.run(
        [*command, "--keep", str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert f"{KILLS} kills" in done.stdout
