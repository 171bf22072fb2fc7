"""A real Prometheus scrapes a server, finds a reader that has stopped, and loads what we ship."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import threading
import time
from concurrent.futures import Future

import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from reliable_ws import Config, Group, SQLiteStore, connect, serve
from reliable_ws.metrics import prometheus
from reliable_ws.metrics.table import METRICS
from tests.docs.test_examples import ROOT
from tests.support.ports import free_port

from .programs import PATIENCE, answers, api, program, running

FILES = ROOT / "docs" / "metrics"
SCRAPE = 0.5
"""Seconds between two scrapes."""

PROMETHEUS = f"""
global: {{ scrape_interval: {SCRAPE * 1000:.0f}ms, evaluation_interval: {SCRAPE * 1000:.0f}ms }}
rule_files: [ {FILES / "alerts.yml"} ]
scrape_configs:
  - job_name: orders
    static_configs: [ {{ targets: [ "127.0.0.1:%d" ] }} ]
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A server with a store, whose client reads nothing; the port of its metrics, its registry."""
    path = tmp_path_factory.mktemp("store") / "orders.db"
    ready: Future = Future()
    stop = threading.Event()

    async def handler(conn):
        await conn.recv()
        await conn.send("something that nobody takes")
        await conn.wait_closed()

    async def main():
        registry, room = CollectorRegistry(), Group()
        store = SQLiteStore(path, survives="process")
        config = Config(idle_timeout=1.5)
        async with (
            serve(handler, "127.0.0.1", 0, config=config, store=store) as server,
            connect(f"ws://127.0.0.1:{server.port}", proxy=None) as conn,
        ):
            registry.register(prometheus(orders=server, room=room))
            room.join(conn)
            await room.publish("something that the server takes").wait(PATIENCE)
            exporter, thread = start_http_server(0, "127.0.0.1", registry)
            ready.set_result((exporter.server_port, registry))
            await asyncio.to_thread(stop.wait)
            exporter.shutdown()
            exporter.server_close()
            thread.join()
            conn.abort()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        yield ready.result(PATIENCE)
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def scraping(exported, tmp_path_factory):
    """The port of a Prometheus that scrapes it."""
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    (folder / "prometheus.yml").write_text(PROMETHEUS % exported[0])
    arguments = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(arguments, lambda: answers(port, "/-/ready"), folder / "log"):
        yield port


def value_of(port, query):
    """Return the value of the only series that a query finds, and the scrapes that it took."""
    found = api(port, "query", query=query)["result"]
    return float(found[0]["value"][1]) if found else None


def test_a_reader_that_has_stopped_is_found_within_two_scrapes(scraping):
    stuck = 'reliable_ws_unconfirmed_seconds{direction="out",endpoint="orders"} > 0'
    scrapes = 'count_over_time(reliable_ws_resumes_total{endpoint="orders"}[1m])'
    by = time.monotonic() + PATIENCE
    while True:
        taken = value_of(scraping, scrapes) or 0
        if value_of(scraping, stuck) is not None:  # asked for last: scrapes go on meanwhile
            break
        assert taken <= 2
        assert time.monotonic() < by
        time.sleep(SCRAPE / 10)
    assert value_of(scraping, 'sum(reliable_ws_unconfirmed_messages{direction="out"})') == 1
    assert value_of(scraping, 'sum(reliable_ws_sessions{state="open"})') == 1


def test_figures_of_the_store_and_of_a_group_are_scraped(scraping):
    for query, least in (
        ('sum(reliable_ws_store_commit_seconds_count{endpoint="orders"})', 1),
        ('sum(reliable_ws_store_commit_seconds_bucket{endpoint="orders",le="60.0"})', 1),
        ('sum(reliable_ws_store_file_bytes{endpoint="orders"})', 1),
        ('sum(reliable_ws_group_members{endpoint="room"})', 1),
        ('sum(reliable_ws_group_publications_total{endpoint="room"})', 1),
    ):
        assert value_of(scraping, query) >= least, query


def test_the_alert_rules_are_loaded_and_work(scraping):
    (group,) = api(scraping, "rules")["groups"]
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
    for rule in group["rules"]:
        api(scraping, "query", query=rule["query"])
    assert len(group["rules"]) == (FILES / "alerts.yml").read_text().count("- alert:")


def test_the_alert_rules_fire():
    """What promtool makes of series that show a stuck reader."""
    rules = ROOT / "tests" / "observe" / "alerts_test.yml"
    done = subprocess.run(
        [program("promtool"), "test", "rules", str(rules)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        cwd=rules.parent,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_panel_of_the_dashboard_can_be_asked_for(scraping):
    dashboard = json.loads((FILES / "grafana.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    suffixes = "_total|_bucket|_sum|_count"
    named = set(re.findall(rf"reliable_ws_(\w+?)(?:{suffixes})?\{{", " ".join(asked)))
    assert named == {metric.name for metric in METRICS}
    for text in asked:
        query = text.replace("$__rate_interval", "1m").replace("$job", ".*")
        api(scraping, "query", query=query.replace("$endpoint", ".*"))


def test_promtool_finds_nothing_to_say_of_our_metrics(exported):
    done = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=generate_latest(exported[1]),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_promtool_accepts_the_rules():
    rules = str(FILES / "alerts.yml")
    done = subprocess.run(
        [program("promtool"), "check", "rules", rules],
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout
