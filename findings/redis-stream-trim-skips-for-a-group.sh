#!/usr/bin/env bash
# A trimmed Redis stream skips entries for a consumer group without a word, and its lag stays wrong.
#
# Expected: a group that falls behind the trimmed start of a stream is told, as a Kafka consumer is
# ("offset out of range"), or XINFO GROUPS shows it: lag is "the entries still to be delivered".
# What happens: XREADGROUP with ">" goes on at the first entry that exists and reports no gap.
# Here 895 of 1,000 entries are skipped. lag says 995 where 100 entries exist, and 895 when the group
# has read everything: it never returns to 0. Entries that were delivered and not acknowledged come
# back with empty fields.
# Versions: redis-server 7 (run with 7.0.15), redis 8.1.0 for Python.
# Who meets it: a WebSocket server that takes what it sends from a stream with XADD MAXLEN, the usual
# way to bound one. A worker that was away for a while goes on with a hole in what it sends. An alarm
# on lag stays on although nothing is left to read.
# What to do: number the messages and check the numbers, or compare entries-read of the group plus
# the length of the stream with entries-added before reading. Trim by MINID of what is acknowledged.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! command -v redis-server >/dev/null; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends redis-server >/dev/null
fi
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0

cd "$work"
venv/bin/python - <<'EOF'
import importlib.metadata as metadata
import socket
import subprocess
import sys

import redis

with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]
command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
try:
    for line in server.stdout:
        if "ready to accept connections" in line.lower():
            break
    client = redis.Redis(port=port, decode_responses=True)
    print("redis-server", client.info("server")["redis_version"], "redis", metadata.version("redis"))

    def read(position, count=None):
        ((_, entries),) = client.xreadgroup("workers", "one", {"feed": position}, count=count)
        return entries

    def lag():
        (group,) = client.xinfo_groups("feed")
        return group["lag"]

    client.xgroup_create("feed", "workers", id="0", mkstream=True)
    for number in range(10):
        client.xadd("feed", {"number": number})
    first = [int(fields["number"]) for _, fields in read(">", 5)]
    print("read before:", first)
    for number in range(10, 1000):
        client.xadd("feed", {"number": number}, maxlen=100, approximate=False)

    before = lag()
    print("entries that exist:", client.xlen("feed"), "lag:", before)
    rest = [int(fields["number"]) for _, fields in read(">")]
    print("read next:", rest[:5], "..., no error; skipped:", rest[0] - first[-1] - 1)
    after = lag()
    left = client.xreadgroup("workers", "one", {"feed": ">"})
    print("read everything, left:", left, "lag:", after)
    unacknowledged = read("0", 1)
    print("the first unacknowledged entry:", unacknowledged)
finally:
    server.terminate()
    server.wait()

same = (
    first == [0, 1, 2, 3, 4]
    and rest == list(range(900, 1000))
    and (before, after) == (995, 895)
    and not left
    and unacknowledged[0][1] == {}
)
sys.exit(0 if same else "the behaviour has changed")
EOF
