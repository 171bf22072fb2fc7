"""Servers with several workers on one port, and proxies before several servers: as they are run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import reliable_ws
from tests.support.ports import HOST, free_port

from .local_nodes import BACKOFF, CONFIG, echo, nodes
from .processes import ROOT, Node, running
from .servers import Balancer, RedisServer
from .test_relay import exchange, until

PAGE = (ROOT / "docs" / "cluster.md").read_text()


def shown(name: str) -> str:
    """Return the block of docs/cluster.md that is marked with this name."""
    return PAGE.split(f"<!-- config: {name} -->\n```")[1].split("\n", 1)[1].split("```")[0]


@contextlib.asynccontextmanager
async def program(command: list[str], port: int, **options: Any) -> AsyncIterator[Balancer]:
    """Run a program that listens on a port, and a balancer before it, which can cut."""
    process = _begin(command, options)
    try:
        async with Balancer([port]) as balancer:
            await until(lambda: _listens(port))
            yield balancer
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, 15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _begin(command: list[str], options: dict[str, Any]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, **options)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False


WORKERS = {
    "uvicorn": ["--port", "{port}", "--log-level", "warning"],
    "gunicorn": ["-b", f"{HOST}:{{port}}"],
}
"""What is said to each server besides the command of docs/cluster.md."""


def command_of(name: str, port: int) -> list[str]:
    """Return the command of docs/cluster.md, for three workers and another application."""
    shell = shown(name).replace(" chat:app", " tests.cluster.chat:app").replace(" 4", " 3")
    return [sys.executable, "-m", *shell.split(), *(one.format(port=port) for one in WORKERS[name])]


@pytest.mark.parametrize("name", sorted(WORKERS))
async def test_workers_on_one_port_resume_each_others_sessions(
    engine: RedisServer, name: str
) -> None:
    """No address of any worker is configured: they find each other on this machine."""
    port = free_port()
    environment = os.environ | {"ENGINE": engine.url}
    async with program(command_of(name, port), port, env=environment) as balancer:
        # A worker of gunicorn with uvloop loses a SIGTERM that comes while it imports this.
        with engine.client as client:
            await until(lambda: len(client.keys("reliable-ws:node:*")) == 3)
        connect = reliable_ws.connect(balancer.uri, reconnect=BACKOFF, config=CONFIG)
        async with connect as conn:
            owners = set()
            for number in range(12):
                await (await conn.send(number))
                process, is_restored, message = await conn.recv(timeout=10)
                assert message == number
                assert not is_restored
                owners.add(process)
                balancer.cut()
            assert len(owners) == 1  # one handler, wherever the WebSockets went
            # SIGTERM to the worker that has the session: another one goes on with it.
            os.kill(owners.pop(), signal.SIGTERM)
            async with asyncio.timeout(30):
                while not is_restored:
                    number += 1
                    await (await conn.send(number))
                    _process, is_restored, message = await conn.recv(timeout=20)
                    assert message == number


async def _drive(uri: str, ring: list[Node]) -> None:
    """Talk through a proxy while every node is restarted."""
    async with reliable_ws.connect(uri, reconnect=BACKOFF, config=CONFIG) as conn:
        number = 0
        for node in ring:
            for _message in range(5):
                number += 1
                await (await conn.send(str(number)))
                assert (await conn.recv(timeout=20)).split(":")[1] == str(number)
            await node.stop()
            node.start()
            await node.ready()
        assert conn.stats.resumes >= 1


def configure(name: str, text: str, folder: Path, port: int, ports: list[int]) -> list[str]:
    """Write a configuration of docs/cluster.md with the ports of the test; return the command."""
    found = shutil.which(name)
    assert found is not None, f"{name} is missing: apt-get install {name}"
    text = text.replace("*:8080", f"{HOST}:{port}").replace("listen 8080", f"listen {port}")
    text = text.replace(":8080 {", f"http://{HOST}:{port} {{")
    for number, node in enumerate(ports, start=1):
        text = text.replace(f"10.0.0.{number}:8000", f"{HOST}:{node}")
    config = folder / f"{name}.conf"
    if name == "nginx":
        head = f"daemon off; error_log {folder}/error.log; pid {folder}/pid;\nevents {{}}\n"
        text = f"{head}http {{ access_log off;\n{text}\n}}\n"
        command = [found, "-p", str(folder), "-c", str(config)]
    elif name == "caddy":
        files = f"storage file_system {folder}/caddy"
        text = f"{{\nadmin off\nauto_https off\n{files}\n}}\n{text}"
        command = [found, "run", "--config", str(config), "--adapter", "caddyfile"]
    else:
        command = [found, "-db", "-f", str(config)]
    config.write_text(text)
    return command


@pytest.mark.parametrize("name", ["haproxy", "nginx", "caddy"])
async def test_a_proxy_needs_no_sticky_routing(
    engine: RedisServer, tmp_path: Path, name: str
) -> None:
    """The configurations of docs/cluster.md, with the ports of the test."""
    port = free_port()
    async with running(tmp_path, engine, "park") as (ring, _balancer):
        command = configure(name, shown(name), tmp_path, port, [node.port for node in ring])
        async with program(command, port, stdout=subprocess.DEVNULL) as balancer:
            await _drive(balancer.uri, ring)


@pytest.mark.parametrize(("name", "replaced"), [("haproxy", "balance "), ("nginx", "least_conn")])
async def test_a_value_in_the_url_brings_all_websockets_to_one_node(
    engine: RedisServer, tmp_path: Path, name: str, replaced: str
) -> None:
    """The lines of docs/cluster.md in the place of those that choose any node."""
    lines = shown(name).splitlines()
    (place,) = [at for at, line in enumerate(lines) if line.strip().startswith(replaced)]
    lines[place : place + 1] = shown(f"{name} route").splitlines()
    port = free_port()
    async with nodes(engine, "relay", echo, count=3) as local:
        ports = [server.port for server in local.servers]
        command = configure(name, "\n".join(lines) + "\n", tmp_path, port, ports)
        async with program(command, port, stdout=subprocess.DEVNULL) as balancer:
            uris = [f"{balancer.uri}?route=client-{number}" for number in range(6)]
            connecting = [
                reliable_ws.connect(uri, reconnect=BACKOFF, config=CONFIG) for uri in uris
            ]
            conns = await asyncio.gather(*map(_opened, connecting))
            for number in range(5):
                balancer.cut()
                await asyncio.gather(*(exchange(conn, number) for conn in conns))
                assert [cluster.stats.relayed for cluster in local.clusters] == [0, 0, 0]
            assert [conn.stats.resumes for conn in conns] == [5] * 6
            owners = [len(server.connections) for server in local.servers]
            assert max(owners) < 6  # several nodes share them
            for conn in conns:
                await conn.close()


async def _opened(connecting: reliable_ws.connect) -> reliable_ws.Connection:
    return await connecting
