"""Callers' mistakes: refused at the call, with what was expected, and nothing has changed."""

from __future__ import annotations

import asyncio
import contextlib
import fractions
import functools
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

import reliable_ws.sync
from reliable_ws import (
    ASGIApp,
    Config,
    ConnectionClosed,
    Group,
    Methods,
    Sessions,
    broadcast,
    connect,
    drain_on_sigterm,
    serve,
    wrap,
)
from reliable_ws.testing import Network
from reliable_ws.testing.memory import pair
from tests.aio.memory_network import on_virtual_clock, paired, rest, start, take, turns
from tests.support.mistakes import (
    FOR_CONNECT,
    FOR_ENDPOINTS,
    FOR_WRAP,
    OPTIONS,
    UNKNOWN,
    refused,
    unknown,
)

COROUTINE_FUNCTION = r"must be a coroutine function \(async def\)"


async def handler(conn):
    await conn.wait_closed()


async def items(conn):
    yield conn


def plain(conn):
    return conn


class Handlers:
    async def handler(self, conn): ...

    def plain(self, conn): ...

    async def __call__(self, conn): ...


class Plain:
    def __call__(self, conn): ...


@functools.wraps(handler)
def decorated(conn):
    return handler(conn)


# -- WebSockets ----------------------------------------------------------------------------------


@on_virtual_clock(seeds=(None,))
async def test_what_is_reliable_already_is_no_websocket():
    async with paired() as (_net, client, _server):
        for reliable in (client, wrap(pair()[0]), connect("ws://127.0.0.1")):
            with pytest.raises(TypeError, match=f"{type(reliable).__name__} .*reliable already"):
                wrap(reliable)
            with pytest.raises(TypeError, match="reliable already"):
                Sessions().handle(reliable, handler)


WRAPPED = "the WebSocket is wrapped already: it belongs to a connection"


@on_virtual_clock
async def test_a_websocket_belongs_to_one_connection():
    async with paired({"reopen": None, "resume_within": 60}) as (net, client, server):
        for ours in (client.websocket, server.websocket):
            with pytest.raises(ValueError, match=WRAPPED):
                wrap(ours)
            with pytest.raises(ValueError, match=WRAPPED):
                net.sessions.handle(ours, handler)
            with pytest.raises(ValueError, match=WRAPPED):
                await client.resume(ours)
            with pytest.raises(ValueError, match=WRAPPED):
                await server.resume(ours)
        await client.send("the first one goes on")
        assert await server.recv() == "the first one goes on"


@on_virtual_clock
async def test_a_websocket_that_is_handled_is_handled_once():
    near, far = pair()
    sessions = Sessions()
    serving = start(sessions.handle(far, handler))
    with pytest.raises(ValueError, match=WRAPPED):
        sessions.handle(far, handler)
    async with wrap(near):
        with pytest.raises(ValueError, match=WRAPPED):
            sessions.handle(far, handler)
    await serving


def test_a_websocket_is_for_wrap():
    with pytest.raises(TypeError, match=r"uri must be .*wrap\(\).*, not <.*MemoryTransport"):
        connect(pair()[0])


@pytest.mark.parametrize("verb", ["recv", "id", "no_such_thing"])
def test_what_is_not_open_yet_says_how_to_open_it(verb):
    for name, unopened in (
        ("connect", connect("ws://127.0.0.1")),
        ("wrap", wrap(pair()[0])),
        ("serve", serve(handler)),
        ("connect", Network().connect()),
    ):
        message = rf"{name}\(…\) has no '{verb}' .*'async with {name}\(…\) .* await {name}\(…\)'"
        with pytest.raises(AttributeError, match=message):
            getattr(unopened, verb)


# -- handlers ------------------------------------------------------------------------------------

TAKERS = [serve, lambda handler: Sessions().handle(pair()[1], handler), ASGIApp]


@pytest.mark.parametrize("take", TAKERS)
@pytest.mark.parametrize(
    "wrong", [None, "handler", plain, items, Handlers().plain, Plain(), functools.partial(plain)]
)
def test_a_handler_has_to_be_a_coroutine_function(take, wrong):
    message = f"the handler {COROUTINE_FUNCTION}, not {re.escape(repr(wrong)[:30])}"
    with pytest.raises(TypeError, match=message):
        take(wrong)


@pytest.mark.parametrize("take", TAKERS)
def test_a_handler_is_not_called_by_its_giver(take):
    called = handler(None)
    with pytest.raises(TypeError, match=f"{COROUTINE_FUNCTION}, not <coroutine object handler"):
        take(called)
    called.close()


@pytest.mark.parametrize(
    "right",
    [
        handler,
        decorated,
        Handlers().handler,
        Handlers(),
        functools.partial(handler),
        lambda conn: Handlers().handler(conn),
    ],
)
def test_what_may_be_awaited_is_a_handler(right):
    serve(right)
    Sessions().handle(pair()[1], right).close()


# -- options -------------------------------------------------------------------------------------

SESSIONS = ("sessions", reliable_ws.sync.Sessions(), "a reliable_ws.Sessions")
REOPENING = "a coroutine function (async def) that opens another WebSocket"


@pytest.mark.parametrize(("name", "wrong", "expected"), FOR_CONNECT)
def test_options_of_connect(name, wrong, expected):
    with refused(name, expected, wrong):
        connect("ws://127.0.0.1", **{name: wrong})


@pytest.mark.parametrize(
    ("name", "wrong", "expected"),
    [*FOR_WRAP, SESSIONS, ("reopen", 5, REOPENING), ("reopen", plain, REOPENING)],
)
def test_options_of_wrap(name, wrong, expected):
    with refused(name, expected, wrong):
        wrap(pair()[0], **{name: wrong})


@pytest.mark.parametrize(("name", "wrong", "expected"), [*FOR_ENDPOINTS, SESSIONS])
@pytest.mark.parametrize("endpoint", [serve, ASGIApp])
def test_options_of_endpoints(endpoint, name, wrong, expected):
    with refused(name, expected, wrong):
        endpoint(handler, **{name: wrong})


@pytest.mark.parametrize(("name", "wrong", "expected"), OPTIONS)
def test_options_of_sessions(name, wrong, expected):
    with refused(name, expected, wrong):
        Sessions(**{name: wrong})


@pytest.mark.parametrize(
    "take",
    [
        lambda **options: wrap(pair()[1], **options),
        lambda **options: serve(handler, **options),
        lambda **options: ASGIApp(handler, **options),
    ],
)
@pytest.mark.parametrize("option", [{"methods": Methods()}, {"config": Config()}])
def test_options_of_sessions_that_are_shared(take, option):
    with pytest.raises(ValueError, match=f"{next(iter(option))}= would have no effect: sessions="):
        take(sessions=Sessions(), **option)
    name = next(iter(option))
    with pytest.raises(TypeError, match=f"^{name}= must be "):  # the wrong kind is said first
        take(sessions=Sessions(), **{name: 5})


@on_virtual_clock(seeds=(None,))
async def test_what_takes_sessions_or_connections_takes_its_own():
    with pytest.raises(TypeError, match=r"sessions must be a reliable_ws.Sessions, not .*sync"):
        drain_on_sigterm(reliable_ws.sync.Sessions())
    with pytest.raises(TypeError, match=r"must be a reliable_ws.Connection .*, not <.*Mem"):
        Group().join(pair()[0])
    with pytest.raises(TypeError, match=r"payload_codec= must be an object with dumps"):
        Group(payload_codec="json")


@pytest.mark.parametrize(("name", "words"), UNKNOWN)
def test_an_option_that_nothing_takes(name, words):
    with unknown("connect()", name, words):
        connect("ws://127.0.0.1", **{name: 1})
    with unknown("serve()", name, words):
        serve(handler, **{name: 1})


ENDPOINTS = (
    lambda **options: connect("ws://127.0.0.1", **options),
    lambda **options: serve(handler, **options),
)


@pytest.mark.parametrize("name", ["open_timeout", "close_timeout", "ping_interval", "ping_timeout"])
@pytest.mark.parametrize("wrong", ["x", -1, True])
def test_times_of_websockets_are_looked_at_at_the_call(name, wrong):
    for endpoint in ENDPOINTS:
        with refused(name, "a number of seconds, or None", wrong):
            endpoint(**{name: wrong})


def test_a_limit_of_websockets_is_looked_at_at_the_call():
    for endpoint in ENDPOINTS:
        with refused("max_size", "a number of bytes, or None", "x"):
            endpoint(max_size="x")
        for small in (10, (None, 4095)):
            with pytest.raises(ValueError, match="max_size= must be at least 4096 bytes, which a"):
                endpoint(max_size=small)


def test_options_of_websockets_and_of_the_event_loop_are_options():
    connect("ws://127.0.0.1", close_timeout=1, origin="x", local_addr=None, proxy_ssl=None)
    connect("ws://127.0.0.1", additional_headers={}, proxy=None, server_hostname="x")
    connect("ws://127.0.0.1", max_size=4096, open_timeout=None, ping_interval=0.5)
    serve(handler, max_size=(None, 2**20), ping_timeout=None)
    serve(handler, process_request=None, origins=[], backlog=5, reuse_port=True, ssl=None)


# -- what a connection of websockets has ----------------------------------------------------------


@on_virtual_clock(seeds=(None,))
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ping", "has no attribute 'ping': heartbeats are sent by themselves"),
        ("path", "it is conn.websocket.request.path"),
        ("response", "the WebSocket's own is conn.websocket.response"),
        ("zzz", "has no attribute 'zzz'$"),
    ],
)
async def test_what_websockets_has_is_told_where_it_is(name, words):
    async with paired() as (_, client, _server):
        with pytest.raises(AttributeError, match=words) as raised:
            getattr(client, name)
        assert raised.value.name == name
        assert not hasattr(client, name)


def notes_of(error):
    return "".join(getattr(error, "__notes__", ()))


async def test_the_request_of_a_websocket_is_told_from_ours(caplog):
    async def ask_path(conn):
        return conn.request.path

    near, far = pair()
    serving = start(Sessions().handle(far, ask_path))
    with contextlib.suppress(ConnectionClosed):
        async with wrap(near) as conn:
            await conn.recv()
    await serving
    assert "the HTTP request of the WebSocket is conn.websocket.request (.path)" in caplog.text
    with pytest.raises(AttributeError) as raised:
        async with paired() as (_, client, _server), client:
            client.request.headers  # noqa: B018
    assert "conn.websocket.request (.headers)" in notes_of(raised.value)
    with pytest.raises(AttributeError) as raised:
        async with paired() as (_, client, _server), client:
            client.send.headers  # noqa: B018
    assert not notes_of(raised.value)


# -- threads and event loops ----------------------------------------------------------------------

ANOTHER_THREAD = "this connection belongs to an event loop that runs in another thread"


async def open_pair():
    near, far = pair()
    return await asyncio.gather(wrap(near), wrap(far, sessions=Sessions()))


async def test_another_thread_is_refused_and_changes_nothing():
    client, server = await open_pair()
    group = Group()
    group.join(client)
    await server.send("x")
    delivery = await anext(client.deliveries())
    for use in (
        lambda: client.send_nowait("x"),
        lambda: group.publish("x"),
        delivery.confirm,
        client.start_closing,
        client.abort,
        lambda: asyncio.run(client.finish()),
    ):
        with pytest.raises(RuntimeError, match=ANOTHER_THREAD):
            await asyncio.to_thread(use)
    assert (client.stats.sent, client.state.value) == (0, "open")
    delivery.confirm()
    client.send_nowait("y")
    assert await server.recv() == "y"
    await asyncio.gather(client.close(), server.close())


@pytest.mark.parametrize(
    "use",
    [
        lambda conn: conn.send("x"),
        lambda conn: conn.recv(),
        lambda conn: conn.request("x"),
        lambda conn: conn.wait_closed(),
        lambda conn: conn.flush(),
    ],
)
async def test_another_event_loop_in_another_thread_is_refused(use):
    client, server = await open_pair()
    await client.send("not taken yet")
    await turns()
    with pytest.raises(RuntimeError, match=f"{ANOTHER_THREAD}|attached to a different loop"):
        await asyncio.to_thread(lambda: asyncio.run(use(client)))
    client.abort()
    server.abort()


@pytest.mark.parametrize("message", ["plain", {"to be": "packed"}])
async def test_what_is_sent_in_another_event_loop_is_not_accepted(message):
    client, server = await open_pair()
    await client.send("first")
    assert await take(server, 1) == ["first"]
    await turns()
    for _ in range(2):
        with pytest.raises(RuntimeError, match=ANOTHER_THREAD):
            await asyncio.to_thread(lambda: asyncio.run(client.send(message)))
    assert client.stats.sent == 1
    await client.send("second")
    assert await take(server, 1) == ["second"]
    client.abort()
    server.abort()


@pytest.mark.parametrize("use", ["recv", "flush", "wait_closed", "close"])
def test_another_event_loop_in_the_same_thread_is_refused(use):
    """As with fixtures of pytest that have another loop than the test."""
    with asyncio.Runner() as runner:
        client, server = runner.run(open_pair())
        runner.run(client.send("not taken yet"))
        other = asyncio.new_event_loop()
        with pytest.raises(RuntimeError, match="attached to a different loop"):
            other.run_until_complete(getattr(client, use)())
        other.close()

        async def end():
            client.abort()
            server.abort()

        runner.run(end())


ANOTHER_LOOP = "this connection belongs to another event loop, which does not run now"


@pytest.mark.parametrize("message", ["plain", {"to be": "packed"}])
def test_what_another_event_loop_in_the_same_thread_sends_is_not_accepted(message):
    group = Group()

    async def uses(client, server, delivery):
        for use in (
            client.send,
            client.send_nowait,
            group.publish,
            lambda message: broadcast([client], message),
            lambda message: client.request("method", message),
            lambda message: anext(client.stream("method", message)),
            lambda _: client.reconnect_now(),
            lambda _: delivery.confirm(),
            lambda _: client.finish(),
            lambda _: client.start_closing(),
            lambda _: client.abort(),
        ):
            with pytest.raises(RuntimeError, match=ANOTHER_LOOP):
                await use(message)

    async def first():
        client, server = await open_pair()
        group.join(client)
        await client.send("first")
        await server.send("to be confirmed")
        assert await take(server, 1) == ["first"]
        delivery = await anext(client.deliveries())
        await turns()
        return client, server, delivery

    with asyncio.Runner() as runner:
        client, server, delivery = runner.run(first())
        asyncio.run(uses(client, server, delivery))
        assert client.stats.sent == 1
        client.send_nowait("between two runs")

        async def last():
            assert await take(server, 1) == ["between two runs"]
            assert client.stats.sent == 2
            client.abort()
            server.abort()

        runner.run(last())


def test_a_loop_that_is_stopped_may_go_on_in_another_thread():
    loop = asyncio.new_event_loop()
    client, server = loop.run_until_complete(open_pair())
    client.send_nowait("between two runs")

    def go_on():
        client.send_nowait("in another thread, between two runs")
        return loop.run_until_complete(take(server, 3))

    async def later():
        client.send_nowait("while it runs there")

    task = loop.create_task(later())
    with ThreadPoolExecutor(1) as thread:
        assert len(thread.submit(go_on).result(60)) == 3
    loop.run_until_complete(asyncio.gather(task, client.close(), server.close()))
    loop.close()


# -- seconds -------------------------------------------------------------------------------------


@on_virtual_clock(seeds=(None,))
@pytest.mark.parametrize("wrong", ["5", [5]])
async def test_a_timeout_is_a_number_of_seconds(wrong):
    """Also where it is not needed: there is room, and a message to be taken."""
    async with paired() as (net, client, server):
        await server.send("here")
        await turns()
        group = Group()
        group.join(client, identity="ann")
        assert group.members == {client: "ann"}
        publication = group.publish("x")
        for call in (
            functools.partial(client.send, "x"),
            client.recv,
            functools.partial(client.request, "method"),
            lambda timeout: anext(client.stream("method", timeout=timeout)),
            client.flush,
            client.close,
            net.sessions.drain,
            publication.wait,
        ):
            with pytest.raises(TypeError, match="timeout= must be a number of seconds, not"):
                await call(timeout=wrong)
        for call in (client.start_closing, functools.partial(drain_on_sigterm, net.sessions)):
            with pytest.raises(TypeError, match="timeout= must be a number of seconds, not"):
                call(timeout=wrong)
        assert await client.recv(timeout=fractions.Fraction(5)) == "here"
        await client.finish()
        assert await rest(server) == ["x"]  # published
