// Calls both ways: credit, pieces, limits, and what is known of each in the end.
import assert from "node:assert/strict";
import { test } from "node:test";
import { LAST_REQUEST } from "../../dist/protocol/calls/queue.js";
import * as s from "./scene.js";
import { Scene, types } from "./scene.js";

const calls = (first, ...entries) => [s.CALLS, first, entries];
const entries = (frames) => frames.filter(([type]) => type === s.CALLS).flatMap((f) => f[2]);
const callAck = (received) => [s.CALL_ACK, received];

function opened(options) {
  const scene = new Scene(options);
  scene.open(options?.greeting);
  return scene;
}

test("a request goes with what is left of its time, each time anew (CALL-9)", () => {
  const scene = opened();
  const { session } = scene;
  session.request("add", "1", scene.now + 5000);
  scene.now += 1000;
  assert.deepEqual(entries(scene.says()), [[s.REQUEST, "add", 4000, 0, "1"]]);
  scene.lost();
  scene.now += 1000;
  scene.open({ resumed: true });
  assert.deepEqual(entries(scene.says()), [[s.REQUEST, "add", 3000, 0, "1"]]);
  scene.lost();
  scene.now += 3000;
  scene.open({ resumed: true });
  assert.deepEqual(entries(scene.says()), [[s.VOID]], "its time is over: it is never run");
  assert.equal(session.wasTaken(1), false);
});

test("a request is taken back before it went, and cancelled behind (CALL-8, CALL-30)", () => {
  const scene = opened();
  const { session } = scene;
  assert.equal(session.cancel(session.request("a", null)), true);
  const second = session.request("b", null);
  assert.deepEqual(entries(scene.says()).map(([type]) => type), [s.VOID, s.REQUEST]);
  assert.equal(session.cancel(second), false);
  assert.equal(session.wasTaken(second), null);
  assert.deepEqual(entries(scene.says()), [[s.CANCEL, 2]]);
  assert.deepEqual(scene.hears(calls(1, [s.REPLY, 2, "late"])), [], "nobody waits for it");
  assert.equal(session.outgoingCalls.open.size, 0);
});

test("a request more than there are numbers for is refused (CALL-43)", () => {
  const { session } = opened();
  session.callQueue.last = LAST_REQUEST;
  assert.throws(() => session.request("add", "1"), {
    name: "NumbersExhausted",
    message: "the session has used all its numbers of calls: begin another session",
  });
});

test("without a codec a request may have no parameters, and an answer none", () => {
  const scene = opened();
  scene.session.request("now", null);
  assert.deepEqual(entries(scene.says())[0][4], new s.Packed(Uint8Array.of(0xc0)));
  assert.throws(() => scene.session.request("now", {}), { name: "NotSerializable" });
  assert.throws(() => scene.session.request("é".repeat(128), ""), RangeError); // CALL-14
});

test("an answer is an ack of the request, and frees its place (CALL-6, CALL-18)", () => {
  const scene = opened({ greeting: { takes: { maxRequests: 2 } } });
  const { session } = scene;
  session.request("a", "");
  session.request("b", "");
  assert.equal(session.hasRequestRoom, false);
  scene.says();
  assert.deepEqual(scene.hears(calls(1, [s.REPLY, 2, "done"])), [
    { type: "replied", id: 2, payload: "done" },
  ]);
  assert.equal(session.hasRequestRoom, true);
  assert.equal(session.wasTaken(1), true, "it came before");
  const fault = scene.hears(calls(2, [s.FAULT, 1, "broken", "words", ""]));
  const said = { type: "faulted", id: 1, code: "broken", message: "words", payload: "" };
  assert.deepEqual(fault, [said]);
});

test("open requests weigh 16 windows at most (CALL-44)", () => {
  const scene = opened({ greeting: { takes: { windowBytes: 100 } } });
  scene.session.request("a", "x".repeat(1593));
  assert.equal(scene.session.hasRequestRoom, true);
  scene.session.request("a", "");
  assert.equal(scene.session.hasRequestRoom, false);
});

test("a request above what this side holds is answered with overloaded (CALL-44)", () => {
  const scene = opened({ config: { windowBytes: 100 } });
  scene.hears(calls(1, [s.REQUEST, "a", null, 0, "x".repeat(1600)]));
  assert.deepEqual(scene.hears(calls(2, [s.REQUEST, "a", null, 0, "x"])), []);
  assert.deepEqual(entries(scene.says())[0].slice(0, 3), [s.FAULT, 2, "overloaded"]);
});

test("more requests than announced end the session (CALL-6)", () => {
  const scene = opened({ config: { maxRequests: 2 } });
  const request = [s.REQUEST, "a", null, 0, ""];
  scene.hears(calls(1, request, request));
  scene.session.reply(1, "");
  scene.hears(calls(3, request));
  assert.equal(scene.session.ended.code, 4422, "an answer makes room when it was received");
});

test("a request of the peer is served once, and its answer sent until it is received", () => {
  const scene = opened();
  const { session, now } = scene;
  assert.deepEqual(scene.hears(calls(1, [s.REQUEST, "a", 500, 70, "p"])), [
    { type: "requested", id: 1, method: "a", payload: "p", by: now + 500, credit: 70 },
  ]);
  assert.equal(session.item(1, "é"), 8);
  assert.deepEqual(scene.hears(calls(2, [s.CREDIT, 1, 140], [s.CANCEL, 1])), [
    { type: "granted", id: 1, total: 140 },
    { type: "cancelled", id: 1 },
  ]);
  session.fault(1, "cancelled", "é".repeat(600));
  session.reply(1, "too late");
  const said = entries(scene.says());
  assert.deepEqual(said[0], [s.ITEM, 1, "é"]);
  assert.deepEqual(said[1], [s.FAULT, 1, "cancelled", "é".repeat(500), new Uint8Array()]);
  assert.equal(said.length, 2);
  scene.lost();
  scene.open({ resumed: true, calls: [1, 3, 1] });
  assert.deepEqual(entries(scene.says()), said.slice(1));
  scene.hears(callAck(2));
  assert.equal(session.callQueue.weight, 0);
});

test("items come within the credit; granting is told (CALL-7, CALL-28)", () => {
  const scene = opened();
  const { session } = scene;
  const id = session.request("count", "", null, 10);
  scene.says();
  assert.deepEqual(scene.hears(calls(1, [s.ITEM, id, "xxxx"])), [
    { type: "item", id, payload: "xxxx" },
  ]);
  session.grant(id, 20);
  session.grant(id, 15); // less than before
  assert.deepEqual(entries(scene.says()), [[s.CREDIT, id, 20]]);
  scene.hears(calls(2, [s.ITEM, id, "xxxx"]));
  scene.hears(calls(3, [s.ITEM, id, "x"]));
  assert.equal(session.ended.code, 4422);
});

test("credits wait for acks: a peer that acks nothing cannot make them grow", () => {
  const scene = opened();
  const { session } = scene;
  const ids = Array.from({ length: 100 }, () => session.request("count", "", null, 10));
  scene.says();
  for (const id of ids) session.grant(id, 100);
  for (const id of ids) session.grant(id, 200);
  assert.equal(entries(scene.says()).length, 64);
  scene.hears(callAck(100 + 64));
  const rest = entries(scene.says());
  assert.equal(rest.length, 64);
  assert.ok(rest.every(([, , total]) => total === 200), "the newest total");
});

test("a large payload goes in pieces, and comes in pieces (CALL-5, CALL-24)", () => {
  const scene = opened();
  const { session } = scene;
  const text = "é".repeat(5000);
  session.request("big", text);
  const said = entries(scene.says());
  assert.deepEqual(said.map(([type]) => type), [s.PIECE, s.PIECE, s.PIECE, s.REQUEST]);
  assert.deepEqual(said[3], [s.REQUEST, "big", null, 0, null]);
  const pieces = said.slice(0, 3);
  assert.ok(pieces.every(([, data]) => data.length <= 3800));
  // The same pieces come back before an answer.
  const events = scene.hears(calls(1, ...pieces, [s.REPLY, 4, null]));
  assert.deepEqual(events, [{ type: "replied", id: 4, payload: text }]);
});

test("a request in pieces is taken back whole (CALL-8)", () => {
  const scene = opened();
  scene.session.cancel(scene.session.request("big", "x".repeat(9000)));
  assert.deepEqual(entries(scene.says()), [[s.VOID], [s.VOID], [s.VOID], [s.VOID]]);
  assert.equal(scene.session.callQueue.weight, 0);
});

test("pieces that make no payload are malformed (CALL-42); so many are too many (CALL-25)", () => {
  for (const piece of ["91c0", "c0", "ff", "a2"].map((text) => Buffer.from(text, "hex"))) {
    const scene = opened();
    scene.hears(calls(1, [s.PIECE, Uint8Array.from(piece)], [s.REQUEST, "a", null, 0, null]));
    assert.equal(scene.session.ended.code, 4400);
  }
  const none = opened();
  none.hears(calls(1, [s.REQUEST, "a", null, 0, null]));
  assert.equal(none.session.ended.code, 4400);
  const many = opened({ config: { maxMessage: 1000 } });
  many.hears(calls(1, [s.PIECE, new Uint8Array(600)], [s.PIECE, new Uint8Array(407)]));
  assert.equal(many.session.ended.code, 4422);
});

test("a call in pieces that stands still costs a link, and then the session (CALL-46)", () => {
  const scene = opened({ config: { partTimeout: 5000 } });
  scene.hears(calls(1, [s.PIECE, new Uint8Array(10)]));
  assert.deepEqual(types(scene.wait(4999)), []);
  assert.deepEqual(types(scene.wait(1)), ["detached"]);
  scene.open({ resumed: true, calls: [0, 1, 1] });
  assert.deepEqual(types(scene.wait(5000)), ["ended"]);
  assert.equal(scene.session.ended.code, 4422);
});

test("items and handlers wait where much is not received yet (CALL-29, CALL-45)", () => {
  const scene = opened({ config: { outboxBytes: 1000 } });
  const { session } = scene;
  scene.hears(calls(1, [s.REQUEST, "a", null, 5000, ""]));
  assert.equal(session.crowded, false);
  session.item(1, "x".repeat(1200));
  assert.equal(session.crowded, true);
  scene.says();
  assert.deepEqual(scene.hears(callAck(1)), [{ type: "eased" }]);
  assert.equal(session.crowded, false);
});

test("acks of calls ride, or come within 25 ms, or at 256 (CALL-17)", () => {
  const scene = opened();
  scene.hears(calls(1, [s.VOID]));
  assert.deepEqual(scene.says(), []);
  scene.now += 25;
  scene.session.tick(scene.now);
  assert.deepEqual(scene.says(), [callAck(1)]);
  scene.hears(calls(2, ...Array(256).fill([s.VOID])));
  assert.deepEqual(scene.says(), [callAck(257)]);
  scene.hears(calls(258, [s.VOID]));
  scene.session.send("rides");
  assert.deepEqual(scene.says()[0], callAck(258));
});

test("Finish waits for answers that are owed (CALL-10)", () => {
  const scene = opened();
  const { session } = scene;
  scene.hears(calls(1, [s.REQUEST, "a", null, 0, ""]));
  session.finish(scene.now);
  assert.deepEqual(scene.says().filter(([type]) => type === s.FINISH), []);
  session.reply(1, "answer");
  assert.deepEqual(scene.says().map(([type]) => type), [s.CALL_ACK, s.CALLS, s.FINISH]);
  assert.equal(session.hasRequestRoom, false);
});

test("what the peer had not received when it stopped never runs (CALL-37, CALL-39)", () => {
  const scene = opened();
  const { session } = scene;
  session.request("a", "");
  session.request("b", "");
  scene.says();
  scene.hears(callAck(1), [s.STOP, [0, 0, 0, true, []]]);
  assert.equal(session.wasTaken(1), true);
  assert.equal(session.wasTaken(2), false);
  assert.deepEqual(types(scene.hears(calls(1, [s.REPLY, 1, ""]))), ["replied"]);
});

test("a peer that says no position takes no calls (CALL-20, CALL-41)", () => {
  const scene = opened({ greeting: { calls: null } });
  assert.equal(scene.session.hasRequestRoom, false);
  scene.hears(calls(1, [s.VOID]));
  assert.equal(scene.session.ended.code, 4422);
});

test("a large envelope of calls leaves room for messages, in turns", () => {
  const scene = opened({ config: { maxFrame: 4096 } });
  for (let i = 0; i < 40; i++) {
    scene.session.request("a", "x".repeat(200));
    scene.session.send("y".repeat(200));
  }
  const envelopes = scene.envelopes();
  const both = envelopes.filter((frames) => frames.length === 2);
  assert.ok(both.length >= envelopes.length - 3, "most have both");
});
