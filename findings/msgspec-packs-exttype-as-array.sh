#!/usr/bin/env bash
# msgspec packs the ExtType of msgpack as a plain array, without an error.
#
# Expected: a codec keeps a MessagePack extension as an extension, or refuses it.
# msgspec has an extension type of its own and raises TypeError for many foreign types.
# What happens: msgpack.ExtType is a namedtuple, and msgspec packs every tuple as an array.
# ExtType(5, b"abc") leaves as [5, b"abc"]. The reader gets a list and no extension hook runs.
# The other direction is loud: msgpack refuses the extension object of msgspec.
# Versions: msgspec 0.22.0, msgpack 1.2.4, CPython 3.11.
# Who meets it: a gateway or a WebSocket server that reads messages with msgpack and packs what it
# passes on with msgspec, which is faster. Its tests pass until the first extension arrives.
# What to do: convert first: msgspec.msgpack.Ext(ext.code, ext.data). An enc_hook does not help,
# since msgspec never calls it for a tuple.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check msgspec==0.22.0 msgpack==1.2.4

"$work/venv/bin/python" - <<'EOF'
import importlib.metadata as metadata
import sys

import msgpack
import msgspec

print("msgspec", metadata.version("msgspec"), "msgpack", metadata.version("msgpack"))
message = {"point": msgpack.ExtType(5, b"abc")}
hooks = []


def hook(value):
    hooks.append(value)
    return msgspec.msgpack.Ext(value.code, value.data)


by_msgpack = msgpack.unpackb(msgpack.packb(message))
by_msgspec = msgpack.unpackb(msgspec.msgpack.encode(message, enc_hook=hook))
print("packed by msgpack, read by msgpack:", by_msgpack)
print("packed by msgspec, read by msgpack:", by_msgspec)
print("calls of enc_hook:", len(hooks))

foreign = msgspec.msgpack.decode(msgpack.packb(message))["point"]
try:
    msgpack.packb(foreign)
    refused = False
except TypeError as error:
    print("the other direction: TypeError:", error)
    refused = True

converted = msgspec.msgpack.encode({"point": msgspec.msgpack.Ext(5, b"abc")})
print("converted first:", msgpack.unpackb(converted))

same = (
    by_msgpack == message
    and by_msgspec == {"point": [5, b"abc"]}
    and type(by_msgspec["point"]) is list
    and not hooks
    and refused
    and msgpack.unpackb(converted) == message
)
sys.exit(0 if same else "the behaviour has changed")
EOF
