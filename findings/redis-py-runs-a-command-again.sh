#!/usr/bin/env bash
# redis-py runs a command again whose answer was cut off, also one that appends, pops or publishes.
#
# Expected: when the connection breaks before the answer came, the call raises ConnectionError, since
# nobody knows whether the command has run. That is what redis-py did up to 5.x.
# What happens: since 6.0 every client has three retries. The command is sent again on a new
# connection, and the call returns as if nothing had been: an XADD has appended the entry twice, a
# PUBLISH has reached the subscribers twice, and an LPOP returns the second element of the list; the
# first one is gone. redis.asyncio does the same. With redis 5.3.1 each of these calls raises.
# Versions: redis 8.1.0 and 5.3.1 for Python, redis-server 7 (run with 7.0.15).
# Who meets it: a WebSocket server with its queue, stream or fan-out in Redis, when Redis fails over or a
# load balancer cuts an idle connection. Messages are doubled or lost without an error or a log line.
# What to do: give the client that appends, pops and publishes retry=Retry(NoBackoff(), 0) and decide
# what to repeat oneself: with a number in each message, or a script that appends only a newer one.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! command -v redis-server >/dev/null; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends redis-server >/dev/null
fi
for release in 8.1.0 5.3.1; do
  python3 -m venv "$work/$release"
  "$work/$release/bin/pip" install --quiet --disable-pip-version-check "redis==$release"
done

cat >"$work/calls.py" <<'EOF'
"""Make calls through a proxy that passes a command on, and cuts the connection before its answer."""

import asyncio
import importlib.metadata as metadata
import socket
import subprocess
import sys
import threading

import redis
import redis.asyncio

with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
cuts: list[bytes] = []  # the names of commands whose next answer is cut off


def answer(client: socket.socket) -> None:
    with client, socket.create_connection(("127.0.0.1", port)) as redis_server:
        while request := client.recv(65536):
            redis_server.sendall(request)
            reply = redis_server.recv(65536)
            for name in cuts:
                if name in request:
                    cuts.remove(name)
                    return
            client.sendall(reply)


def accept(listener: socket.socket) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=answer, args=(client,), daemon=True).start()


def result(call):
    try:
        return call()
    except redis.ConnectionError as error:
        return type(error).__name__


async def appended_by_asyncio(port: int):
    client = redis.asyncio.Redis(port=port)
    try:
        await client.ping()
        cuts.append(b"XADD")
        return type(await client.xadd("feed2", {"text": "hello"})).__name__
    except redis.ConnectionError as error:
        return type(error).__name__
    finally:
        await client.aclose()


try:
    for line in server.stdout:
        if "ready to accept connections" in line.lower():
            break
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    through = listener.getsockname()[1]
    direct = redis.Redis(port=port, decode_responses=True)
    client = redis.Redis(port=through, decode_responses=True)
    direct.rpush("queue", "first", "second")
    subscriber = direct.pubsub()
    subscriber.subscribe("news")
    subscriber.get_message(timeout=5)

    seen = {}
    cuts.append(b"XADD")
    added = result(lambda: type(client.xadd("feed", {"text": "hello"})).__name__)
    seen["xadd"] = (added, direct.xlen("feed"))
    cuts.append(b"LPOP")
    seen["lpop"] = (result(lambda: client.lpop("queue")), direct.lrange("queue", 0, -1))
    cuts.append(b"PUBLISH")
    published = result(lambda: client.publish("news", "hello"))
    received = 0
    while subscriber.get_message(timeout=1):
        received += 1
    seen["publish"] = (published, received)
    seen["xadd, asyncio"] = (asyncio.run(appended_by_asyncio(through)), direct.xlen("feed2"))
finally:
    server.terminate()
    server.wait()

print("redis", metadata.version("redis"))
for call, (returned, left) in seen.items():
    print(f"  {call}: returned {returned!r}; the server has {left!r}")
again = metadata.version("redis") == "8.1.0"
expected = {
    "xadd": ("str", 2) if again else ("ConnectionError", 1),
    "lpop": ("second", []) if again else ("ConnectionError", ["second"]),
    "publish": (1, 2) if again else ("ConnectionError", 1),
    "xadd, asyncio": ("bytes", 2) if again else ("ConnectionError", 1),
}
sys.exit(0 if seen == expected else f"the behaviour has changed: {expected}")
EOF
for release in 8.1.0 5.3.1; do
  "$work/$release/bin/python" "$work/calls.py"
done
