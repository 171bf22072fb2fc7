"""``doctor`` tells what real proxies do, and says what to change."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

import reliable_ws
from reliable_ws import Config
from reliable_ws.cli.doctor import Doctor
from reliable_ws.cli.doctor import _slow_found as slow_found
from reliable_ws.cli.doctor_slow import uses_proxy
from reliable_ws.transport import TransportClosed
from tests.cli.processes import command, run
from tests.docs.test_examples import ROOT
from tests.support.ports import free_port

from .programs import PATIENCE
from .proxies import CUT, PROXIES, proxy

SECONDS = 6
"""For how long WebSockets are left silent."""

PATIENT = Config(idle_timeout=20.0)
HASTY = Config(idle_timeout=3.0)
FEW = Config(max_requests=50)


@contextlib.contextmanager
def serving(*configs):
    """Servers in a thread; their ports."""
    ready: Future = Future()
    stop = threading.Event()

    async def handler(conn):
        async for message in conn:
            await conn.send(message)

    async def main():
        async with contextlib.AsyncExitStack() as stack:
            servers = [
                await stack.enter_async_context(
                    reliable_ws.serve(handler, "127.0.0.1", 0, config=config, drain_timeout=1.0)
                )
                for config in configs
            ]
            ready.set_result([server.port for server in servers])
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        yield ready.result(PATIENCE)
    finally:
        stop.set()
        thread.join()


def examine(port, *args):
    """Run the doctor; return its exit code, and its findings by name."""
    done = subprocess.run(
        command("doctor", f"ws://127.0.0.1:{port}/", "--seconds", SECONDS, "--json", *args),
        capture_output=True,
        timeout=90,
        check=False,
        env={"PYTHONPATH": ":".join(__import__("sys").path), "no_proxy": "127.0.0.1"},
    )
    assert done.stdout, done.stderr
    return done.returncode, {one["what"]: one for one in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def examined(tmp_path_factory):
    """What the doctor says of each path, all looked at side by side."""
    with (
        serving(PATIENT, HASTY, FEW) as (patient, hasty, few),
        contextlib.ExitStack() as stack,
        ThreadPoolExecutor() as pool,
    ):
        found = {"direct": pool.submit(examine, patient), "few": pool.submit(examine, few)}
        for name in PROXIES:
            port = stack.enter_context(proxy(name, patient, tmp_path_factory.mktemp(name)))
            found[name] = pool.submit(examine, port)
        quick = stack.enter_context(proxy("nginx", hasty, tmp_path_factory.mktemp("quick")))
        found["quick"] = pool.submit(examine, quick)
        yield {name: one.result() for name, one in found.items()}


def test_nothing_stands_between(examined):
    code, found = examined["direct"]
    assert code == 0
    assert {one["verdict"] for one in found.values()} == {"ok"}
    assert found["closing codes"]["words"].startswith("4400 ")
    assert found["large frames"]["words"] == "1024 KiB pass in one"
    assert "4 of 4 reached the same process" in found["resuming"]["words"]
    assert f"silent for {SECONDS} s is not cut" in found["silence"]["words"]


@pytest.mark.parametrize("name", PROXIES)
def test_a_proxy_that_cuts_before_the_heartbeat(examined, name):
    """The time-out is found, and what to change is said."""
    code, found = examined[name]
    assert code == 1
    silence = found["silence"]
    assert silence["verdict"] == "bad"
    cut_after = float(silence["words"].partition("cut after ")[2].partition(" s")[0])
    assert CUT - 0.5 <= cut_after <= CUT + 2.5
    idle_timeout = float(silence["advice"].partition("Config(idle_timeout=")[2].partition(")")[0])
    assert 0.9 * cut_after - 0.15 <= idle_timeout <= 0.9 * cut_after + 0.05  # both are rounded
    assert "proxy_read_timeout" in silence["advice"]
    others = {what: one for what, one in found.items() if what != "silence"}
    assert "bad" not in {one["verdict"] for one in others.values()}
    assert found["large frames"]["words"] == "1024 KiB pass in one"
    assert found["closing codes"]["verdict"] == "ok"


@pytest.mark.parametrize("name", PROXIES)
def test_who_has_to_speak(examined, name):
    """lighttpd wants the client to speak, Caddy the server; the others take either."""
    _code, found = examined[name]
    for who, wants_other in (("client", "caddy"), ("server", "lighttpd")):
        expected = "note" if name == wants_other else "ok"
        assert found[f"only the {who} speaks"]["verdict"] == expected


@pytest.mark.parametrize("name", ["nginx", "haproxy", "lighttpd", "apache"])
def test_a_proxy_that_cuts_a_slow_reader(examined, name):
    """It is seen that answers were left unread, and that none of them is lost."""
    _code, found = examined[name]
    slow = found["slow reader"]
    assert slow["verdict"] == "note"
    assert "is cut within 6 s: the WebSocket was closed (without a close frame)" in slow["words"]
    assert "all 1024 answers arrived, the rest on the next WebSocket" in slow["words"]
    assert "send_timeout" in slow["advice"]


@pytest.mark.parametrize("name", ["direct", "caddy", "quick"])
def test_a_path_that_waits_for_a_slow_reader(examined, name):
    """Without a proxy, through one that waits, and where heartbeats come before a time-out."""
    _code, found = examined[name]
    slow = found["slow reader"]
    assert slow["verdict"] == "ok"
    size = int(slow["words"].partition(" KiB lay unread for 6 s")[0])
    assert size > 400


def test_a_server_that_answers_too_little_to_tell(examined):
    _code, found = examined["few"]
    slow = found["slow reader"]
    assert slow["verdict"] == "note"
    assert slow["words"].startswith("not tried: the path took ")


async def test_a_proxy_of_the_environment_is_not_slowed(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    (finding,) = await Doctor("ws://192.0.2.1/", {}, 1.0, 1.0, 1.0).slow_reader()
    assert finding.words == "not tried: the environment has a proxy for this address"
    monkeypatch.setenv("no_proxy", "192.0.2.1")
    assert not uses_proxy("ws://192.0.2.1/")


def test_answers_that_are_lost_are_no_advice():
    end = TransportClosed(None)
    finding = slow_found(asked=1024, missing=7, unread=100_000, tried=6.0, lost_after=2.5, end=end)
    assert finding.verdict == "bad"
    assert "is cut after 2.5 s" in finding.words
    assert "7 of 1024 answers are lost" in finding.words


def test_a_header_that_comes_twice(examined):
    """Caddy sets its own Server beside the server's."""
    _code, found = examined["caddy"]
    assert "through Caddy, Python/" in found["handshake"]["words"]


def test_heartbeats_that_are_fast_enough(examined):
    """The same proxy in front of a server whose idle time is below its time-out."""
    code, found = examined["quick"]
    assert code == 0
    assert found["silence"]["verdict"] == "ok"


def test_a_balancer_that_sends_a_client_elsewhere(tmp_path):
    with serving(PATIENT, PATIENT) as ports, proxy_of_two(ports, tmp_path) as port:
        code, found = examine(port, "--seconds", 1)
    assert code == 1
    assert found["resuming"]["verdict"] == "bad"
    assert "reached another process" in found["resuming"]["words"]


@contextlib.contextmanager
def proxy_of_two(ports, folder):
    """HAProxy in front of two servers, which it takes in turn."""
    from . import proxies

    first, second = ports
    text = proxies.HAPROXY.replace("timeout client {cut}s", "timeout client 60s")
    text = text.replace("timeout server {cut}s", "timeout server 60s")
    text += f"    server b 127.0.0.1:{second}\n"
    proxies.PROXIES["haproxy of two"] = (text, proxies.PROXIES["haproxy"][1])
    try:
        with proxy("haproxy of two", first, folder) as port:
            yield port
    finally:
        del proxies.PROXIES["haproxy of two"]


def test_nobody_is_there():
    done = run("doctor", f"ws://127.0.0.1:{free_port()}/")
    assert done.returncode == 2
    assert b"no session with ws://127.0.0.1" in done.stderr
    done = run("doctor", "ws://127.0.0.1:1/", "--header", "nonsense")
    assert (done.returncode, b"'NAME: VALUE'" in done.stderr) == (2, True)


def test_words_for_people():
    with serving(PATIENT) as (port,):
        done = run("doctor", f"ws://127.0.0.1:{port}/", "--seconds", 0.5)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("  ok   handshake: ")
    assert any("resuming: 4 of 4" in line for line in lines)


def test_each_line_is_printed_once_it_is_known():
    """Also into a pipe or a file: the trials that go on for a minute are waited for behind it."""
    with serving(PATIENT) as (port,):
        doctor = subprocess.Popen(
            command("doctor", f"ws://127.0.0.1:{port}/", "--seconds", 600),
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": ":".join(__import__("sys").path), "no_proxy": "127.0.0.1"},
        )
        with doctor:
            assert doctor.stdout is not None
            lines = [doctor.stdout.readline() for _ in range(9)]
            assert doctor.poll() is None
            doctor.kill()
    assert lines[0].startswith("  ok   handshake: ")
    assert lines[-1].startswith("  ok   compression: ")


def test_the_page_has_every_trial(examined):
    page = (ROOT / "docs" / "doctor.md").read_text()
    _code, found = examined["direct"]
    for what in found:
        assert f" {what}: " in page
