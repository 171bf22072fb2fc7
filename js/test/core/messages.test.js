// Messages out and in: the log, windows, parts, acks.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as s from "./scene.js";
import { Scene, ack, messages, types } from "./scene.js";

const payloads = (frames) => frames.filter(([type]) => type === s.MESSAGES).flatMap((f) => f[2]);

test("text of any length and any character arrives as it went (MSG-2)", () => {
  for (const unit of ["a", "é", "\uffff", "😀", "\ufeff", "a😀"]) {
    const scene = new Scene();
    scene.open();
    const texts = [];
    for (const length of [0, 1, 10, 15, 16, 31, 32, 39, 40, 41, 63, 64, 127, 128, 255, 256, 300]) {
      texts.push(unit.repeat(length), `${"a".repeat(length)}${unit}`);
    }
    texts.push(unit.repeat(30_000), unit.repeat(70_000 / unit.length));
    for (const text of texts) scene.session.send(text);
    assert.deepEqual(payloads(scene.says()), texts);
  }
});

test("bytes and values of any length arrive as they went", () => {
  const codec = { name: "raw", encode: (value) => value.data, decode: (data) => ({ data }) };
  const scene = new Scene({ codec });
  scene.open({ codec: "raw" });
  const sizes = [0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 255, 256, 65_535, 65_536];
  const sent = sizes.flatMap((size) => {
    const data = new Uint8Array(size).fill(size);
    return [data, new s.Packed(data)];
  });
  for (const message of sent) scene.session.send(message);
  assert.deepEqual(payloads(scene.says()), sent);
});

test("what the caller changes later is not sent", () => {
  const scene = new Scene();
  const bytes = Uint8Array.of(1, 2);
  scene.session.send(bytes);
  bytes[0] = 9;
  scene.open();
  assert.deepEqual(payloads(scene.says()), [Uint8Array.of(1, 2)]);
});

test("what cannot be sent throws at the call, and changes nothing", () => {
  const scene = new Scene({ config: { outboxMessages: 2 } });
  const { session } = scene;
  scene.open({ takes: { maxMessage: 1000 } });
  const bad = { NotSerializable: ["a\ud800", { a: 1 }], MessageTooLarge: ["x".repeat(1001)] };
  bad.MessageTooLarge.push(new Uint8Array(1001), "é".repeat(501));
  for (const [name, values] of Object.entries(bad)) {
    for (const value of values) assert.throws(() => session.send(value), { name });
  }
  assert.equal(session.send("a"), 1);
  assert.equal(session.send(new Uint16Array([1]).buffer), 2);
  assert.throws(() => session.send("c"), { name: "OutboxFull" });
  assert.equal(session.hasRoom(), false);
  assert.deepEqual(payloads(scene.says()), ["a", Uint8Array.of(1, 0)]);
  scene.hears(ack(1));
  assert.equal(session.send("c"), 3);
});

test("a message larger than the outbox is accepted alone", () => {
  const scene = new Scene({ config: { outboxBytes: 100 } });
  assert.equal(scene.session.send("x".repeat(500)), 1);
  assert.throws(() => scene.session.send(""), { name: "OutboxFull" });
});

test("the last number is kept for Finish (NUM-3)", () => {
  const scene = new Scene();
  const { outbox } = scene.session;
  outbox.restore(Number.MAX_SAFE_INTEGER - 2, []);
  assert.equal(scene.session.send("last"), Number.MAX_SAFE_INTEGER - 1);
  outbox.acked = outbox.confirmed = outbox.last;
  assert.throws(() => scene.session.send("one too many"), {
    name: "NumbersExhausted",
    message: "the session has used all its sequence numbers: begin another session",
  });
  scene.session.finish(scene.now);
  assert.equal(outbox.finish[1], Number.MAX_SAFE_INTEGER);
});

test("the window is kept, in messages and in bytes (WINDOW-1)", () => {
  const scene = new Scene();
  scene.open({ takes: { windowMessages: 4, windowBytes: 30 } });
  for (const text of ["1", "2", "3", "4", "5", "6", "7", "8"]) scene.session.send(text);
  assert.deepEqual(payloads(scene.says()), ["1", "2", "3", "4"]);
  assert.deepEqual(scene.hears(ack(4, 1)), [{ type: "confirmed", number: 1 }]);
  assert.deepEqual(payloads(scene.says()), ["5"]);
  scene.hears(ack(5, 5));
  assert.deepEqual(payloads(scene.says()), ["6", "7", "8"]);
});

test("a message above the window goes alone (WINDOW-3)", () => {
  const scene = new Scene();
  scene.open({ takes: { windowBytes: 30 } });
  for (const text of ["1", "x".repeat(100), "3"]) scene.session.send(text);
  assert.deepEqual(payloads(scene.says()), ["1"]);
  scene.hears(ack(1));
  assert.deepEqual(payloads(scene.says()), ["x".repeat(100)]);
  scene.hears(ack(2));
  assert.deepEqual(payloads(scene.says()), ["3"]);
});

test("a run goes in one envelope, of at most so many messages and bytes", () => {
  const scene = new Scene({ config: { batchMessages: 3, batchBytes: 1000 } });
  scene.open();
  for (let i = 0; i < 7; i++) scene.session.send("x");
  scene.session.send("y".repeat(600));
  scene.session.send("z".repeat(600));
  const runs = scene.envelopes().map((frames) => payloads(frames).length);
  assert.deepEqual(runs, [3, 3, 2, 1]);
});

test("what was not received is sent again, from any point (RESUME-4)", () => {
  const scene = new Scene({ config: { outboxMessages: 100_000, outboxBytes: 1 << 24 } });
  scene.open();
  const all = Array.from({ length: 3000 }, (_, i) => `${i} ${"é".repeat((i * 7) % 90)}`);
  let confirmed = 0;
  for (const [i, text] of all.entries()) {
    scene.session.send(text);
    if (i % 500 !== 499) continue;
    scene.says();
    confirmed += (i % 377) + 40;
    scene.hears(ack(i + 1, confirmed));
    scene.lost();
    const received = confirmed + 11;
    const position = [[received, confirmed, received, false, []], 0, 1, 0];
    scene.open({ resumed: true, position });
    assert.deepEqual(payloads(scene.says()), all.slice(received, i + 1));
  }
});

test("a message above a frame goes in parts, of 256 KiB at most (PART-1, PART-7)", () => {
  const scene = new Scene();
  scene.open();
  scene.session.send("é".repeat(600_000));
  scene.session.send("behind");
  const said = scene.says();
  const parts = said.slice(0, -1);
  const largest = 256 * 1024;
  const offsets = [0, largest, 2 * largest, 3 * largest, 4 * largest];
  assert.deepEqual(
    parts.map(([, ...fields]) => fields.slice(0, 4)),
    offsets.map((offset) => [1, offset, 1_200_000, s.KIND_TEXT]),
  );
  assert.equal(Buffer.concat(parts.map((part) => part[5])).toString(), "é".repeat(600_000));
  assert.deepEqual(said.at(-1), messages(2, "behind"));
});

test("parts go on where the last link ended (PART-4)", () => {
  const scene = new Scene({ config: { maxFrame: 4096 } });
  scene.open();
  const data = Uint8Array.from({ length: 9000 }, (_, i) => i);
  scene.session.send(data);
  const first = scene.says();
  assert.deepEqual(first.map((f) => f[2]), [0, 3840, 7680]);
  scene.lost();
  scene.open({ resumed: true, position: [[0, 0, 0, false, []], 0, 1, 5000] });
  const rest = scene.says();
  assert.deepEqual(rest.map((f) => f[2]), [5000, 8840]);
  const whole = [first[0][5], first[1][5].slice(0, 5000 - 3840), ...rest.map((f) => f[5])];
  assert.deepEqual(Buffer.concat(whole), Buffer.from(data));
});

test("a peer whose transport refuses frames gets smaller ones, and in the end none (PART-6)", () => {
  const scene = new Scene({ config: { maxFrame: 16_384 } });
  scene.open();
  scene.session.send(new Uint8Array(100_000));
  for (const most of [8192, 4096]) {
    assert.deepEqual(types(scene.lost(1009)), ["detached"]);
    scene.open({ resumed: true });
    assert.equal(scene.says()[0][5].length, most - 256);
  }
  assert.deepEqual(types(scene.lost(1009)), ["ended"]); // PART-14
  assert.deepEqual(scene.session.ended.kind, "lost");
});

test("links that die with nothing through get smaller frames (RESUME-8, RESUME-12)", () => {
  const scene = new Scene();
  scene.open();
  scene.session.send(new Uint8Array(3 << 20));
  const sizes = [];
  for (let i = 0; i < 5; i++) {
    sizes.push(scene.says()[0][5].length);
    scene.lost();
    scene.open({ resumed: true });
  }
  assert.deepEqual(sizes, [262_144, 65_280, 16_128, 3840, 3840]);
  scene.says();
  scene.lost();
  scene.open({ resumed: true, position: [[0, 0, 0, false, []], 0, 1, 3840] });
  assert.equal(scene.says()[0][5].length, 261_888);
});

test("parts become one message, whatever has come before (PART-3, PART-10)", () => {
  const scene = new Scene();
  scene.open();
  const data = new TextEncoder().encode("é".repeat(50_000));
  for (let at = 0; at < data.length; at += 33_333) {
    scene.hears([s.PART, 1, at, data.length, s.KIND_TEXT, data.slice(at, at + 33_333)]);
  }
  assert.equal(scene.session.take(), "é".repeat(50_000));
  scene.hears([s.PART, 2, 0, 1, s.KIND_TEXT, Uint8Array.of(0xff)]);
  assert.equal(scene.session.ended.code, 4400);
});

test("a part that stands still costs the link, not the session (PART-15)", () => {
  const scene = new Scene({ config: { partTimeout: 5000 } });
  scene.open();
  scene.hears([s.PART, 1, 0, 1_000_000, s.KIND_BYTES, new Uint8Array(70_000)]);
  scene.wait(4000);
  scene.hears([s.PART, 1, 70_000, 1_000_000, s.KIND_BYTES, new Uint8Array(10)]);
  const events = scene.wait(1500);
  assert.deepEqual(types(events), ["detached"]);
  assert.equal(events[0].code, 4509);
  assert.equal(scene.dial().position[3], 0, "what was held is dropped");
});

test("how much of a message is here is told with the next Ack (PART-16)", () => {
  const scene = new Scene();
  scene.open();
  scene.hears([s.PART, 1, 0, 1000, s.KIND_BYTES, new Uint8Array(300)]);
  scene.session.send("rides");
  assert.deepEqual(scene.says()[0], [s.PARTIAL, 1, 300]);
});

test("an ack is told when it is due, and else within 25 ms (ACK-3, ACK-4)", () => {
  const scene = new Scene({ config: { windowMessages: 8 } });
  scene.open();
  const take = (count) => {
    for (let i = 0; i < count; i++) scene.session.take();
    return scene.session.poll(scene.now);
  };
  scene.hears(messages(1, "1", "2", "3", "4", "5"));
  take(1);
  assert.deepEqual(scene.says(), []);
  scene.now += 25;
  scene.session.tick(scene.now);
  assert.deepEqual(scene.says(), [ack(5, 1)]);
  take(2); // a quarter of the window
  assert.deepEqual(scene.says(), [ack(5, 3)]);
  scene.hears([s.WANT, 4]); // ACK-5
  take(1);
  assert.deepEqual(scene.says(), [ack(5, 4)]);
  scene.hears([s.FINISH, 6, 1000, ""]);
  take(1);
  assert.deepEqual(scene.says(), [ack(6)]);
});

test("a quarter of the window in bytes is told at once", () => {
  const scene = new Scene({ config: { windowBytes: 4000 } });
  scene.open();
  scene.hears(messages(1, "x".repeat(600)));
  scene.hears(messages(2, "x".repeat(600)));
  scene.session.take();
  scene.session.poll(scene.now);
  assert.deepEqual(scene.says(), []);
  scene.session.take();
  scene.session.poll(scene.now);
  assert.deepEqual(scene.says(), [ack(2)]);
});

test("deliveries are confirmed in any order; ranges say which (COUNT-3)", () => {
  const scene = new Scene();
  scene.open();
  scene.hears(messages(1, "1", "2", "3", "4", "5"));
  for (let i = 0; i < 5; i++) scene.session.deliver();
  assert.equal(scene.session.confirm(3), true);
  assert.equal(scene.session.confirm(3), false);
  scene.session.confirm(4);
  assert.deepEqual(scene.session.inbox.counters(), [5, 0, 5, false, [[3, 4]]]);
  scene.session.confirm(1);
  scene.session.confirm(2);
  assert.deepEqual(scene.session.inbox.counters(), [5, 4, 5, false, []]);
  assert.throws(() => scene.session.confirm(6), RangeError);
  scene.session.close(scene.now);
  assert.throws(() => scene.session.confirm(5), {
    name: "ConfirmTooLate",
    message: /^message 5 cannot be confirmed any more: .* its counters are final$/,
  });
});

test("windows that are overrun end the session (WINDOW-4, WINDOW-7)", () => {
  const many = new Scene({ config: { windowMessages: 2 } });
  many.open();
  many.hears(messages(1, "1", "2", "3"));
  assert.equal(many.session.ended.code, 4422);
  const large = new Scene({ config: { windowBytes: 1000 } });
  large.open();
  large.hears(messages(1, "x".repeat(1500)));
  assert.equal(large.session.ended, null, "what comes while nothing is unconfirmed is fine");
  large.hears(messages(2, "x".repeat(1500)));
  assert.equal(large.session.ended.code, 4422);
});

test("a report says what became of each message (CLOSE-4)", () => {
  const codec = { name: "bad", encode: () => Uint8Array.of(1), decode: () => assert.fail("no") };
  const scene = new Scene({ codec });
  scene.open({ codec: "bad" });
  for (const value of ["1", "2", "3", "4", "5", {}, "7"]) scene.session.send(value);
  scene.says();
  scene.hears(ack(7, 1));
  const events = scene.hears([s.STOP, [7, 1, 4, true, [[3, 3]]]]);
  assert.deepEqual(types(events), ["settled"]);
  const report = scene.session.report();
  assert.deepEqual([report.sent, report.confirmed, report.final], [7, 2, true]);
  assert.deepEqual(report.runs.map(({ first, last, outcome }) => [first, last, outcome]), [
    [2, 2, "unknown"],
    [4, 4, "unknown"],
    [5, 7, "not taken"],
  ]);
  assert.deepEqual(report.undelivered.map(({ message }) => message), [
    "2",
    "4",
    "5",
    Uint8Array.of(1), // what cannot be decoded is shown as its bytes
    "7",
  ]);
  assert.equal(report.count("not taken"), 3);
  assert.match(String(report), /^7 sent, 2 confirmed, 2 unknown, 4 unknown, 5 to 7 not taken$/);
  const one = scene.session.report(3, 3);
  assert.deepEqual([one.sent, one.confirmed], [1, 1]);
  // The end is seen in the order of the peer's messages, of which some may come (CLOSE-14).
  assert.equal(scene.session.outcome(scene.session.send("late")), "not taken");
  scene.hears([s.FINISH, 1, 1000, ""]);
  assert.throws(() => scene.session.send("later"), { name: "ConnectionClosed" });
});
