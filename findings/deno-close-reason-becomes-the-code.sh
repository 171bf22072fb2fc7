#!/usr/bin/env bash
# In Deno, WebSocket.close(undefined, reason) sends the first two letters of the reason as the code.
#
# Expected: a close frame with 1000, or an exception: a close frame cannot have a reason without a
# code. Browsers throw or leave the code out; ws sends a frame without a code.
# What happens: the reason is written where the code belongs. "why" becomes the code 30568 (0x7768,
# "wh") with the reason "y". The server answers 1002, and its application sees an error instead of an
# orderly close.
# Two ASCII letters always make a code above 4999, which is invalid.
# Versions: deno 2.9.6; ws 8.23.0 on Node 20 for comparison; the server is websockets 17.4.
# Who meets it: a client library that is written for all runtimes and passes on an optional code.
# What to do: never pass a reason without a code: socket.close(code ?? 1000, reason).
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check websockets==17.4
npm install --silent --no-audit --no-fund --prefix "$work" deno@2.9.6 ws@8.23.0

cd "$work"
cat >client.mjs <<'EOF'
const node = typeof Deno === 'undefined';
const WebSocket = node ? (await import('ws')).WebSocket : globalThis.WebSocket;
const [uri, code] = node ? process.argv.slice(2) : Deno.args;
const socket = new WebSocket(uri);
await new Promise((resolve) => (socket.onopen = resolve));
socket.close(code && Number(code), 'why');
const event = await new Promise((resolve) => (socket.onclose = resolve));
console.log(`  client: close event ${event.code} "${event.reason}"`);
EOF

venv/bin/python - <<'EOF'
import asyncio
import importlib.metadata as metadata
import subprocess
import sys

from websockets.asyncio.server import serve
from websockets.frames import Frame

DENO = ["node_modules/.bin/deno", "run", "--quiet", "--allow-net", "client.mjs"]
NODE = ["node", "client.mjs"]


class Recorder:
    """The bytes of the close frames that arrive, before they are checked."""

    def __init__(self):
        self.payloads = []
        check = Frame.check

        def record(frame):
            if frame.opcode == 8:
                self.payloads.append(bytes(frame.data))
            check(frame)

        Frame.check = record


async def handler(websocket):
    await websocket.wait_closed()
    print("  server: received", websocket.protocol.close_rcvd, "sent", websocket.protocol.close_sent)


async def main():
    recorder, seen = Recorder(), []
    async with serve(handler, "127.0.0.1", 0) as server:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        calls = [
            ("deno: close(undefined, 'why')", [*DENO, uri]),
            ("deno: close(1000, 'why')", [*DENO, uri, "1000"]),
            ("ws: close(undefined, 'why')", [*NODE, uri]),
        ]
        for name, command in calls:
            print(name, flush=True)
            recorder.payloads.clear()
            client = await asyncio.create_subprocess_exec(*command)
            if await client.wait():
                sys.exit("the client failed")
            seen.append(recorder.payloads[0])
            print("  payload of the close frame:", seen[-1], flush=True)
    return seen


print("websockets", metadata.version("websockets"))
subprocess.run([DENO[0], "--version"], check=True)
subprocess.run(["node", "--version"], check=True)
expected = [b"why", b"\x03\xe8why", b""]
sys.exit(0 if asyncio.run(main()) == expected else "the behaviour has changed")
EOF
