// A server that wants to harm: how much the client logs, starts and leaves out at once.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTask } from "node:timers/promises";
import { connect } from "../dist/index.js";
import { CALLS, MESSAGES, Packed, REQUEST } from "../dist/protocol/frames.js";
import { Greeter } from "./greeter.js";

const BAD = new Packed(Uint8Array.of(0xc1));

async function attacked(t, options) {
  const conn = await connect("ws://nowhere", { WebSocket: Greeter, ...options });
  t.after(() => conn.abort());
  return conn;
}

test("what cannot be decoded is logged 20 times at once, and once a second", async (t) => {
  let now = 1000;
  t.mock.method(performance, "now", () => now);
  const lines = [];
  const conn = await attacked(t, { log: (words) => lines.push(words) });
  const reading = conn[Symbol.asyncIterator]().next();
  Greeter.newest.says([MESSAGES, 1, Array(50).fill(BAD)]);
  assert.equal(lines.length, 20);
  now += 1000;
  Greeter.newest.says([MESSAGES, 51, [BAD, BAD, "good"]]);
  assert.equal((await reading).value, "good");
  assert.equal(lines.length, 21);
  assert.equal(lines[20], "reliable-ws: message 51 is left out (and 30 more that were not logged)");
});

test("while what cannot be decoded is left out, others have their turn", async (t) => {
  const conn = await attacked(t, { log: () => {} });
  let first = 1;
  for (const isWaitedFor of [true, false]) {
    let reading = isWaitedFor ? conn.recv() : undefined;
    Greeter.newest.says([MESSAGES, first, [...Array(1000).fill(BAD), "good"]]);
    first += 1001;
    let isOver = false;
    reading ??= conn.recv();
    reading.then(() => (isOver = true));
    let turns = 0;
    for (; !isOver; turns++) await nextTask();
    assert.equal(await reading, "good");
    assert.ok(turns >= 9, `${turns} turns`);
  }
});

test("handlers start while there is room for their answers, and no sooner", async (t) => {
  let started = 0;
  const large = () => {
    started++;
    return new Uint8Array(1024 * 1024);
  };
  await attacked(t, { methods: { large } });
  Greeter.newest.says([CALLS, 1, Array(100).fill([REQUEST, "large", null, 0, ""])]);
  await nextTask();
  assert.ok(started > 2 && started <= 6, `${started}`);
});

test("a handler that fails is logged as seldom", async (t) => {
  let lines = 0;
  const fails = () => {
    throw new Error("a bug");
  };
  await attacked(t, { methods: { fails }, log: () => lines++ });
  Greeter.newest.says([CALLS, 1, Array(100).fill([REQUEST, "fails", null, 0, ""])]);
  await nextTask();
  assert.ok(lines >= 20 && lines <= 22, `${lines}`);
});
