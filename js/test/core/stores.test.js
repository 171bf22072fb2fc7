// A session and its store: what waits, what is taken back, what the next page goes on with.
import assert from "node:assert/strict";
import { test } from "node:test";
import { StoredSession } from "../../dist/protocol/snapshot.js";
import { DirectedStore, WALL } from "../world/directedStore.js";
import * as s from "./scene.js";
import { Scene, ack, messages, types } from "./scene.js";

/** A session whose store does what the test says. */
function stored(options) {
  const scene = new Scene({ stored: true, ...options });
  scene.store = new DirectedStore();
  scene.give = () => scene.store.give(scene.session, scene.now);
  scene.direct = (does) => scene.store.direct(scene.session, does, scene.now);
  return scene;
}

function openStored(options) {
  const scene = stored(options);
  scene.link = scene.session.dial(scene.now);
  scene.give();
  scene.link.transmit(scene.now);
  scene.hears(s.welcome());
  scene.give();
  return scene;
}

/** The page dies after so long; the next one has a clock of its own. */
function revive(scene, { away = 0, config } = {}) {
  const kept = scene.store.restart();
  const wall = WALL + scene.now + away;
  const next = new Scene({ session: kept.revive(50, wall, config) });
  next.now = 50;
  next.store = scene.store;
  next.give = () => next.store.give(next.session, next.now);
  return next;
}

test("nothing is said that is not kept (STORE-1, STORE-2, STORE-3)", () => {
  const scene = stored();
  scene.store.does = "wait";
  scene.link = scene.session.dial(scene.now);
  scene.give();
  assert.equal(scene.link.held, true);
  assert.equal(scene.link.transmit(scene.now), null, "no Hello before the attempt is kept");
  scene.direct("keep");
  assert.notEqual(scene.link.transmit(scene.now), null);
  scene.hears(s.welcome());
  scene.give();
  scene.direct("wait");
  scene.session.send("1");
  scene.give();
  assert.deepEqual(scene.says(), []);
  assert.equal(scene.session.storedUpto, 0);
  const events = scene.direct("keep");
  assert.deepEqual(events, [{ type: "stored", number: 1 }]);
  assert.deepEqual(scene.says(), [messages(1, "1")]);
  scene.direct("wait");
  scene.hears(messages(1, "a"), [s.WANT, 1]);
  scene.session.take();
  scene.session.poll(scene.now);
  scene.give();
  assert.ok(scene.says().every((frame) => frame[0] !== s.ACK || frame[2] === 0));
  scene.direct("keep");
  assert.deepEqual(scene.says(), [ack(1)]);
});

test("the session announces how long it is kept, and lives so long", () => {
  const scene = stored({ config: { storedTtl: 1_000_000 } });
  scene.link = scene.session.dial(scene.now);
  scene.give();
  assert.equal(scene.session.config.sessionTtl, 1_000_000);
});

test("a full store takes back what was not kept; its numbers are used again (STORE-7)", () => {
  const scene = openStored();
  const { session } = scene;
  session.send("kept");
  scene.give();
  scene.direct("wait");
  session.send("2");
  session.send("3");
  session.want(3);
  scene.give();
  assert.deepEqual(scene.direct("lack room"), [{ type: "withdrawn", number: 1 }]);
  assert.equal(session.sent, 1);
  assert.throws(() => session.send("4"), { name: "StoreFull" });
  assert.equal(session.hasRoom(), false);
  scene.now += 1000;
  session.tick(scene.now);
  scene.give();
  assert.equal(session.hasRoom(), true);
  assert.equal(session.send("4"), 2);
  scene.give();
  assert.deepEqual(scene.says().at(-1), messages(1, "kept", "4"));
});

test("a Finish behind messages that are taken back stays", () => {
  const scene = openStored();
  scene.direct("wait");
  scene.session.send("1");
  scene.session.finish(scene.now);
  scene.give();
  scene.direct("lack room");
  scene.now += 1000;
  scene.session.tick(scene.now);
  scene.give();
  assert.deepEqual(scene.says(), [[s.FINISH, 1, 1000, ""]]);
});

test("a store that has failed is done without", () => {
  const scene = openStored();
  scene.direct("wait");
  scene.session.send("1");
  scene.hears([s.CALLS, 1, [[s.REQUEST, "a", null, 0, ""]]]);
  scene.give();
  assert.deepEqual(scene.says(), []);
  assert.deepEqual(types(scene.session.forsakeStore(scene.now)), ["requested"]);
  const said = scene.says();
  assert.ok(said.some(([type]) => type === s.MESSAGES));
  assert.equal(scene.session.isKept, true);
  assert.equal(scene.session.takeChange(scene.now, WALL), null);
  assert.equal(scene.session.outcome(1), "pending");
});

test("a request of the peer runs once it is kept (CALL-12)", () => {
  const scene = openStored();
  scene.direct("wait");
  const request = [s.REQUEST, "a", null, 0, "p"];
  assert.deepEqual(scene.hears([s.CALLS, 1, [request]]), []);
  scene.give();
  assert.deepEqual(types(scene.direct("keep")), ["requested"]);
});

test("the next page goes on with what was kept (RESUME-7, CALL-40)", () => {
  const scene = openStored();
  const { session } = scene;
  for (const text of ["1", "2", "3"]) session.send(text);
  session.request("mine", "");
  scene.give();
  scene.says();
  scene.give();
  const request = [s.REQUEST, "x", null, 0, ""];
  scene.hears(ack(2, 1), messages(1, "a", "b", "c"), [s.CALLS, 1, [request]]);
  session.take();
  session.poll(scene.now);
  scene.give();
  scene.now += 1000;
  session.tick(scene.now); // what the peer has confirmed is kept by and by (STORE-5)
  scene.give();
  const next = revive(scene);
  assert.equal(next.session.restored, true);
  assert.deepEqual([next.session.sent, next.session.confirmedUpto], [3, 1]);
  next.link = next.session.dial(next.now);
  next.give();
  next.link.transmit(next.now);
  next.hears(
    s.welcome({
      resumed: true,
      position: [[2, 1, 2, false, []], 3, 1, 0],
      calls: [0, 1, 1],
    }),
    messages(2, "b", "c"),
  );
  next.give();
  const said = next.says();
  next.give(); // that the request was taken back, before it is said
  said.push(...next.says());
  assert.deepEqual(said.find(([type]) => type === s.MESSAGES), messages(3, "3"));
  const entries = said.filter(([type]) => type === s.CALLS).flatMap((frame) => frame[2]);
  assert.deepEqual(entries.map((entry) => entry.slice(0, 3)), [
    [s.VOID],
    [s.CANCEL, 1],
    [s.FAULT, 1, "cancelled"],
  ]);
  assert.equal(next.session.take(), "b");
  assert.equal(next.session.handedUpto, 2);
  assert.equal(next.session.redeliveredUpto, 3, "they may have been handed over before");
});

test("what was confirmed ahead of others is not handed over again (STORE-8)", () => {
  const scene = openStored();
  const { session } = scene;
  scene.hears(messages(1, "a", "b", "c", "d"));
  for (let i = 0; i < 4; i++) session.deliver();
  session.confirm(2);
  session.confirm(4);
  scene.give();
  const next = revive(scene);
  next.link = next.session.dial(next.now);
  next.give();
  next.link.transmit(next.now);
  next.hears(
    s.welcome({ resumed: true, position: [[0, 0, 0, false, []], 4, 1, 0] }),
    messages(1, "a", "b", "c", "d"),
  );
  assert.equal(next.session.take(), "a");
  assert.equal(next.session.handedUpto, 1);
  assert.deepEqual(next.session.deliver(), { number: 3, payload: "c" });
  assert.equal(next.session.available, 0);
  next.session.confirm(3);
  assert.equal(next.session.inbox.confirmed, 4);
});

test("an outage counts by the wall clock; a clock that was set back ends nothing (END-4)", () => {
  const config = { storedTtl: 100_000, sessionTtl: 1000 };
  for (const [away, kind] of [[99_000, undefined], [101_500, "expired"], [-500_000, undefined]]) {
    const scene = openStored({ config });
    scene.lost();
    scene.give();
    const next = revive(scene, { away, config: scene.session.config });
    // A first look that comes late is taken for sleep: what counts is the second.
    next.session.tick(next.now);
    next.now += next.session.config.openTimeout - 1;
    next.session.tick(next.now);
    next.now += 1;
    next.session.tick(next.now);
    assert.equal(next.session.ended?.kind, kind, `away for ${away} ms`);
  }
});

test("a page leaves its session to the next one (STORE-9)", () => {
  const scene = openStored();
  scene.session.send("kept");
  scene.give();
  scene.direct("wait");
  scene.session.send("perhaps");
  scene.give();
  scene.session.send("not kept");
  const events = scene.session.leave(scene.now, "the page is left");
  assert.deepEqual(types(events), ["ended"]);
  const runs = scene.session.report().runs.map(({ outcome }) => outcome);
  assert.deepEqual(runs, ["kept", "unknown", "not taken"]);
  assert.equal(scene.session.report().final, false);
  assert.deepEqual(scene.link.closeAction, { code: 1012, reason: "the page is left" });
  assert.deepEqual(scene.says(), [], "no Refuse is said");
  assert.equal(scene.session.error().name, "ConnectionClosed");
});

test("the end is kept before it is said, and then the report is final (STORE-4)", () => {
  const scene = openStored();
  scene.session.send("1");
  scene.give();
  scene.says();
  scene.direct("wait");
  scene.session.abort(scene.now, "enough");
  scene.give();
  assert.equal(scene.session.isKept, false);
  assert.equal(scene.session.outcome(1), "kept", "another page could go on");
  assert.equal(scene.link.transmit(scene.now), null);
  scene.direct("keep");
  assert.equal(scene.session.isKept, true);
  assert.equal(scene.session.outcome(1), "unknown");
  assert.equal(scene.says()[0][0], s.REFUSE);
  const kept = scene.store.restart();
  assert.equal(kept.ending.kind, "aborted");
});

test("an end that is not kept in time is left to the next page", () => {
  const scene = openStored();
  scene.direct("wait");
  scene.session.abort(scene.now, "enough");
  scene.give();
  scene.now += 30_000;
  scene.session.tick(scene.now);
  assert.equal(scene.session.isKept, true, "nothing more is given to the store");
});

test("a close that makes no progress is left to the next page (STORE-9)", () => {
  const scene = openStored();
  scene.session.send("1");
  scene.give();
  scene.says();
  scene.session.close(scene.now);
  scene.give();
  for (let i = 0; i < 7 && !scene.session.ended; i++) {
    scene.now += 5000;
    scene.session.tick(scene.now);
    if (!scene.session.ended) scene.hears(ack(0));
    scene.give();
  }
  assert.equal(scene.session.ended.kind, "kept");
  const next = revive(scene);
  assert.equal(next.session.closing, true, "it closes it");
});

test("what is no session is refused", () => {
  assert.equal(openStored().store.restart().ending, null);
  assert.throws(() => new StoredSession({ facts: {} }), TypeError);
});
