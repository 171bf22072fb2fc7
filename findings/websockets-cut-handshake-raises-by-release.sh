#!/usr/bin/env bash
# What connect() of websockets raises when a server closes the connection before it has answered.
#
# Expected: an OSError (ConnectionError), or something of websockets.exceptions, in each release. A
# loop that tries again on `except (OSError, websockets.exceptions.InvalidHandshake)` covers it.
# What happens: up to 14.1 it is a bare EOFError, which is neither, so such a loop ends. From 14.2 on
# it is an InvalidMessage. In 14.0 and 14.1 even the name websockets.exceptions.InvalidMessage gives a
# DeprecationWarning, which ends a program that turns warnings into errors; in 14.2 it is back.
# Versions: websockets 13.1, 14.0, 14.1, 14.2, 17.4.
# Who meets it: a client that reconnects by itself while a proxy is up and its server is not.
# What to do: catch EOFError as well where releases before 14.2 are supported, and name
# InvalidHandshake, the base class, which all releases have.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"

cat >"$work/cut.py" <<'EOF'
import asyncio
import warnings

import websockets.exceptions
from websockets.asyncio.client import connect


def cut(reader, writer):
    writer.close()


async def main():
    async with await asyncio.start_server(cut, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        try:
            await connect(f"ws://127.0.0.1:{port}")
        except Exception as error:
            raised = error
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        websockets.exceptions.InvalidMessage
    is_covered = isinstance(raised, (OSError, websockets.exceptions.InvalidHandshake))
    print(type(raised).__name__, "covered" if is_covered else "not covered", end=", ")
    print("its name warns" if seen else "no warning")


asyncio.run(main())
EOF

fails=0
expect() {
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check "websockets==$1"
  local seen
  seen=$("$work/venv/bin/python" "$work/cut.py")
  echo "websockets $1: $seen"
  [[ "$seen" == "$2" ]] || { echo "  expected: $2"; fails=1; }
}

expect 13.1 "EOFError not covered, no warning"
expect 14.0 "EOFError not covered, its name warns"
expect 14.1 "EOFError not covered, its name warns"
expect 14.2 "InvalidMessage covered, no warning"
expect 17.4 "InvalidMessage covered, no warning"
exit "$fails"
