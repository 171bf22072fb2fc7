"""The real command line, in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120  # seconds: only a failure takes so long
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    "PYTHONUNBUFFERED": "1",
    "no_proxy": "127.0.0.1",
}


def command(*args):
    return [sys.executable, "-m", "reliable_ws", *map(str, args)]


def run(*args, **options):
    """Run a command to its end."""
    return subprocess.run(
        command(*args),
        env=ENVIRONMENT,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        **{"stdin": subprocess.DEVNULL, **({} if "input" not in options else {"stdin": None})}
        | options,
    )


@contextmanager
def started(*args, **options):
    """Start a command; whatever happens, it is gone at the end."""
    process = subprocess.Popen(
        command(*args),
        env=ENVIRONMENT,
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        | options,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        if process.stdin is not None and process.stdin.closed:
            process.stdin = None
        process.communicate()


class Listener:
    def __init__(self, process):
        self.process = process
        self.before = ""  # what it said first
        while "listening on ws://" not in (line := process.stderr.readline().decode()):
            self.before += line
            assert line, self.before
        self.uri = line.split()[-1]
        self.port = int(self.uri.rpartition(":")[2])

    def ended(self):
        """Wait for its end; return exit code, standard output, and what it said."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err.decode()


@contextmanager
def listener(*args, port=0, **options):
    with started("listen", "--port", port, *args, **options) as process:
        yield Listener(process)


@contextmanager
def under_way(target, lines, *options, listen=(), port=0):
    """A listener, and a sender whose lines so far are written down; there may be more."""
    with (
        listener("--output", target, *listen, port=port) as listening,
        started("send", listening.uri, *options, stdin=-1) as sending,
    ):
        sending.stdin.write(lines)
        sending.stdin.flush()
        eventually(lambda: target.stat().st_size == len(lines))
        yield listening, sending


def sent(uri, *args, **options):
    """Run ``send`` to its end; return exit code, facts, and what it said."""
    done = run("send", uri, "--json", *args, **options)
    return outcome(done.returncode, done.stdout, done.stderr)


def outcome(code, out, err):
    return code, json.loads(out) if out.strip() else None, err.decode()


def eventually(true):
    """Wait until something of another process can be seen; how long does not matter."""
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.01)
