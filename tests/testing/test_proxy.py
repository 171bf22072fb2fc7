"""The chaos proxy: what it carries, each fault as both ends see it, and no leaks."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest
import websockets

from reliable_ws import Backoff, Connection, connect, serve
from reliable_ws.testing import ChaosProxy, Fault, FaultPlan, relay
from reliable_ws.testing.plan import FaultName, Side

from .streams import HOST, Network, Stream, is_turned_away, our_tasks, round_trip

# -- carrying -----------------------------------------------------------------------------------


async def test_bytes_pass_both_ways_and_so_does_the_end(network: Network) -> None:
    async with ChaosProxy(HOST, network.port) as proxy:
        assert proxy.uri("/feed") == f"ws://127.0.0.1:{proxy.port}/feed"
        client, server = await network.pair(proxy)
        assert (proxy.live, proxy.connections) == (1, 1)
        client.writer.write_eof()
        assert await server.end() == "eof"
        await server.send(b"still open this way")
        assert await client.recv(19) == b"still open this way"
        server.writer.close()
        assert await client.end() == "eof"
        assert not proxy.faults


async def test_a_reset_by_one_end_reaches_the_other(network: Network) -> None:
    async with ChaosProxy(HOST, network.port) as proxy:
        client, server = await network.pair(proxy)
        sock = server.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        server.writer.transport.abort()
        assert await client.end() == "reset"
        assert not proxy.faults


@pytest.mark.parametrize("upward", [True, False])
async def test_a_receiver_that_does_not_read_stops_its_sender(
    network: Network, *, upward: bool
) -> None:
    total, piece = 64 << 20, bytes(range(256)) * 256
    sent = received = 0

    async def send(stream: Stream) -> None:
        nonlocal sent
        while sent < total:
            await stream.send(piece)
            sent += len(piece)

    async with ChaosProxy(HOST, network.port) as proxy, asyncio.TaskGroup() as tasks:
        client, server = await network.pair(proxy)
        source, sink = (client, server) if upward else (server, client)
        sink.reader._transport.pause_reading()  # type: ignore[attr-defined]
        others = await network.pair(proxy)
        tasks.create_task(send(source))
        progress = -1
        while progress != sent:
            progress = sent
            for _ in range(100):
                await round_trip(*others)
        assert sent < total
        sink.reader._transport.resume_reading()  # type: ignore[attr-defined]
        while received < total:
            assert await sink.recv(len(piece)) == piece
            received += len(piece)
        assert sent == total


async def test_throttle_and_delay_take_their_time(network: Network) -> None:
    loop = asyncio.get_running_loop()
    async with ChaosProxy(HOST, network.port) as proxy:
        client, server = await network.pair(proxy)
        proxy.throttle(200_000)
        began = loop.time()
        await client.send(bytes(30_000))
        await server.recv(30_000)
        assert loop.time() - began > 0.08  # the last slice is not waited for
        proxy.throttle(1000, to="server")
        await server.send(bytes(30_000))
        await client.recv(30_000)
        assert loop.time() - began < 10  # the other side reads as ever
        proxy.throttle(None)

        proxy.delay(0.05)
        began = loop.time()
        await round_trip(client, server)
        assert loop.time() - began > 0.09
        proxy.delay(0)
        with pytest.raises(ValueError, match="positive"):
            proxy.throttle(0)
        with pytest.raises(ValueError, match="to is"):
            proxy.throttle(1, to="nobody")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="no negative seconds"):
            proxy.delay(-1)


async def test_a_delay_is_not_a_bound_on_the_rate(network: Network) -> None:
    loop = asyncio.get_running_loop()
    async with ChaosProxy(HOST, network.port) as proxy:
        client, server = await network.pair(proxy)
        proxy.delay(0.2)
        began = loop.time()
        for _ in range(20):
            await client.send(bytes(1000))
            await asyncio.sleep(0)
        await server.recv(20_000)
        assert 0.19 < loop.time() - began < 20 * 0.2


# -- commands -----------------------------------------------------------------------------------


async def test_cut_ends_both_sides_in_order(network: Network) -> None:
    faults: list[Fault] = []
    async with ChaosProxy(HOST, network.port, on_fault=faults.append) as proxy:
        first, second = await network.pair(proxy), await network.pair(proxy)
        assert proxy.cut() == 2
        assert (proxy.live, proxy.cut()) == (0, 0)
        for stream in (*first, *second):
            await stream.send(b"does not arrive")
            assert await stream.end() == "eof"
    assert proxy.faults == {"cut": 2}
    assert faults == [Fault("cut", 1, 2, planned=False), Fault("cut", 2, 2, planned=False)]


async def test_what_was_carried_before_a_cut_arrives(network: Network) -> None:
    faults: list[Fault] = []
    async with ChaosProxy(HOST, network.port, on_fault=faults.append) as proxy:
        client, server = await network.pair(proxy)
        others = await network.pair(proxy)
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        server.writer.write(bytes(32 << 20))
        for _ in range(100):
            await round_trip(*others)
        proxy.cut()
        for _ in range(10):
            client.writer.write(b"unread by the proxy: not a reason to reset")
            await asyncio.sleep(0)
        client.reader._transport.resume_reading()  # type: ignore[attr-defined]
        received = 2 + len(await client.reader.read())
        # A chunk that was on its way into a full socket buffer may have arrived in part.
        assert 100_000 < faults[0].carried <= received < faults[0].carried + 16 * 1024


async def test_reset_breaks_both_sides(network: Network) -> None:
    async with ChaosProxy(HOST, network.port) as proxy:
        client, server = await network.pair(proxy)
        assert proxy.reset() == 1
        assert (await client.end(), await server.end()) == ("reset", "reset")
        client, server = await network.pair(proxy)  # new connections are not touched
    assert proxy.faults == {"reset": 1}
    assert proxy.connections == 2


async def test_stall_holds_bytes_until_resume(network: Network) -> None:
    async with ChaosProxy(HOST, network.port) as proxy:
        client, server = await network.pair(proxy)
        assert proxy.stall() == 1
        others = await network.pair(proxy)  # made after it: not stalled
        await client.send(b"up")
        await server.send(b"down")
        up, down = asyncio.create_task(server.recv(2)), asyncio.create_task(client.recv(4))
        for _ in range(50):
            await round_trip(*others)
        assert not up.done()
        assert not down.done()
        proxy.resume()
        assert (await up, await down) == (b"up", b"down")
        await round_trip(client, server)
    assert proxy.faults == {"stall": 1}


async def test_a_stalled_connection_can_be_broken(network: Network) -> None:
    async with ChaosProxy(HOST, network.port) as proxy:
        client, server = await network.pair(proxy)
        proxy.stall()
        await client.send(b"held, then lost")
        assert proxy.cut() == 1
        assert await server.recv(0) == b""
        assert (await client.end(), await server.end()) == ("eof", "eof")


@pytest.mark.parametrize("keep", ["client", "server"])
async def test_half_open_keeps_one_side(network: Network, keep: Side) -> None:
    async with ChaosProxy(HOST, network.port) as proxy:
        client, server = await network.pair(proxy)
        assert proxy.half_open(keep=keep) == 1
        kept, broken = (client, server) if keep == "client" else (server, client)
        assert await broken.end() == "reset"
        ending = asyncio.create_task(kept.end())
        others = await network.pair(proxy)
        for _ in range(20):
            await kept.send(b"nobody hears this")
            await round_trip(*others)
        assert not ending.done()
    assert await ending == "reset"
    assert proxy.faults == {"half_open": 1}


async def test_half_open_sockets_are_kept_in_bounds(network: Network) -> None:
    async with ChaosProxy(HOST, network.port) as proxy:
        first, _ = await network.pair(proxy)
        for _ in range(65):
            _, server = await network.pair(proxy)
            proxy.half_open()
            await server.end()
        assert await first.end() == "eof"
        assert len(proxy._half_open) == 64


async def test_refuse_turns_new_connections_away(network: Network) -> None:
    async with ChaosProxy(HOST, network.port) as proxy:
        client, server = await network.pair(proxy)
        proxy.refuse()
        await is_turned_away(network, proxy)
        await round_trip(client, server)
        proxy.accept()
        await network.pair(proxy)
    assert (proxy.connections, proxy.refused) == (2, 1)


@pytest.mark.parametrize("first", [True, False], ids=["at once", "after a reset"])
async def test_a_proxy_may_stop_listening(network: Network, *, first: bool) -> None:
    async with ChaosProxy(HOST, network.port) as proxy:
        client, server = await network.pair(proxy)
        port = proxy.port
        if not first:
            proxy.refuse()
            await is_turned_away(network, proxy)
        for _ in range(2):
            proxy.refuse(listening=False)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(HOST, port)
        await round_trip(client, server)
        for _ in range(2):
            proxy.accept()
        await network.pair(proxy)
        assert proxy.port == port
    assert (proxy.connections, proxy.refused) == (2, 0 if first else 1)


async def test_a_proxy_that_does_not_listen_can_be_left(network: Network) -> None:
    async with ChaosProxy(HOST, network.port) as proxy:
        proxy.refuse(listening=False)
    async with ChaosProxy(HOST, network.port, port=proxy.port) as again:
        await network.pair(again)


async def test_a_target_that_is_not_there_resets_the_client(network: Network) -> None:
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    async with ChaosProxy(HOST, port) as proxy:
        await is_turned_away(network, proxy)
        assert proxy.refused == 1
        assert proxy.live == 0


async def test_on_fault_may_give_commands_and_may_fail(network: Network) -> None:
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    def on_fault(fault: Fault) -> None:
        if fault.name == "stall":
            proxy.reset()
        else:
            raise LookupError(fault.name)

    async with ChaosProxy(HOST, network.port, on_fault=on_fault) as proxy:
        client, server = await network.pair(proxy)
        proxy.stall()
        assert (await client.end(), await server.end()) == ("reset", "reset")
    assert [str(context["exception"]) for context in reported] == ["reset"]


# -- leaving ------------------------------------------------------------------------------------


async def test_nothing_is_left_whatever_state_the_connections_are_in(network: Network) -> None:
    async with ChaosProxy(HOST, network.port) as proxy:
        proxy.delay(100)
        delayed = await network.open(proxy)
        await network.accepted.get()
        await delayed.send(b"on its way")
        proxy.delay(0)
        await network.pair(proxy)
        proxy.half_open()
        await network.pair(proxy)
        proxy.stall()
        await network.pair(proxy)
        proxy.cut()  # both ends leave their sockets open: the proxy lingers
        await network.pair(proxy)
        plan = FaultPlan(faults=("stall",), every_bytes=(1, 1), stall_for=(100, 100))
        proxy.plan = plan
        await (await network.open(proxy)).send(b"stalls")
        await network.open(proxy)  # perhaps not accepted yet
    assert our_tasks() == []
    timers = getattr(asyncio.get_running_loop(), "_scheduled", ())  # uvloop does not tell
    assert [timer for timer in timers if "Relay" in repr(timer) and not timer.cancelled()] == []


@pytest.mark.parametrize("turns", range(8))
async def test_leaving_while_a_connection_is_being_made(network: Network, turns: int) -> None:
    with contextlib.ExitStack() as stack:
        async with ChaosProxy(HOST, network.port) as proxy:
            # Made by the kernel, and not yet accepted.
            stack.enter_context(socket.create_connection((HOST, proxy.port)))
            for _ in range(turns):
                await asyncio.sleep(0)
        assert our_tasks() == []


@pytest.mark.parametrize("name", ["cut", "reset", "half_open", "stall"])
@pytest.mark.parametrize("turns", range(5))
async def test_leaving_while_a_fault_strikes(
    network: Network, name: FaultName, turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_FIN_TIMEOUT", 1000)
    async with ChaosProxy(HOST, network.port) as proxy:
        await network.pair(proxy)
        getattr(proxy, name)()
        for _ in range(turns):
            await asyncio.sleep(0)
    assert our_tasks() == []


async def test_an_exception_in_the_block_comes_out_as_it_is(network: Network) -> None:
    with pytest.raises(LookupError):  # noqa: PT012
        async with ChaosProxy(HOST, network.port) as proxy:
            await network.pair(proxy)
            raise LookupError
    async with ChaosProxy(HOST, network.port, port=proxy.port) as same_port:
        assert same_port.port == proxy.port


# -- below a real library -----------------------------------------------------------------------


@pytest.mark.transport
async def test_it_works_below_websockets() -> None:
    async def echo(ws: Any) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in ws:
                await ws.send(message)

    async with websockets.serve(echo, HOST, 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with ChaosProxy(HOST, port) as proxy:
            for break_it in (proxy.cut, proxy.reset):
                async with websockets.connect(proxy.uri("/feed")) as ws:
                    await ws.send("hello")
                    assert await ws.recv() == "hello"
                    assert break_it() == 1
                    with pytest.raises(websockets.ConnectionClosedError):
                        await ws.recv()
            proxy.refuse()
            with pytest.raises((OSError, websockets.InvalidHandshake)):
                await websockets.connect(proxy.uri())


# -- event loops --------------------------------------------------------------------------------


class WithoutReaders(asyncio.SelectorEventLoop):
    """What the proactor of Windows lacks; its own methods do without."""

    def add_reader(self, *_: Any) -> None:  # type: ignore[override]
        raise NotImplementedError


LOOPS: list[Any] = [asyncio.SelectorEventLoop, WithoutReaders]
with contextlib.suppress(ImportError):  # it does not exist everywhere
    import uvloop

    LOOPS.append(uvloop.Loop)


@pytest.mark.parametrize("loop", LOOPS)
def test_it_runs_on_every_event_loop(loop: Any) -> None:
    async def main() -> None:
        async def echo(conn: Connection) -> None:
            async for message in conn:
                await conn.send(message)

        async with (
            serve(echo, HOST, 0) as server,
            ChaosProxy(HOST, server.port) as proxy,
            connect(proxy.uri(), proxy=None, reconnect=Backoff(initial=0.02)) as conn,
        ):
            for strike in (proxy.reset, proxy.cut):
                await conn.send("x")
                assert await conn.recv() == "x"
                proxy.refuse(listening=False)
                strike()
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection(HOST, proxy.port)
                proxy.accept()
            await conn.send(bytes(1_000_000))
            assert len(await conn.recv()) == 1_000_000

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
