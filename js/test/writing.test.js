// When the driver writes, seen by a WebSocket that only greets.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTask } from "node:timers/promises";
import { connect } from "../dist/index.js";
import { HELLO, MESSAGES, WELCOME } from "../dist/protocol/frames.js";
import { pack, unpack } from "../dist/protocol/pack.js";

const POSITION = [[0, 0, 0, false, []], 0, 1, 0];
const LIMITS = [32_768, 4_194_304, 1_048_576, 67_108_864, 1024, 20_000, 120_000];

class Greeter {
  static runs = []; // how many messages were in each WebSocket message
  static newest;
  readyState = 1;
  bufferedAmount = 0;

  constructor() {
    Greeter.newest = this;
    setImmediate(() => this.onopen());
  }

  send(data) {
    for (const [type, , payloads] of unpack(data)) {
      if (type === MESSAGES) Greeter.runs.push(payloads.length);
      if (type === HELLO) {
        const { buffer } = pack([[WELCOME, 1, false, 1, POSITION, LIMITS, [0, 0, 1], null]]);
        setImmediate(() => this.onmessage({ data: buffer }));
      }
    }
  }

  close() {}
}

async function greeted() {
  const conn = await connect("ws://nowhere", { WebSocket: Greeter });
  await nextTask();
  Greeter.runs = [];
  return conn;
}

test("a lone message goes at once, before the next task", async () => {
  const conn = await greeted();
  conn.send("lone");
  await Promise.resolve();
  assert.deepEqual(Greeter.runs, [1]);
  conn.abort();
});

test("what is sent in one turn goes together", async () => {
  const conn = await greeted();
  for (let i = 0; i < 1000; i++) conn.send("message");
  await Promise.resolve();
  assert.deepEqual(Greeter.runs, [1000]);
  conn.abort();
});

test("what a loop sends that awaits room for each message goes together, but for the first", async () => {
  const conn = await greeted();
  for (let i = 0; i < 1001; i++) {
    await conn.room();
    conn.send("message");
  }
  await nextTask();
  assert.deepEqual(Greeter.runs, [1, 1000]);
  conn.abort();
});

test("the first message behind what has arrived goes at once again", async () => {
  const conn = await greeted();
  conn.send("first");
  await Promise.resolve();
  Greeter.newest.onmessage({ data: pack([[MESSAGES, 1, ["theirs"]]]).buffer });
  conn.send("second");
  await Promise.resolve();
  assert.deepEqual(Greeter.runs, [1, 1]);
  conn.abort();
});
