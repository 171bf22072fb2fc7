"""When something goes wrong, the exit code and one sentence say so, with counts."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ports

from .processes import ENVIRONMENT, eventually, listener, outcome, run, sent, started, under_way

LINES = b"".join(b"line %d\n" % number for number in range(1000))

ECHO = """
import asyncio
from websockets.asyncio.server import serve

async def echo(ws):
    async for message in ws:
        await ws.send(message)

async def main():
    async with serve(echo, "127.0.0.1", 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()

asyncio.run(main())
"""


@pytest.fixture
def free_port():
    return ports.free_port()


def counts(facts):
    return facts["confirmed"] + facts["not_taken"] + facts["unknown"]


def test_nobody_listens(free_port):
    code, facts, said = sent(f"ws://127.0.0.1:{free_port}")
    assert (code, facts) == (2, None)
    assert f"cannot connect to ws://127.0.0.1:{free_port}" in said


def test_first_attempts_are_repeated_if_asked(free_port, tmp_path):
    with (
        started(
            "send", f"ws://127.0.0.1:{free_port}", "--retry", 60, "--retry-delay", 0.2, stdin=-1
        ) as sending,
        listener("--once", "--output", tmp_path / "out", port=free_port) as listening,
    ):
        sending.communicate(b"at last\n", timeout=60)
        assert sending.returncode == 0
        assert listening.ended()[0] == 0


@pytest.mark.parametrize("uri", ["nonsense", "http://127.0.0.1:1", "ws://127.0.0.1:notaport"])
def test_a_wrong_uri(uri):
    code, facts, said = sent(uri)
    assert (code, facts) == (2, None)
    assert "cannot connect to" in said
    assert "Traceback" not in said


@pytest.mark.transport
def test_a_peer_that_does_not_speak_the_protocol():
    with subprocess.Popen(
        [sys.executable, "-c", ECHO], stdout=subprocess.PIPE, env=ENVIRONMENT
    ) as echo:
        try:
            port = int(echo.stdout.readline())
            code, facts, said = sent(f"ws://127.0.0.1:{port}")
            assert (code, facts) == (2, None)
            assert "does not speak reliable-ws" in said
            assert "Traceback" not in said
        finally:
            echo.kill()


@pytest.mark.parametrize(
    "args", [["--file", "absent"], ["--limit", "nonsense=1"], ["--timeout", "0"]]
)
def test_wrong_usage_of_send(args, tmp_path):
    done = run("send", "ws://127.0.0.1:1", *args, cwd=tmp_path)
    assert done.returncode == 2
    assert args[-1].encode().split(b"=")[0] in done.stderr
    assert b"Traceback" not in done.stderr


def test_port_in_use(free_port):
    with socket.create_server(("127.0.0.1", free_port)):
        done = run("listen", "--port", free_port)
    assert done.returncode == 2
    assert b"cannot listen on 127.0.0.1:%d" % free_port in done.stderr
    assert b"Traceback" not in done.stderr


def test_an_output_that_cannot_be_opened(tmp_path):
    done = run("listen", "--port", 0, "--output", tmp_path / "absent" / "out")
    assert done.returncode == 2
    assert b"cannot write to" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_confirms_nothing():
    with listener("--output", "/dev/full") as listening:
        code, facts, said = sent(listening.uri, input=LINES)
        assert code == 1, said
        assert facts["confirmed"] == 0
        assert counts(facts) == facts["sent"] > 0
        code, _, said = listening.ended()
        assert code == 1
        assert "cannot write to /dev/full: No space left on device" in said
        assert "Traceback" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize("how", ["--lines", "--whole"])
def test_what_a_pipe_has_given_and_is_not_confirmed_is_saved(tmp_path, how):
    rest = tmp_path / "rest"
    rest.write_bytes(b"before\n")
    with listener("--output", "/dev/full") as listening:
        code, facts, said = sent(listening.uri, how, "--undelivered", rest, input=LINES)
        assert code == 1, said
        assert facts["confirmed"] == 0
    saved = rest.read_bytes()
    assert saved.startswith(b"before\n")
    saved = saved.removeprefix(b"before\n")
    assert saved  # in order, with nothing left out
    assert LINES.startswith(saved)
    assert saved.count(b"\n") >= facts["sent"] or how == "--whole"


@pytest.mark.transport
def test_a_killed_listener_makes_the_sender_fail_with_counts(tmp_path):
    target = tmp_path / "out"
    with under_way(target, LINES, "--json", "--session-ttl", 1.5) as (listening, sending):
        listening.process.kill()
        listening.process.wait()
        _, facts, said = outcome(1, *sending.communicate(LINES, timeout=60))
        assert sending.returncode == 1
        assert facts["sent"] == counts(facts) == 2000
        assert facts["confirmed"] <= 1000
        assert facts["first_undelivered"] == facts["confirmed"] + 1
        assert f"the first is number {facts['first_undelivered']:,}" in said
        assert "unknown" in said or "not taken" in said


@pytest.mark.transport
def test_a_listener_that_lost_its_memory_ends_the_session_at_once(tmp_path, free_port):
    target = tmp_path / "out"
    options = ("--json", "--retry-delay", 0.2)
    with under_way(target, LINES, *options, port=free_port) as (first, sending):
        first.process.kill()
        first.process.wait()
        with listener("--output", target, port=free_port):
            facts = outcome(1, *sending.communicate(timeout=60))[1]
        assert sending.returncode == 1
        assert counts(facts) == facts["sent"] == 1000
        assert target.read_bytes() == LINES  # nothing twice


def test_a_listener_that_stands_still_is_given_up(tmp_path):
    with (
        listener("--output", tmp_path / "out") as listening,
        started("send", listening.uri, "--json", "--timeout", 3, stdin=-1) as sending,
    ):
        sending.stdin.write(LINES)
        sending.stdin.flush()
        eventually(lambda: (tmp_path / "out").stat().st_size == len(LINES))
        listening.process.send_signal(signal.SIGSTOP)
        try:
            _, facts, said = outcome(1, *sending.communicate(LINES, timeout=60))
        finally:
            listening.process.send_signal(signal.SIGCONT)
        assert sending.returncode == 1
        assert counts(facts) == facts["sent"] == 2000
        assert facts["unknown"] > 0
        assert "nothing confirmed for 3 s" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sender_says_what_is_known(tmp_path, number):
    target = tmp_path / "out"
    with under_way(target, LINES, "--json") as (_, sending):
        sending.send_signal(number)
        _, facts, said = outcome(130, *sending.communicate(timeout=60))
        assert sending.returncode == 130
        assert facts["sent"] == counts(facts) == 1000
        assert "interrupted: 1,000 messages sent" in said
        assert "Traceback" not in said


def test_once_fails_if_the_session_is_lost(tmp_path):
    target = tmp_path / "out"
    brief = ("--session-ttl", 1)
    with under_way(target, LINES, *brief, listen=("--once", *brief)) as (listening, sending):
        sending.kill()
        assert listening.ended()[0] == 1


GATE = """
import asyncio, http, sys
from reliable_ws import serve

answers = [http.HTTPStatus(int(status)) for status in sys.argv[1:]]

def gate(ws, request):
    return ws.respond(answers.pop(0), "") if answers else None

async def take(conn):
    async for _ in conn:
        pass

async def main():
    async with serve(take, "127.0.0.1", 0, process_request=gate) as server:
        print(server.port, flush=True)
        await asyncio.get_running_loop().create_future()

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("answers", "code", "words"),
    [((502, 429, 503), 0, "all confirmed"), ((403,), 2, "cannot connect"), ((404,), 2, "404")],
)
def test_what_is_repeated_before_the_first_session(answers, code, words):
    command = [sys.executable, "-c", GATE, *map(str, answers)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as gate:
        try:
            uri = f"ws://127.0.0.1:{int(gate.stdout.readline())}"
            ended, _, said = sent(uri, "--retry", 60, "--retry-delay", 0.1)
            assert (ended, words in said) == (code, True)
        finally:
            gate.kill()


def test_a_session_that_is_lost_is_told_with_its_last_attempt():
    """The gate lets one WebSocket in, and cuts it when the first line has come."""
    source = GATE.replace(
        'return ws.respond(answers.pop(0), "") if answers else None',
        """
    if not answers[1:]:
        return ws.respond(answers[0], "")
    answers.pop()
    return None
""".strip(),
    ).replace("        pass", "        conn.websocket.transport.abort()")
    command = [sys.executable, "-c", source, "403", "403"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as gate:
        try:
            uri = f"ws://127.0.0.1:{int(gate.stdout.readline())}"
            code, _, said = sent(uri, "--retry-delay", 0.1, input=b"one\n" * 10000)
            assert code == 1
            assert "the session is over: lost (1006, 'no WebSocket can be opened: HTTP 403" in said
        finally:
            gate.kill()
