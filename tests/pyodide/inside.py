"""What runs inside Pyodide: scenarios against a server that the test has. It reports one dict."""

from __future__ import annotations

import asyncio
import re
import sys
import time
import traceback
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace

import js
from pyodide.code import eval_code_async
from pyodide.ffi import create_proxy, to_js

import reliable_ws
from reliable_ws import Backoff, Config, Methods, connect, wrap
from reliable_ws.adapters import adapt
from reliable_ws.adapters.pyodide import WRITE_LIMIT, dial
from reliable_ws.transport import TransportClosed

QUICK = Backoff(initial=0.01, longest=0.2)


@asynccontextmanager
async def opened(uri, events=None, **options):
    """A connection to the server behind its proxy, which echoes."""
    note = None if events is None else lambda event: events.append(event.name)
    options |= {"reconnect": QUICK, "on_event": note}
    async with asyncio.timeout(100), connect(uri, **options) as conn:
        yield conn


async def ask(plain, command):
    """Have the test do something to the network, by a plain WebSocket of its own."""
    response = await js.fetch(f"{plain}/do?{command}")
    return await response.text()


async def echo_in_order(proxied, _plain, _http):
    """Messages of every kind come back, in order."""
    kinds = ["text", b"bytes", {"a": [1, 2.5, None]}, "", b"", "\ufeffé"]
    async with opened(proxied) as conn:
        for message in kinds:
            await conn.send(message)
        assert [await conn.recv() for _ in kinds] == kinds
        began = time.monotonic()
        sender = asyncio.create_task(send_numbers(conn, 20_000, bytes(24)))
        for number in range(20_000):
            assert (await conn.recv())[:8] == number.to_bytes(8)
        await sender
        return round(20_000 / (time.monotonic() - began))


async def send_numbers(conn, count, filler):
    for number in range(count):
        await conn.send(number.to_bytes(8) + filler)


async def echo_through_cuts(proxied, _plain, http):
    """Large and small ones, while the network is cut again and again: none lost, none twice."""
    events: list[str] = []
    cuts = 0
    async with opened(proxied, events) as conn:
        sender = asyncio.create_task(send_numbers(conn, 60, bytes(300_000)))
        for number in range(60):
            if number % 6 == 3:
                cuts += int(await ask(http, "cut"))
            message = await conn.recv()
            assert (len(message), message[:8]) == (300_008, number.to_bytes(8))
        await sender
    assert cuts >= 3
    assert "resumed" in events
    return cuts


async def calls_both_ways(proxied, _plain, http):
    """Requests and streams in both directions; one waits for its answer over a cut."""
    methods = Methods()

    @methods.add
    async def double(number: int) -> int:
        return 2 * number

    async with opened(proxied, methods=methods) as conn:
        assert await conn.request("ask_back", 21) == 42
        slow = asyncio.create_task(conn.request("slow", 0.3))
        await ask(http, "cut")
        assert await slow == "slept"
        return [item async for item in conn.stream("count", 5)]


async def a_full_buffer_dies_with_its_websocket(proxied, _plain, http):
    """``bufferedAmount`` keeps its value when the WebSocket dies: nobody waits for it then."""
    config = Config(window_bytes=64 * 2**20, outbox_bytes=64 * 2**20)
    events: list[str] = []
    async with opened(proxied, events, config=config) as conn:
        await conn.request("ready")
        await ask(http, "stall")
        await send_numbers(conn, 40, bytes(1_000_000))
        held = conn.websocket.bufferedAmount
        assert held >= WRITE_LIMIT
        await ask(http, "reset")
        for number in range(40):
            assert (await conn.recv())[:8] == number.to_bytes(8)
        assert held < WRITE_LIMIT + 2**20 + 1000, held  # one frame above the limit at most
        assert "resumed" in events
    transport = await dial(proxied)
    await ask(http, "stall")
    with suppress(TimeoutError):  # until nobody takes anything any more
        while True:
            async with asyncio.timeout(1):
                await transport.send(bytes(100_000))
    waiting = asyncio.create_task(transport.send(b"there is no room for it"))
    await ask(http, "reset")
    try:
        async with asyncio.timeout(20):
            await waiting
    except TransportClosed:
        return held
    raise AssertionError("the WebSocket is gone")


async def few_websockets_are_opened_in_firefox(proxied, _plain, http):
    """While the server is away, Firefox gets few reasons to hold the next WebSocket back."""
    if "Firefox/" not in str(getattr(js.navigator, "userAgent", "")):
        return "no Firefox"
    made: list[int] = []
    events: asyncio.Queue[str] = asyncio.Queue()
    own = js.WebSocket
    counting = "return class extends own { constructor(...a) { super(...a); made(); } }"
    async with opened(proxied, SimpleNamespace(append=events.put_nowait)) as conn:
        js.WebSocket = js.Function.new("own", "made", counting)(
            own, create_proxy(lambda: made.append(1))
        )
        try:
            await ask(http, "offline")
            for _ in range(25):
                while await events.get() != "attempt_failed":
                    pass
            tried = len(made)
            await ask(http, "online")
            began = time.monotonic()
            await conn.send("back")
            assert await conn.recv() == "back"
            took = time.monotonic() - began
        finally:
            js.WebSocket = own
    assert tried == 2, tried
    assert took < 2, took
    return took


async def what_a_page_may_say(_proxied, plain, http):
    """CLOSE-26: codes of section 12 that a page must not say are 1000 at the peer."""
    said = []
    for code in (1000, 1001, 1009, 1011, 1012, 3000, 4422, 4999):
        transport = await dial(plain, subprotocols=None)
        await transport.close(code, "é" * 100)
        said.append(int(await ask(http, "closed")))
    assert said == [1000, 1000, 1000, 1000, 1000, 3000, 4422, 4999]
    return said


async def a_wrapped_websocket(proxied, _plain, _http):
    """``wrap()`` takes a js.WebSocket that is open, and says what else it may be given."""
    raw = (await dial(proxied)).websocket
    async with asyncio.timeout(20), wrap(raw) as conn:
        await conn.send("wrapped")
        assert await conn.recv() == "wrapped"
        assert conn.subprotocol is None or conn.websocket.protocol == "reliable-ws.v1"
    refused = []
    for wrong in (js.Array.new(), raw):
        try:
            adapt(wrong)
        except (TypeError, ValueError) as error:
            refused.append(type(error).__name__)
    assert refused == ["TypeError", "ValueError"]


async def what_the_docs_show(proxied, _plain, http):
    """docs/pyodide.md"""
    page = await (await js.fetch(f"{http}/page.md")).text()
    (code,) = re.findall(r"<!-- run: page -->\n```python\n(.*?)```", page, re.DOTALL)
    assert code.count("wss://example.org/live") == 1
    said: list[object] = []
    await eval_code_async(code.replace("wss://example.org/live", proxied), {"print": said.append})
    assert said == [{"order": 17}]


async def mistakes_are_told(_proxied, _plain, _http):
    """What cannot be is told at once, in words."""
    told = []
    for make in (
        lambda: connect("ws://127.0.0.1:9/", additional_headers={"a": "b"}),
        lambda: connect("ws://127.0.0.1:9/", compression="deflate"),
    ):
        try:
            make()
        except TypeError as error:
            told.append("a page's WebSocket knows it" in str(error))
    assert told == [True, True]
    try:
        await connect("ws://127.0.0.1:9/")
    except OSError as error:
        return str(error)
    raise AssertionError("nobody listens there")


async def moments_that_have_just_passed(proxied, _plain, _http):
    """The event loop of Pyodide raises for these, unless it is mended."""
    async with opened(proxied):
        loop = asyncio.get_running_loop()
        fired = loop.create_future()
        loop.call_at(loop.time() - 1, fired.set_result, "at once")
        assert await fired == "at once"
        for _ in range(2000):
            try:
                async with asyncio.timeout(1e-6):
                    await asyncio.Event().wait()
            except TimeoutError:
                continue
            raise AssertionError("it ended by itself")


async def a_page_that_is_put_away(proxied, _plain, _http):
    """Its WebSocket is closed before, as it would swallow messages; the session resumes."""
    if not hasattr(js, "document"):
        return "no page"
    put_away = to_js({"persisted": True}, dict_converter=js.Object.fromEntries)
    events: list[str] = []
    async with opened(proxied, events) as conn:
        js.dispatchEvent(js.PageTransitionEvent.new("pagehide", put_away))
        await conn.send("put away")
        assert await conn.recv() == "put away"
        js.document.dispatchEvent(js.Event.new("freeze"))
        await conn.send("frozen")
        assert await conn.recv() == "frozen"
        js.dispatchEvent(js.PageTransitionEvent.new("pagehide"))  # left for ever: nothing to do
    assert events == ["opened", "detached", "resumed", "detached", "resumed", "closed"], events
    return None


async def heartbeats_keep_a_link(proxied, _plain, _http):
    """A session that says nothing for longer than the idle time of both sides keeps its link."""
    events: list[str] = []
    async with opened(proxied, events, config=Config(idle_timeout=1.5)) as conn:
        await asyncio.sleep(4)
        await conn.send("still here")
        assert await conn.recv() == "still here"
    assert events[0] == "opened"
    assert "resumed" not in events


SCENARIOS = [
    echo_in_order,
    echo_through_cuts,
    calls_both_ways,
    a_full_buffer_dies_with_its_websocket,
    few_websockets_are_opened_in_firefox,
    what_a_page_may_say,
    a_wrapped_websocket,
    what_the_docs_show,
    mistakes_are_told,
    moments_that_have_just_passed,
    a_page_that_is_put_away,
    heartbeats_keep_a_link,
]


async def run(proxied, plain, http):
    """Return what became of each scenario, by name."""
    results = {"python": sys.version.split()[0], "reliable_ws": reliable_ws.__version__}
    for scenario in SCENARIOS:
        try:
            results[scenario.__name__] = {"passed": await scenario(proxied, plain, http)}
        except BaseException:
            results[scenario.__name__] = {"failed": traceback.format_exc()[-1500:]}
    return results
