"""Brokers that keep messages in files, and how to stream to them as fast as their clients can."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = [
    "ABSENT",
    "MQTT_IN_FLIGHT",
    "NATS_IN_FLIGHT",
    "find",
    "free_port",
    "mqtt_client",
    "start_mqtt",
    "start_nats",
    "until_open",
]

ABSENT = "absent: apt-get install nats-server mosquitto; pip install --group bench"

NATS_IN_FLIGHT = 4000
"Messages that are published and not acknowledged: the client's own limit."

MQTT_IN_FLIGHT = 100
"The same. More makes this client slower: it looks through all of them for each acknowledgement."

Stream = Callable[[bytes, int], Awaitable[None]]


async def start_nats(stack: AsyncExitStack, directory: Path) -> Stream | None:
    """Start a server with a stream in files; ``None``: it, or its client, is not installed."""
    program = find("nats-server")
    try:
        import nats
        from nats.js.api import StorageType
    except ImportError:
        return None
    if program is None:
        return None
    port = free_port()
    files = str(directory / "nats")
    _start(stack, [program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", files])
    await until_open(port)
    client = await nats.connect(f"nats://127.0.0.1:{port}")
    stack.push_async_callback(client.close)
    context = client.jetstream(publish_async_max_pending=NATS_IN_FLIGHT)
    await context.add_stream(name="bench", subjects=["bench"], storage=StorageType.FILE)

    async def stream(payload: bytes, count: int) -> None:
        # Without wait_stall: with it, this client makes a timer for each message.
        acks = [await context.publish_async("bench", payload) for _ in range(count)]
        await asyncio.gather(*acks)

    return stream


async def start_mqtt(stack: AsyncExitStack, directory: Path) -> Stream | None:
    """Start a broker that has a persistent subscriber; ``None``: it is not installed."""
    program = find("mosquitto")
    if program is None or find_spec("paho") is None:
        return None
    port = free_port()
    files = directory / "mosquitto"
    files.mkdir()
    files.chmod(0o777)
    settings = directory / "mosquitto.conf"
    settings.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
        f"persistence_location {files}/\nmax_queued_messages 0\n"
        f"max_inflight_messages {MQTT_IN_FLIGHT}\nuser root\nlog_type error\n"
    )
    _start(stack, [program, "-c", str(settings)])
    await until_open(port)

    # The broker keeps messages for somebody: a subscriber that is away.
    subscriber = mqtt_client(port, "subscriber")
    subscribed = threading.Event()
    subscriber.on_subscribe = lambda *_args: subscribed.set()
    subscriber.subscribe("bench", qos=1)
    subscribed.wait(10)
    subscriber.disconnect()
    subscriber.loop_stop()
    publisher = mqtt_client(port, "publisher")
    stack.callback(publisher.loop_stop)
    stack.callback(publisher.disconnect)

    async def stream(payload: bytes, count: int) -> None:
        def work() -> None:
            said = [publisher.publish("bench", payload, qos=1) for _ in range(count)]
            for one in said:
                one.wait_for_publish()

        await asyncio.to_thread(work)

    return stream


def mqtt_client(port: int, name: str) -> Any:
    """Return a client that is connected, with a thread of its own."""
    from paho.mqtt import client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
    client.max_inflight_messages_set(MQTT_IN_FLIGHT)
    there = threading.Event()
    client.on_connect = lambda *_args: there.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    there.wait(10)
    return client


def find(program: str) -> str | None:
    """Return the path of a program, which Debian may have where only root looks."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _start(stack: AsyncExitStack, command: list[str]) -> None:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)


async def until_open(port: int) -> None:
    for _try in range(200):
        try:
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise RuntimeError(f"nothing listens on port {port}")
