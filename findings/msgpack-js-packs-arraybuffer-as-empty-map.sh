#!/usr/bin/env bash
# @msgpack/msgpack packs what a WebSocket delivers, an ArrayBuffer, as an empty map.
#
# Expected: binary data is packed as bytes, whichever of the binary types of JavaScript holds it, or
# the packer throws. It throws for a function.
# What happens: an ArrayBuffer is packed as {} (one byte, 0x80), and its content is gone without an
# error. decode() takes the same ArrayBuffer gladly. A Uint8Array over it is packed as bytes.
# msgpackr packs the ArrayBuffer as bytes.
# Versions: @msgpack/msgpack 3.1.3, msgpackr 2.1.4, ws 8.23.0, Node 20.
# Who meets it: a client that takes a binary WebSocket message and passes it on inside another one.
# With binaryType "arraybuffer", event.data is an ArrayBuffer. With the default of ws in Node it is
# a Buffer, which works, so the same code is right in Node and loses the data in a page.
# What to do: wrap it before packing: new Uint8Array(event.data).
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm install --silent --no-audit --no-fund --prefix "$work" \
  @msgpack/msgpack@3.1.3 msgpackr@2.1.4 ws@8.23.0

cd "$work"
cat >run.js <<'EOF'
const { encode, decode } = require('@msgpack/msgpack');
const msgpackr = require('msgpackr');
const { WebSocket, WebSocketServer } = require('ws');

for (const name of ['@msgpack/msgpack', 'msgpackr', 'ws']) {
  console.log(name, JSON.parse(require('fs').readFileSync(`node_modules/${name}/package.json`)).version);
}
console.log('node', process.version);

const read = (packed) => decode(packed).body;
const show = (value) => `${value.constructor.name} ${JSON.stringify(value)}`;

function receive(port, binaryType) {
  return new Promise((resolve) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}`);
    socket.binaryType = binaryType;
    socket.onmessage = (event) => {
      socket.close();
      resolve(event.data);
    };
  });
}

const server = new WebSocketServer({ host: '127.0.0.1', port: 0 }, async () => {
  server.on('connection', (socket) => socket.send(Buffer.from([1, 2, 3])));
  const { port } = server.address();
  const fromNode = await receive(port, 'nodebuffer');
  const fromPage = await receive(port, 'arraybuffer');
  const results = {
    'binaryType nodebuffer': read(encode({ body: fromNode })),
    'binaryType arraybuffer': read(encode({ body: fromPage })),
    'wrapped in a Uint8Array': read(encode({ body: new Uint8Array(fromPage) })),
    'packed by msgpackr': read(msgpackr.pack({ body: fromPage })),
  };
  for (const [name, value] of Object.entries(results)) console.log(`${name}: ${show(value)}`);
  let thrown = '';
  try {
    encode({ body: () => 1 });
  } catch (error) {
    thrown = error.message;
  }
  console.log('a function:', thrown);
  server.close();

  const lost = results['binaryType arraybuffer'];
  const kept = Object.entries(results).filter(([name]) => name !== 'binaryType arraybuffer');
  const same =
    fromPage instanceof ArrayBuffer &&
    thrown !== '' &&
    lost.constructor === Object &&
    Object.keys(lost).length === 0 &&
    kept.every(([, value]) => Buffer.from(value).equals(Buffer.from([1, 2, 3])));
  if (!same) {
    console.error('the behaviour has changed');
    process.exitCode = 1;
  }
});
EOF
node run.js
