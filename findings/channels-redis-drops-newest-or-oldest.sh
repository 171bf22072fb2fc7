#!/usr/bin/env bash
# channels_redis drops the newest messages of a full channel, or the oldest: it depends on others.
#
# Expected: a full channel has one rule for what is dropped, and what one consumer leaves unread does
# not depend on another consumer.
# What happens: with nobody reading, the sixth and later messages are dropped at a capacity of five:
# a consumer that is late gets 0 to 4. When another channel of the same process is being read, that
# reader moves the messages of all channels of the process into its memory, and a full queue there
# drops from the front: the late consumer gets 7 to 11. group_send() returns in both cases.
# The in-memory layer, which tests use, keeps the oldest in both.
# Versions: channels_redis 4.3.0, channels 4.3.2, redis-server 7 (run with 7.0.15).
# Who meets it: Django Channels with WebSocket consumers that send states or deltas. A slow browser
# ends with an old state for good, or with the new one and a hole before it. A test on the in-memory layer
# shows the first case only.
# What to do: number the messages of a group and let the client ask for a snapshot when a number is
# missing. Never rely on which end is dropped.
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

TOTAL = 12


async def receive_all(layer, channel):
    numbers = []
    try:
        while True:
            message = await asyncio.wait_for(layer.receive(channel), 0.5)
            numbers.append(message["number"])
    except asyncio.TimeoutError:
        return numbers


async def late_consumer(layer, other_is_read):
    late, other = await layer.new_channel(), await layer.new_channel()
    for channel in (late, other):
        await layer.group_add("room", channel)
    for number in range(TOTAL):
        await layer.group_send("room", {"type": "state", "number": number})
        if other_is_read:
            await layer.receive(other)
    received = await receive_all(layer, late)
    await layer.flush()
    return received


async def main():
    results = {}
    for read in (False, True):
        redis_layer = RedisChannelLayer(hosts=[f"redis://127.0.0.1:{port}"], capacity=5)
        results["redis", read] = await late_consumer(redis_layer, read)
        await redis_layer.close_pools()
        results["memory", read] = await late_consumer(InMemoryChannelLayer(capacity=5), read)
    return results


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
    results = asyncio.run(main())
finally:
    server.terminate()
    server.wait()
for (layer, read), numbers in results.items():
    print(f"{layer}, another channel {'is' if read else 'is not'} read: the late consumer gets", numbers)

oldest, newest = list(range(5)), list(range(TOTAL - 5, TOTAL))
expected = {
    ("redis", False): oldest,
    ("memory", False): oldest,
    ("redis", True): newest,
    ("memory", True): oldest,
}
sys.exit(0 if results == expected else "the behaviour has changed")
EOF
