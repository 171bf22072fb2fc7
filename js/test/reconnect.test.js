import assert from "node:assert/strict";
import { test } from "node:test";
import { Reconnect } from "../dist/reconnect.js";

const HIGHEST_CHANCE = 1 - 2 ** -53;

/** A session, as far as a plan looks at it. */
const session = (changes = {}) => ({
  resumes: 0,
  welcomed: true,
  progress: [0, 0],
  deadline: 120_000,
  peerDeadline: 120_000,
  closing: false,
  ...changes,
});

/** The longest pauses of so many attempts in a row that fail at the same time. */
function limits(reconnect, count, now = 0) {
  return Array.from({ length: count }, () => {
    reconnect.failed(now, HIGHEST_CHANCE);
    return Math.round(reconnect.due(now) - now);
  });
}

test("the limit of a pause doubles up to the longest", () => {
  assert.deepEqual(limits(new Reconnect(session()), 7), [200, 400, 800, 1600, 3200, 5000, 5000]);
});

test("a pause is a random part of its limit", () => {
  const reconnect = new Reconnect(session());
  reconnect.failed(1000, 0);
  assert.equal(reconnect.due(1000), 1000);
  reconnect.failed(1000, 0.5);
  assert.equal(reconnect.due(1000), 1200);
});

test("a pause takes a quarter of the time that is left at most", () => {
  const reconnect = new Reconnect(session({ deadline: 4000 }));
  assert.deepEqual(limits(reconnect, 5), [200, 400, 800, 1000, 1000]);
  assert.deepEqual(limits(reconnect, 1, 3900), [200]);
});

test("the peer's end counts until it is past", () => {
  const reconnect = new Reconnect(session({ peerDeadline: 4000 }));
  assert.deepEqual(limits(reconnect, 6).slice(3), [1000, 1000, 1000]);
  assert.deepEqual(limits(reconnect, 1, 5000), [5000]);
});

test("a WebSocket that carried something new begins anew, and one that lasted", () => {
  for (const [welcome, progress, lasted, pause] of [
    [1, [0, 1], 0, 200], // it moved
    [1, [0, 0], 1000, 200], // it lasted
    [1, [0, 0], 999, 1600], // neither
    [0, [0, 0], 5000, 1600], // it was not even welcomed
  ]) {
    const facts = session();
    const reconnect = new Reconnect(facts);
    limits(reconnect, 3);
    reconnect.opened(10_000);
    facts.resumes += welcome;
    facts.progress = progress;
    reconnect.lost(10_000 + lasted, HIGHEST_CHANCE, 0);
    assert.equal(Math.round(reconnect.due(10_000 + lasted)) - 10_000 - lasted, pause);
  }
});

test("the server may ask for a longer pause, within bounds (REFUSE-4)", () => {
  const backoff = { initial: 0, factor: 1, longest: 0, stable: 1000 };
  for (const [asked, left, chance, pause] of [
    [7000, 120_000, 0.5, 7000],
    [30_000, 120_000, 0.5, 30_000],
    // Who is asked to wait for longer comes in the second half of the bound, and not with all others.
    [90_000, 120_000, 0, 15_000],
    [90_000, 120_000, 0.5, 22_500],
    [7000, 6000, 0.5, 2250],
  ]) {
    const reconnect = new Reconnect(session({ deadline: left, peerDeadline: left }), backoff);
    reconnect.lost(0, chance, asked);
    assert.equal(reconnect.due(0), pause);
  }
});

test("to be turned away five times is final, with nothing good in between", () => {
  const facts = session();
  const reconnect = new Reconnect(facts);
  const statuses = [401, 503, 403, 302, 407, 404];
  assert.ok(statuses.every((status) => reconnect.failed(0, 0, status)));
  assert.equal(reconnect.failed(0, 0, 401), false);
  const other = new Reconnect(facts);
  for (let i = 0; i < 4; i++) other.failed(0, 0, 401);
  other.opened(0);
  facts.resumes += 1;
  other.lost(0, 0, 0);
  assert.equal(other.failed(0, 0, 401), true);
});

test("the time for connecting doubles with each attempt that ran out of it", () => {
  const reconnect = new Reconnect(session());
  const times = Array.from({ length: 5 }, () => {
    const time = reconnect.connecting;
    reconnect.failed(0, 0, 0, true);
    return time;
  });
  assert.deepEqual(times, [10_000, 20_000, 40_000, 65_000, 65_000]);
  reconnect.opened(0);
  assert.equal(reconnect.connecting, 10_000);
});

test("after two openings that failed the server is asked first, but for one opening now and then", () => {
  const reconnect = new Reconnect(session());
  const ways = [];
  let now = 0;
  for (; now < 400_000; now += 1000) {
    if (reconnect.asksFirst(now)) continue;
    ways.push(now / 1000);
    reconnect.opening(now);
  }
  assert.deepEqual(ways, [0, 1, 11, 31, 71, 151, 241, 331]);
  assert.equal(reconnect.asksFirst(now), true);
  reconnect.opening(now); // it has answered
  reconnect.opened(now);
  assert.equal(reconnect.asksFirst(now), false);
});

test("nothing is asked any more once a WebSocket has opened where asking had failed", () => {
  const reconnect = new Reconnect(session());
  const failing = (now) => {
    for (let i = 0; i < 2; i++) {
      assert.equal(reconnect.asksFirst(now), false);
      reconnect.opening(now);
    }
    return reconnect.asksFirst(now);
  };
  assert.equal(failing(0), true); // and it fails until an opening goes without it
  assert.equal(reconnect.asksFirst(10_000), false);
  reconnect.opening(10_000);
  reconnect.opened(10_000);
  assert.equal(failing(20_000), false);
});

test("what wakes a page cuts a pause short, and so does a close", () => {
  const facts = session({ deadline: 8000, peerDeadline: 8000 });
  const reconnect = new Reconnect(facts, { initial: 60_000, longest: 60_000 });
  reconnect.failed(0, HIGHEST_CHANCE);
  assert.equal(Math.round(reconnect.due(0)), 2000);
  facts.closing = true;
  assert.equal(Math.round(reconnect.due(1000)), 2000);
  facts.deadline = facts.peerDeadline = 2000;
  assert.equal(Math.round(reconnect.due(1000)), 1250);
  reconnect.hasten();
  assert.equal(reconnect.due(1000), 0);
});

test("a back-off that makes no sense is refused", () => {
  for (const bad of [{ initial: -1 }, { factor: 0.5 }, { initial: 9, longest: 8 }, { stable: NaN }]) {
    assert.throws(() => new Reconnect(session(), bad), RangeError);
  }
});
