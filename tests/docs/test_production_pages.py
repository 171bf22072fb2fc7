"""The pages for production: each Python block of metrics, live, stuck and tracing is run."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import urllib.request

import opentelemetry.metrics
import prometheus_client
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

import reliable_ws
from tests.support.ports import free_port

from .test_examples import ROOT

PAGES = ("metrics", "live", "stuck", "tracing")
BLOCKS = [
    pytest.param(text, id=f"{page}-{number}")
    for page in PAGES
    for number, text in enumerate(
        re.findall(r"```python\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(), re.DOTALL)
    )
]
TOKEN = "a token of many characters"


async def greet(conn):
    """Send one message, and wait for the end."""
    await conn.send("hello")
    await conn.wait_closed()


def get(uri, **headers):
    request = urllib.request.Request(uri, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


async def run(text, **names):
    """Run a block that may await."""
    code = compile(text, "block", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)
    if inspect.iscoroutine(result):
        await result


@pytest.mark.parametrize("text", BLOCKS)
async def test_every_block_runs(text, monkeypatch, tmp_path, capsys):
    """``serve_forever()`` ends once the test has looked at what the block has made."""
    registry, exporters = CollectorRegistry(), []
    start = prometheus_client.start_http_server

    def start_http_server(port):
        exporters.append(start(port, "127.0.0.1", registry))

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(prometheus_client, "REGISTRY", registry)
    monkeypatch.setattr(prometheus_client, "start_http_server", start_http_server)
    monkeypatch.setattr(opentelemetry.metrics, "get_meter", provider.get_meter)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "*")
    port, seen = free_port(), []

    async def look(server):
        if "prometheus" in text:
            seen.append(await asyncio.to_thread(get, f"http://127.0.0.1:{port}/metrics"))
        else:
            state = f"http://127.0.0.1:{port}/state.json"
            seen.append(await asyncio.to_thread(get, state, Authorization=f"Bearer {TOKEN}"))

    monkeypatch.setattr(reliable_ws.Server, "serve_forever", look)
    text = re.sub(r"\b(9100|9999)\b", str(port), text)
    async with (
        reliable_ws.serve(greet, "127.0.0.1", 0, drain_timeout=1) as server,
        reliable_ws.connect(f"ws://127.0.0.1:{server.port}") as conn,
    ):
        names = {"reliable_ws": reliable_ws, "handler": greet, "host": "127.0.0.1", "port": 0}
        names |= {"uri": f"ws://127.0.0.1:{server.port}", "server": server, "conn": conn}
        await run(text, TOKEN=TOKEN, **names)
        if "serve_forever" in text:
            (shown,) = seen
            assert ("reliable_ws_sessions" if "prometheus" in text else '"sessions"') in shown
        elif "otel(" in text:
            assert reader.get_metrics_data() is not None
        elif "explain" in text:
            assert "not taken 1 message" in capsys.readouterr().out
        elif "jsonl" in text:
            assert any(path.stat().st_size for path in tmp_path.glob("*.jsonl"))
        conn.abort()
    for exporter, thread in exporters:
        exporter.shutdown()
        exporter.server_close()
        thread.join()
    provider.shutdown()


def test_each_page_has_blocks():
    """So that a change of how they are marked is seen."""
    assert len(BLOCKS) >= 7
