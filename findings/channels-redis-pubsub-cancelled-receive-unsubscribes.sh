#!/usr/bin/env bash
# A receive() of the pub/sub channel layer that times out unsubscribes the channel.
#
# Expected: asyncio.wait_for(layer.receive(channel), 1) may be repeated, as with asyncio.Queue.get()
# and with the two other channel layers, which lose nothing by it.
# What happens: RedisPubSubChannelLayer takes the cancellation to mean that the consumer is gone and
# unsubscribes the channel from Redis. layer.groups still lists it as a member of its groups, and a
# message to a group is published. Neither the sender nor the receiver gets an error, and a receive()
# that is called again waits for messages that no longer come.
# Versions: channels_redis 4.3.0, channels 4.3.2, redis-server 7 (run with 7.0.15).
# Who meets it: a WebSocket consumer with a loop of its own around receive(): one that sends a
# heartbeat when nothing came for a while, or waits for the socket and the layer at once.
# What to do: keep one task that calls receive() and is never cancelled, and wait on a queue that it
# fills, or use asyncio.wait() with a timeout, which leaves the pending receive() alone.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! command -v redis-server >/dev/null; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends redis-server >/dev/null
fi
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  channels_redis==4.3.0 channels==4.3.2 redis==8.1.0

cd "$work"
venv/bin/python - <<'EOF'
import asyncio
import importlib.metadata as metadata
import socket
import subprocess
import sys

from channels.layers import InMemoryChannelLayer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer


async def receive(layer, channel, timeout):
    try:
        return (await asyncio.wait_for(layer.receive(channel), timeout))["number"]
    except asyncio.TimeoutError:
        return "timeout"


async def run(layer):
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    seen = []
    await layer.group_send("room", {"type": "message", "number": 1})
    seen.append(await receive(layer, channel, 2))
    seen.append(await receive(layer, channel, 0.3))
    await layer.group_send("room", {"type": "message", "number": 2})
    seen.append(await receive(layer, channel, 2))
    member = None
    if isinstance(layer, RedisPubSubChannelLayer):
        member = any(channel in members for members in layer.groups.values())
    await layer.flush()
    return seen, member


async def waited(layer):
    channel = await layer.new_channel()
    await layer.group_add("room", channel)
    task = asyncio.ensure_future(layer.receive(channel))
    await asyncio.wait({task}, timeout=0.3)
    await layer.group_send("room", {"type": "message", "number": 2})
    number = (await asyncio.wait_for(task, 2))["number"]
    await layer.flush()
    return number


async def main():
    hosts = [f"redis://127.0.0.1:{port}"]
    seen, members = {}, []
    layers = [RedisPubSubChannelLayer(hosts=hosts), RedisChannelLayer(hosts=hosts), InMemoryChannelLayer()]
    for layer in layers:
        name = type(layer).__name__
        seen[name], member = await run(layer)
        members.append(member)
        print(f"{name}: {seen[name]}", "" if member is None else f"still a member of the group: {member}")
    number = await waited(RedisPubSubChannelLayer(hosts=hosts))
    print("RedisPubSubChannelLayer with asyncio.wait(): the message", number, "arrives")
    return seen, number, members


names = ("channels_redis", "channels", "redis")
print(*(f"{name} {metadata.version(name)}" for name in names))
print(subprocess.run(["redis-server", "--version"], capture_output=True, text=True).stdout.strip())
with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
try:
    for line in server.stdout:
        if "ready to accept connections" in line.lower():
            break
    seen, number, members = asyncio.run(main())
finally:
    server.terminate()
    server.wait()

expected = {
    "RedisPubSubChannelLayer": [1, "timeout", "timeout"],
    "RedisChannelLayer": [1, "timeout", 2],
    "InMemoryChannelLayer": [1, "timeout", 2],
}
same = seen == expected and number == 2 and members == [True, None, None]
sys.exit(0 if same else "the behaviour has changed")
EOF
