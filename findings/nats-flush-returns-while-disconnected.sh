#!/usr/bin/env bash
# flush() of nats-py returns at once, without an error, while the client is disconnected.
#
# Expected: flush() waits until the server has what was published. Without a server it waits for its
# timeout and raises, or raises at once, as drain() does.
# What happens: while the client reconnects, flush(timeout=5) returns within milliseconds. The
# message is still in the client's memory (pending_data_size), and it is gone if the process ends.
# Versions: nats-py 2.16.0, nats-server 2.9 (run with 2.9.10).
# Who meets it: a WebSocket gateway that publishes what it received, flushes, and then confirms it to
# its own client. Each confirmation during an outage of the NATS server is wrong.
# What to do: look at nc.is_connected after flush(), as well as before it. For a real confirmation
# use JetStream, where publish() waits for the server's acknowledgement.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! command -v nats-server >/dev/null; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends nats-server >/dev/null
fi
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check nats-py==2.16.0

cd "$work"
venv/bin/python - <<'EOF'
import asyncio
import importlib.metadata as metadata
import socket
import subprocess
import sys
import time

import nats
import nats.errors

with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]


def start():
    server = subprocess.Popen(
        ["nats-server", "--addr", "127.0.0.1", "--port", str(port)], stderr=subprocess.PIPE, text=True
    )
    for line in server.stderr:
        if "Server is ready" in line:
            return server
    sys.exit("nats-server did not start")


async def ignore(error):
    pass


async def main():
    server = start()
    try:
        client = await nats.connect(
            f"nats://127.0.0.1:{port}", reconnect_time_wait=0.2, max_reconnect_attempts=-1, error_cb=ignore
        )
        await client.publish("orders", b"first")
        await client.flush(timeout=5)
        print("connected: flush() returned, pending bytes:", client.pending_data_size)
        server.terminate()
        server.wait()
        while client.is_connected:
            await asyncio.sleep(0.01)

        await client.publish("orders", b"second")
        began = time.monotonic()
        result = await client.flush(timeout=5)
        took = time.monotonic() - began
        pending = client.pending_data_size
        print(f"server down: flush(timeout=5) returned {result} after {took:.3f} s, pending bytes: {pending}")
        try:
            await client.drain()
            drained = True
        except nats.errors.ConnectionReconnectingError as error:
            print("server down: drain() raises", type(error).__name__)
            drained = False

        server = start()
        while not client.is_connected:
            await asyncio.sleep(0.01)
        await client.flush(timeout=5)
        print("connected again: flush() returned, pending bytes:", client.pending_data_size)
        await client.close()
    finally:
        server.terminate()
        server.wait()
    return took < 1 and pending > 0 and not drained


version = subprocess.run(["nats-server", "--version"], capture_output=True, text=True)
print("nats-py", metadata.version("nats-py"), version.stdout.strip())
sys.exit(0 if asyncio.run(main()) else "the behaviour has changed")
EOF
