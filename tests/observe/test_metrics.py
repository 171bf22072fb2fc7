"""Figures are what the sessions have counted anyway, and both exporters tell the same."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from itertools import accumulate

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

import reliable_ws
from reliable_ws import Config, Methods
from reliable_ws.driver import figures as figures_module
from reliable_ws.driver.session_table import SessionTable
from reliable_ws.histogram import BOUNDS, Histogram
from reliable_ws.metrics import otel, prometheus
from reliable_ws.metrics.table import METRICS
from reliable_ws.protocol.registry import SessionRegistry
from reliable_ws.testing import Network, pair, virtual_clock
from tests.docs.test_examples import ROOT
from tests.support.inside import driver_of
from tests.sync.conftest import pair as pair_of_threads

SMALL = Config(window_messages=4)


@virtual_clock
async def test_one_session_from_its_beginning_to_its_end():
    async with pair(config=SMALL) as (client, server, _network):
        for number in range(4):
            await client.send(number)
        await asyncio.sleep(1)
        assert await server.recv() == 0
        await asyncio.sleep(1)
        client.figures()  # a look
        await asyncio.sleep(20)
        figures = client.figures()
        assert (figures.sent, figures.transmitted, figures.confirmed) == (4, 4, 1)
        assert (figures.outbox_messages, figures.outbox_bytes) == (3, 21)
        assert figures.outbox_seconds == pytest.approx(21, abs=1)
        assert (figures.outbox_stalled, figures.inbox_stalled) == (1, 0)
        assert figures.sessions == {"open": 1}
        there = server.figures()
        assert (there.received, there.taken, there.acknowledged) == (4, 1, 1)
        assert (there.inbox_messages, there.inbox_stalled) == (3, 1)
        assert there.inbox_seconds == pytest.approx(21, abs=1)
        client.abort()
    figures = client.figures()
    assert (figures.sessions, figures.ended) == ({}, {"aborted": 1})
    assert (figures.sent, figures.confirmed, figures.unknown) == (4, 1, 3)


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (Config(window_messages=4, outbox_messages=8), 8),
        (Config(window_messages=4), 4),  # callers of send() wait, and no message does
        (Config(window_bytes=2000, max_message=2000), 3),  # 1,500 of 2,000 bytes
    ],
)
@virtual_clock
async def test_a_full_window_is_timed_from_both_sides(config, count):
    async with pair(config=config) as (client, server, _network):
        for number in range(count):
            await client.send(bytes([number]) * 500)
        await asyncio.sleep(1)
        client.figures()
        server.figures()
        await asyncio.sleep(30)
        assert client.figures().window_full_peers == pytest.approx(31, abs=1)
        assert server.figures().window_full_here == pytest.approx(31, abs=1)
        for _ in range(count):
            await server.recv()
        await asyncio.sleep(1)
        client.figures()
        before = client.figures().window_full_peers
        await asyncio.sleep(30)
        assert client.figures().window_full_peers == before


@virtual_clock
async def test_a_window_that_was_full_costs_no_seconds_while_nothing_waits():
    async with pair(config=SMALL) as (client, server, _network):
        for number in range(4):
            await client.send(number)
        await asyncio.sleep(1)
        before = server.figures().window_full_here
        for _ in range(4):
            await server.recv()
        await asyncio.sleep(30)
        assert server.figures().window_full_here == before
        for number in range(4):
            await client.send(number)
        await asyncio.sleep(1)
        assert server.figures().window_full_here == pytest.approx(before, abs=1)
        await asyncio.sleep(30)
        assert server.figures().window_full_here == pytest.approx(before + 31, abs=1)


@virtual_clock
async def test_a_session_in_which_nothing_waits_any_more_is_read_as_fast_as_before():
    async with pair() as (client, server, _network):
        await client.send("x")
        assert client.figures().outbox_messages == 1
        assert driver_of(client).stalls is not None
        await server.recv()
        await asyncio.sleep(1)
        assert client.figures().outbox_messages == 0
        assert driver_of(client).stalls is None


@virtual_clock
async def test_a_finish_is_no_message():
    async with pair() as (client, server, _network):
        await client.send("x")
        await client.finish()
        await asyncio.sleep(1)
        figures, there = client.figures(), server.figures()
        assert (figures.sent, figures.transmitted, figures.confirmed) == (1, 1, 0)
        assert (there.received, there.taken, there.acknowledged) == (1, 0, 0)
        assert (figures.outbox_messages, there.inbox_messages) == (1, 1)
        await server.recv()
        await asyncio.sleep(1)
        figures, there = client.figures(), server.figures()
        assert (figures.sent, figures.transmitted, figures.confirmed) == (1, 1, 1)
        assert (there.received, there.taken, there.acknowledged) == (1, 1, 1)
        assert (figures.outbox_messages, there.inbox_messages) == (0, 0)


@virtual_clock
async def test_a_server_counts_what_its_sessions_have_left():
    """Counters never fall when a session ends."""
    network = Network()

    async def handler(conn):
        async for message in conn:
            await conn.send(message)

    async with network.serve(handler, drain_timeout=1.0) as server:
        for count in (3, 2):
            async with await network.connect() as conn:
                for number in range(count):
                    await conn.send(number)
                    assert await conn.recv() == number
                assert server.figures().sessions == {"open": 1}
        figures = server.figures()
        assert (figures.sent, figures.confirmed, figures.received, figures.taken) == (5, 5, 5, 5)
        assert figures.ended == {"finished": 2}
        assert server.figures() == figures


@virtual_clock
async def test_figures_are_read_in_slices_and_each_session_counts_once(monkeypatch):
    """Also those that end in a pause between two slices, before and after they are read."""
    monkeypatch.setattr(figures_module, "SESSIONS_AT_ONCE", 2)
    network = Network()

    async def handler(conn):
        await conn.send("x")
        await conn.wait_closed()

    async with network.serve(handler, drain_timeout=1.0) as server, AsyncExitStack() as stack:
        for _ in range(7):
            conn = await stack.enter_async_context(await network.connect())
            assert await conn.recv() == "x"
        await asyncio.sleep(1)
        read = [*server.connections]
        pauses = []

        def pause():
            if not pauses:
                read[0].abort()  # it was read
                read[-1].abort()  # it comes
            pauses.append(len(server.connections))

        figures = server.sessions._table.figures(pause)
        assert pauses == [5, 5, 5]
        assert (figures.sent, figures.confirmed) == (7, 7)
        assert (figures.sessions, figures.ended) == ({"open": 6}, {"aborted": 1})
        after = server.figures()
        assert (after.sent, after.sessions, after.ended) == (7, {"open": 5}, {"aborted": 2})


async def test_another_thread_that_reads_figures_lets_the_event_loop_run(monkeypatch):
    """In each pause between two slices; in the thread of the loop there are no pauses."""
    monkeypatch.setattr(figures_module, "SESSIONS_AT_ONCE", 1)
    loop = asyncio.get_running_loop()
    turns = []

    async def turn():
        turns.append(asyncio.current_task())

    def sleep(seconds):
        assert seconds == figures_module.SLICE_PAUSE
        asyncio.run_coroutine_threadsafe(turn(), loop).result(60)

    monkeypatch.setattr("reliable_ws.aio.sessions.time.sleep", sleep)
    network = Network()
    async with (
        network.serve(lambda conn: conn.wait_closed()) as server,
        await network.connect(),
        await network.connect(),
        await network.connect(),
    ):
        assert server.figures().sessions == {"open": 3}
        assert not turns
        figures = await asyncio.to_thread(server.figures)
        assert figures == server.figures()
        assert len(turns) == 2


def test_a_reader_begins_again_if_a_session_ends_just_then():
    table = SessionTable(SessionRegistry(1))
    table._retiring = 1  # its sessions' thread has begun

    def pause():
        table.left.sent = 5
        table._retired = 1  # and is done

    assert table.figures(pause).sent == 5


@virtual_clock
async def test_resumes_and_what_was_sent_again():
    async with pair() as (client, server, network):
        network.half_open()
        await client.send("x")
        await asyncio.sleep(0)
        network.cut()
        assert await server.recv() == "x"
        assert client.figures().resumes == server.figures().resumes == 1
        assert client.figures().replayed == 1


@virtual_clock
async def test_requests_and_handlers():
    methods = Methods()

    @methods.register
    async def wait() -> None:
        await asyncio.sleep(5)

    async with pair(methods=methods) as (client, server, _network):
        asking = asyncio.create_task(client.request("wait"))
        await asyncio.sleep(1)
        assert (client.figures().requests, server.figures().handlers) == (1, 1)
        await asking
        assert (client.figures().requests, server.figures().handlers) == (0, 0)


async def test_refused_websockets_are_counted_by_code():
    from tests.aio.sockets import echo, local

    async with reliable_ws.serve(echo, "127.0.0.1", 0, config=Config(max_sessions=1)) as server:
        async with local(server):
            with pytest.raises(reliable_ws.ServerBusy):
                await local(server)
        assert server.figures().refused == {4529: 1}


def test_threads():
    with pair_of_threads() as (ours, theirs):
        ours.send("x")
        assert theirs.recv(timeout=60) == "x"
        assert (ours.figures().sent, theirs.figures().taken) == (1, 1)
        ours.flush(timeout=60)
        assert sum(ours.figures().confirm_seconds.counts) == 1
    sessions = reliable_ws.sync.Sessions()
    assert sessions.figures() == reliable_ws.Figures()


@virtual_clock
async def test_confirmations_are_timed_from_the_writing_on():
    """One message of a session at a time; and over a lost WebSocket."""
    async with pair() as (client, server, network):
        await client.send("x")
        await client.send("y")
        await asyncio.sleep(2)
        assert await server.recv() == "x"
        assert await server.recv() == "y"
        await client.flush()
        times = client.figures().confirm_seconds
        assert dict(zip(BOUNDS, times.counts, strict=False))[2.5] == sum(times.counts) == 1
        assert times.total == pytest.approx(2, abs=0.1)
        assert server.figures().confirm_seconds == Histogram()  # it has sent nothing
        network.half_open()
        await client.send("z")  # until the client finds its WebSocket silent, after 20 s
        assert await server.recv() == "z"
        await client.flush()
        times = client.figures().confirm_seconds
        assert dict(zip(BOUNDS, times.counts, strict=False))[30.0] == 1


@virtual_clock
async def test_messages_one_by_one_are_timed_ten_times_in_a_second_at_most():
    async with pair() as (client, server, _network):
        for wait, timed in ((0, 1), (0, 1), (0, 1), (0.2, 2), (0.2, 3)):
            await asyncio.sleep(wait)
            receipt = await client.send("x")
            await server.recv()
            await receipt
            assert sum(client.figures().confirm_seconds.counts) == timed


@virtual_clock
async def test_a_server_has_one_histogram_for_all_of_its_sessions():
    network = Network()

    async def handler(conn):
        await (await conn.send("x"))
        assert conn.figures().confirm_seconds == Histogram()

    async with network.serve(handler, drain_timeout=1.0) as server:
        for _ in range(3):
            async with network.connect() as conn:
                assert await conn.recv() == "x"
        assert sum(server.figures().confirm_seconds.counts) == 3


async def test_figures_of_a_store(tmp_path):
    """They come with those of its server."""
    from tests.aio.sockets import local

    async def handler(conn):
        async for message in conn:
            await conn.send(message)

    with reliable_ws.SQLiteStore(tmp_path / "orders.db", survives="process") as store:
        assert store.stats.changes == 0
        async with (
            reliable_ws.serve(handler, "127.0.0.1", 0, store=store) as server,
            local(server) as conn,
        ):
            await conn.send(b"x" * 10_000)
            assert await conn.recv() == b"x" * 10_000
            figures = server.figures()
        stats = figures.store
        assert stats.changes >= sum(stats.commit_seconds.counts) >= 2
        assert stats.commit_seconds.total > 0
        assert stats.file_bytes > 10_000
        assert stats.refused == 0
        assert 0 <= stats.waiting_seconds < 10
        assert figures.as_dict()["store"]["changes"] == stats.changes
        told = exported_by_otel(orders=Fixed(figures))
        assert list(told["store_changes"].values()) == [stats.changes]
    assert store.stats.waiting == 0


@virtual_clock
async def test_figures_of_a_group():
    group = reliable_ws.Group(when_full="skip")
    small = reliable_ws.Group(when_full="drop")
    async with pair(config=Config(window_messages=1, outbox_messages=1)) as (_c, server, _network):
        group.join(server)
        group.publish("x")
        group.publish("y")
        assert group.stats == (1, 0, 2, 1, 0)
        small.join(server)
        small.publish("z")
        assert small.figures().group == (0, 0, 1, 0, 1)
        registry = CollectorRegistry()
        registry.register(prometheus(room=group, orders=server))
        room = {"endpoint": "room"}
        assert registry.get_sample_value("reliable_ws_group_skipped_total", room) == 1
        assert registry.get_sample_value("reliable_ws_resumes_total", room) is None
        assert registry.get_sample_value("reliable_ws_resumes_total", {"endpoint": "orders"}) == 0


def test_figures_of_a_cluster():
    stats = reliable_ws.ClusterStats(1, 2, 3, 4, 5, 6.0)
    registry = CollectorRegistry()
    registry.register(prometheus(Fixed(reliable_ws.Figures(cluster=stats))))
    for name, some, value in (
        ("relayed_websockets", {"direction": "out"}, 1),
        ("relayed_websockets", {"direction": "in"}, 2),
        ("sessions_moved_total", {"how": "claimed"}, 3),
        ("sessions_moved_total", {"how": "lost"}, 5),
        ("engine_away_seconds", {}, 6),
    ):
        labels = {"endpoint": "", **some}
        assert registry.get_sample_value(f"reliable_ws_cluster_{name}", labels) == value
    sessions = reliable_ws.Sessions(cluster=reliable_ws.Cluster("redis://127.0.0.1:1"))
    assert sessions.figures().cluster == (0, 0, 0, 0, 0, 0.0)


# -- exporters -----------------------------------------------------------------------------------


class Fixed:
    """Figures that are known."""

    def __init__(self, figures):
        self._figures = figures

    def figures(self):
        return self._figures


def exported_by_otel(**sources):
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    otel(meter=provider.get_meter("test"), **sources)
    data = reader.get_metrics_data()
    provider.shutdown()
    return {
        metric.name.removeprefix("reliable_ws."): {
            tuple(sorted(point.attributes.items())): point.value
            for point in metric.data.data_points
        }
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


@virtual_clock
async def test_both_exporters_tell_the_same():
    async with pair() as (client, server, _network):
        for _ in range(3):
            await client.send("x")
            await server.recv()
        await asyncio.sleep(1)
        registry = CollectorRegistry()
        registry.register(prometheus(orders=client))
        told = exported_by_otel(orders=client)
        of_sessions = {m.name for m in METRICS if m.part == "sessions" and m.kind != "histogram"}
        of_sessions -= {"handshakes_refused"}  # there was none
        assert told.keys() == of_sessions | {"confirm_seconds.bucket", "confirm_seconds.sum"}
        for metric in METRICS:
            for values, value in metric.values(client.figures()):
                labels = dict(zip(metric.labels, values, strict=True))
                suffix = "_total" if metric.kind == "counter" else ""
                found = registry.get_sample_value(
                    f"reliable_ws_{metric.name}{suffix}", {"endpoint": "orders", **labels}
                )
                attributes = {f"reliable_ws.{name}": said for name, said in labels.items()}
                attributes["reliable_ws.endpoint"] = "orders"
                assert found == value
                assert told[metric.name][tuple(sorted(attributes.items()))] == value
        times = client.figures().confirm_seconds
        assert sum(times.counts) > 0
        for bound, upto in zip([*BOUNDS, float("inf")], accumulate(times.counts), strict=True):
            le = {"endpoint": "orders", "le": "+Inf" if bound == float("inf") else str(bound)}
            assert registry.get_sample_value("reliable_ws_confirm_seconds_bucket", le) == upto
        assert sum(told["confirm_seconds.bucket"].values()) == sum(times.counts)
        assert list(told["confirm_seconds.sum"].values()) == [times.total]


def test_what_has_no_metrics_is_refused():
    with pytest.raises(TypeError, match="metrics are of a server, of Sessions or of a connection"):
        prometheus(object())
    with pytest.raises(TypeError, match="metrics of what"):
        otel()
    with pytest.raises(TypeError, match="not of <class"):
        prometheus(reliable_ws.Sessions)


def test_the_page_has_every_metric_with_its_labels():
    page = (ROOT / "docs" / "metrics.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| \w+ \| (.*?) \|", page, re.MULTILINE))
    assert {name: re.findall(r"`(\w+)`", labels) for name, labels in rows.items()} == {
        f"reliable_ws_{m.name}{'_total' if m.kind == 'counter' else ''}": list(m.labels)
        for m in METRICS
    }
    alerts = (ROOT / "docs" / "metrics" / "alerts.yml").read_text()
    for alert in re.findall(r"- alert: (\w+)", alerts):
        assert f"`{alert}`" in page
