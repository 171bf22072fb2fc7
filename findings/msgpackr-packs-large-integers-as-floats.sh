#!/usr/bin/env bash
# msgpackr and msgpack-lite pack JavaScript integers from 2**32 on as floats.
#
# Expected: Date.now() or an id is an integer (Number.isSafeInteger), so it is packed as an integer:
# MessagePack has 64 bits for them. @msgpack/msgpack does so.
# What happens: msgpackr and msgpack-lite pack 4294967295 as an integer and 4294967296 as a 64-bit
# float. @msgpack/msgpack does the same once its useBigInt64 option is on. In Python the value is a
# float: str() of it ends in ".0", and a schema that says int refuses it.
# Versions: msgpackr 2.1.4, msgpack-lite 0.2.2, @msgpack/msgpack 3.1.3, Node 20; msgpack 1.2.4 and
# msgspec 0.22.0 in Python.
# Who meets it: a page or a Node process that talks MessagePack over a WebSocket to Python. Small ids
# of a test are integers. Times in milliseconds are floats, and ids become floats as they grow.
# What to do: pack BigInt(value) with msgpackr, or use @msgpack/msgpack without useBigInt64, or let
# the reader turn floats that are integers into int at the fields that need it.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check msgpack==1.2.4 msgspec==0.22.0
npm install --silent --no-audit --no-fund --prefix "$work" \
  msgpackr@2.1.4 msgpack-lite@0.2.2 @msgpack/msgpack@3.1.3

cd "$work"
cat >pack.js <<'EOF'
const msgpackr = require('msgpackr');
const lite = require('msgpack-lite');
const official = require('@msgpack/msgpack');

const packers = {
  'msgpackr': (value) => msgpackr.pack(value),
  'msgpackr, BigInt': (value) => msgpackr.pack(BigInt(value)),
  'msgpack-lite': (value) => lite.encode(value),
  '@msgpack/msgpack': (value) => official.encode(value),
  '@msgpack/msgpack, useBigInt64': (value) => official.encode(value, { useBigInt64: true }),
};
for (const [name, pack] of Object.entries(packers)) {
  for (const value of [4294967295, 4294967296, 1732838400000]) {
    console.log([name, value, Buffer.from(pack(value)).toString('hex')].join('\t'));
  }
}
EOF
node pack.js >packed.txt

venv/bin/python - "$(node --version)" <<'EOF'
import importlib.metadata as metadata
import json
import sys

import msgpack
import msgspec

for name in ("msgpackr", "msgpack-lite", "@msgpack/msgpack"):
    with open(f"node_modules/{name}/package.json", encoding="utf-8") as file:
        print(name, json.load(file)["version"], end="; ")
print("node", sys.argv[1], "; msgpack", metadata.version("msgpack"))

kinds = {}
for line in open("packed.txt", encoding="utf-8"):
    name, value, packed = line.rstrip("\n").split("\t")
    read = msgpack.unpackb(bytes.fromhex(packed))
    print(f"{name:30} {value:>13} -> {read!r}")
    kinds.setdefault(name, []).append(type(read).__name__)

try:
    msgspec.msgpack.decode(msgpack.packb(1732838400000.0), type=int)
    refused = False
except msgspec.ValidationError as error:
    print("a schema that says int:", error)
    refused = True

expected = {
    "msgpackr": ["int", "float", "float"],
    "msgpackr, BigInt": ["int", "int", "int"],
    "msgpack-lite": ["int", "float", "float"],
    "@msgpack/msgpack": ["int", "int", "int"],
    "@msgpack/msgpack, useBigInt64": ["int", "float", "float"],
}
sys.exit(0 if kinds == expected and refused else "the behaviour has changed")
EOF
