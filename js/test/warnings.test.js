// What the driver warns of: a reader that has stopped, a path that cuts what is silent.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as nextTask } from "node:timers/promises";
import { connect } from "../dist/index.js";
import { ACK, MESSAGES } from "../dist/protocol/frames.js";
import { Greeter } from "./greeter.js";

/** A connection whose clock stands still, and what it warns of. */
async function warned(t, config = {}) {
  const scene = { now: 1000, warnings: [] };
  t.mock.method(performance, "now", () => scene.now);
  t.mock.method(console, "warn", (words) => scene.warnings.push(words));
  Greeter.newest = undefined;
  scene.conn = await connect("ws://nowhere", { WebSocket: Greeter, config });
  t.after(() => scene.conn.abort());
  scene.pass = (seconds, step = 5) => {
    for (const end = scene.now + 1000 * seconds; scene.now < end; ) {
      scene.now += 1000 * step;
      Greeter.newest.says([ACK, 0, 0]);
    }
  };
  return scene;
}

test("a reader that has stopped is told of once, until it has caught up", async (t) => {
  const scene = await warned(t, { windowMessages: 4 });
  Greeter.newest.says([MESSAGES, 1, ["a", "b", "c"]]);
  scene.pass(25);
  assert.deepEqual(scene.warnings, []);
  scene.pass(10);
  assert.match(scene.warnings[0], /^reliable-ws: 3 messages wait and fill the window/);
  await scene.conn.recv();
  Greeter.newest.says([MESSAGES, 4, ["d"]]);
  scene.pass(60);
  assert.equal(scene.warnings.length, 1, "it has not caught up");
  for (let i = 0; i < 3; i++) await scene.conn.recv();
  Greeter.newest.says([MESSAGES, 5, ["e", "f", "g"]]);
  scene.pass(60);
  assert.equal(scene.warnings.length, 2);
});

test("a reader that is slow, or has room, or stood still itself is not told of", async (t) => {
  const scene = await warned(t, { windowMessages: 8 });
  Greeter.newest.says([MESSAGES, 1, ["a", "b", "c", "d", "e"]]);
  scene.pass(60); // five of eight: there is room
  Greeter.newest.says([MESSAGES, 6, ["f", "g"]]);
  scene.pass(25);
  await scene.conn.recv();
  scene.pass(25);
  Greeter.newest.says([MESSAGES, 8, ["h"]]);
  scene.now += 60_000; // the page was hidden
  Greeter.newest.says([ACK, 0, 0]);
  scene.pass(25);
  assert.deepEqual(scene.warnings, []);
});

test("a path that cuts what is silent is told of when that is learned", async (t) => {
  const scene = await warned(t);
  for (const silence of [6000, 6300, 6100]) {
    assert.deepEqual(scene.warnings, []);
    scene.now += silence;
    const old = Greeter.newest;
    old.onclose({ code: 1006, reason: "" });
    scene.conn.reconnectNow();
    while (Greeter.newest === old) await nextTask();
  }
  assert.match(scene.warnings[0], /cuts WebSockets that are silent for 6 s/);
  assert.equal(scene.warnings.length, 1);
});

test("who gives `log` gets warnings there", async (t) => {
  const told = [];
  const scene = await warned(t, { windowMessages: 1 });
  const config = { windowMessages: 1 };
  const log = (...words) => told.push(words);
  const conn = await connect("ws://nowhere", { WebSocket: Greeter, config, log });
  Greeter.newest.says([MESSAGES, 1, ["a"]]);
  scene.pass(40);
  conn.abort();
  assert.equal(told.length, 1);
  assert.equal(told[0][1], undefined);
});
