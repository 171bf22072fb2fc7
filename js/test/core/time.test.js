// Heartbeats, silence, time-outs, and how a session ends.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as s from "./scene.js";
import { NOTHING, Scene, ack, messages, types, welcome } from "./scene.js";


test("a side that has nothing to say repeats its Ack at a third of the idle time (LIVE-6)", () => {
  const scene = new Scene();
  scene.open({ takes: { idle: 9000 } });
  scene.now += 2999;
  scene.session.tick(scene.now);
  assert.deepEqual(scene.says(), []);
  scene.now += 1;
  scene.session.tick(scene.now);
  assert.deepEqual(scene.says(), [ack(0)]);
});

test("a peer cannot ask for heartbeats without pause (LIVE-7)", () => {
  const scene = new Scene();
  scene.open({ takes: { idle: 1 } });
  assert.equal(scene.session.deadline, scene.now + 1000 / 3);
});

test("an envelope is an occasion for the heartbeat, where timers are held back (LIVE-9)", () => {
  const scene = new Scene();
  scene.open({ takes: { idle: 10_000 } });
  scene.now += 2900; // of 3333
  scene.hears(ack(0));
  assert.deepEqual(scene.says(), []);
  scene.now += 200;
  scene.hears(ack(0));
  assert.deepEqual(scene.says(), [ack(0)]);
  scene.hears(ack(0));
  assert.deepEqual(scene.says(), [], "answers are not answered");
});

test("a link on which nothing comes is dropped; the session goes on (LIVE-3)", () => {
  const scene = new Scene();
  scene.open();
  const events = scene.wait(20_000);
  assert.deepEqual(events, [
    { type: "detached", code: 4509, reason: "nothing heard in time", retry: 0 },
  ]);
  assert.equal(scene.link.closeAction.code, 4509);
});

test("a side that was asleep does not blame the peer (LIVE-4)", () => {
  const scene = new Scene();
  scene.open();
  scene.now += 100_000;
  assert.deepEqual(scene.session.tick(scene.now), []);
  assert.deepEqual(types(scene.wait(6000)), []);
  assert.deepEqual(types(scene.wait(1000)), ["detached"]);
});

test("a WebSocket that brings no answer to Hello is dropped (LIVE-5)", () => {
  const scene = new Scene();
  scene.dial();
  assert.deepEqual(types(scene.wait(9999)), []);
  assert.deepEqual(types(scene.wait(1)), ["detached"]);
});

test("three cuts after the same silence teach the time-out of the path (LIVE-8)", () => {
  const scene = new Scene();
  scene.open();
  for (const [silence, learned] of [[6000, 0], [6300, 0], [6100, 1]]) {
    scene.now += silence;
    scene.lost();
    const { limits } = scene.dial();
    assert.equal(limits[5], learned ? 6000 : 20_000);
    scene.hears(welcome({ resumed: true }));
  }
  assert.equal(scene.session.deadline, scene.now + 2000, "it speaks more often");
});

test("a close frame, or a silence as long as any before, teaches nothing (LIVE-8)", () => {
  const scene = new Scene();
  scene.open();
  for (const code of [null, 1001, null, null]) {
    scene.now += 6000;
    scene.lost(code);
    assert.equal(scene.dial().limits[5], 20_000);
    scene.hears(welcome({ resumed: true }));
  }
});

test("no longer idle time than the peer's is announced once that is known (LIVE-10)", () => {
  const scene = new Scene({ config: { idleTimeout: 30_000 } });
  assert.equal(scene.dial().limits[5], 30_000);
  scene.hears(welcome({ takes: { idle: 12_000 } }));
  scene.lost();
  assert.equal(scene.dial().limits[5], 12_000);
});

test("a session that hears nothing for its ttl ends (END-4)", () => {
  const scene = new Scene({ config: { sessionTtl: 50_000 } });
  scene.open();
  scene.lost();
  scene.session.obstacle = { words: "no network", cause: new Error("ENET") };
  assert.deepEqual(types(scene.wait(49_999)), []);
  scene.wait(1);
  const { kind, code, reason } = scene.session.ended;
  assert.deepEqual([kind, code], ["expired", 4410]);
  assert.equal(reason, "no contact with the peer; last attempt: no network");
  const error = scene.session.error();
  assert.deepEqual([error.name, error.cause.message], ["SessionLost", "ENET"]);
});

test("codes of a close forbid another link, or do not (CODE-2)", () => {
  for (const [code, kind] of [[4400, "refused"], [4409, "superseded"], [4499, "refused"]]) {
    const scene = new Scene();
    scene.open();
    assert.deepEqual(types(scene.lost(code)), ["ended"], code);
    assert.equal(scene.session.ended.kind, kind);
  }
  for (const code of [null, 1000, 1001, 1011, 1012, 3999, 4000, 4399, 4500, 4529]) {
    const scene = new Scene();
    scene.open();
    assert.deepEqual(types(scene.lost(code)), ["detached"], code);
  }
});

test("a Refuse that means later says when (REFUSE-4)", () => {
  const scene = new Scene();
  scene.dial();
  const events = scene.hears([s.REFUSE, 4529, "busy", 700, null]);
  assert.deepEqual(events, [{ type: "detached", code: 4529, reason: "busy", retry: 700 }]);
  assert.equal(scene.link.closeAction.code, 1000); // CLOSE-9
});

test("a process that leaves its sessions to others says when to come again (REFUSE-7)", () => {
  const scene = new Scene();
  scene.open();
  const events = scene.hears([s.REFUSE, 4503, "", 2500, null]);
  assert.deepEqual(events, [{ type: "detached", code: 4503, reason: "", retry: 2500 }]);
  scene.open({ resumed: true });
  assert.equal(scene.session.attached, true);
});

test("what answers a Hello and is not the peer that we know is no end (HELLO-8, HELLO-13)", () => {
  const strange = new Scene();
  strange.dial();
  strange.session.receive(strange.link, "<html>", strange.now);
  assert.equal(strange.session.ended.code, 4400);
  assert.deepEqual(strange.says(), [], "nothing is said to it");
  const scene = new Scene();
  scene.open();
  scene.lost();
  const contact = scene.session.peerDeadline;
  scene.now += 1000;
  scene.dial();
  assert.deepEqual(types(scene.session.receive(scene.link, "<html>", scene.now)), ["detached"]);
  assert.equal(scene.session.peerDeadline, contact, "it is no contact");
});

test("a late end of an old WebSocket has no effect (LINK-4, RESUME-10)", () => {
  const scene = new Scene();
  scene.open();
  const old = scene.link;
  scene.open({ resumed: true });
  assert.equal(old.phase, "over");
  assert.equal(old.transmit(scene.now), null, "it says nothing");
  assert.deepEqual(scene.session.lost(old, 4499, "", scene.now), []);
  assert.equal(scene.session.attached, true);
});

test("another incarnation, codec or version at Welcome ends the session (HELLO-15)", () => {
  const scene = new Scene();
  scene.open();
  scene.lost();
  scene.open({ resumed: true, incarnation: 43 });
  assert.equal(scene.session.ended.code, 4422);
  assert.equal(scene.says()[0][1], 4422, "and is told"); // END-5
  const codec = new Scene();
  codec.open({ codec: "cbor" });
  assert.deepEqual(
    [codec.session.ended.code, codec.session.ended.reason],
    [4415, "payload codecs differ: initiator msgpack, acceptor cbor"],
  );
  const version = new Scene();
  version.dial();
  const greeting = welcome();
  greeting[1] = 2;
  version.hears(greeting);
  assert.equal(version.session.ended.code, 4426);
});

test("a codec needs a name that can be said (HELLO-18)", () => {
  const codec = { name: "not one", encode: () => {}, decode: () => {} };
  assert.throws(() => new Scene({ codec }), TypeError);
});

// ------------------------------------------------------------------ close

test("close stops, finishes, and ends with Done (CLOSE-2, CLOSE-8)", () => {
  const scene = new Scene();
  scene.open();
  scene.hears(messages(1, "unread"));
  scene.session.send("last");
  scene.session.close(scene.now, 1000, "bye");
  const said = scene.says();
  assert.deepEqual(said, [
    [s.STOP, [1, 0, 0, true, []]],
    messages(1, "last"),
    [s.FINISH, 2, 1000, "bye"],
  ]);
  scene.hears(ack(2));
  assert.equal(scene.session.ended, null, "until it hears Done");
  assert.equal(scene.session.done, true);
  const events = scene.hears([s.DONE, [2, 2, 1, false, []]]);
  const ending = { kind: "finished", code: 1000, reason: "bye" };
  assert.deepEqual(events.at(-1), { type: "ended", ending });
  assert.equal(scene.link.closeAction.code, 1000);
});

test("a close that makes no progress is given up (CLOSE-10)", () => {
  const scene = new Scene();
  scene.open();
  scene.session.send("never confirmed");
  scene.says();
  scene.session.close(scene.now);
  for (let i = 0; i < 9; i++) {
    scene.now += 5000;
    scene.session.tick(scene.now);
    if (i < 5) assert.equal(scene.session.ended, null);
    if (!scene.session.ended) scene.hears(ack(0)); // a heartbeat is no progress
  }
  assert.equal(scene.session.ended.reason, "no progress while closing");
});

test("a close that waits for an answer only is given up sooner (CLOSE-25)", () => {
  const scene = new Scene();
  scene.open();
  scene.session.close(scene.now);
  scene.says();
  assert.deepEqual(types(scene.wait(9999)), []);
  assert.deepEqual(types(scene.wait(1)), ["ended"]);
});

test("a close of a transfer that moves goes on, up to a limit of the caller (CLOSE-24)", () => {
  const scene = new Scene({ config: { closeTimeout: 60_000 } });
  scene.open();
  scene.session.send(new Uint8Array(3 << 20));
  scene.says();
  scene.session.close(scene.now, 1000, "", 400_000);
  for (let held = 1; !scene.session.ended; held++) {
    scene.hears([s.PARTIAL, 1, held]);
    scene.now += 10_000;
    scene.session.tick(scene.now);
  }
  assert.equal(scene.now, 401_000);
  assert.equal(scene.session.ended.reason, "close() took too long");
});

test("an abort is said at once, with final counters (END-2)", () => {
  const scene = new Scene();
  scene.open();
  scene.hears(messages(1, "a", "b"));
  scene.session.take();
  assert.throws(() => scene.session.abort(scene.now, "", 999), RangeError);
  scene.session.abort(scene.now, "é".repeat(100));
  const [[type, code, reason, retry, counters]] = scene.says();
  assert.deepEqual([type, code, retry], [s.REFUSE, 4499, 0]);
  assert.deepEqual(counters, [2, 1, 1, true, []]);
  assert.equal(reason, "é".repeat(61), "as much as fits");
});

test("frames behind the one that ended a session are not looked at (LINK-5)", () => {
  const scene = new Scene();
  scene.open();
  const events = scene.hears([s.REFUSE, 4499, "", 0, [0, 0, 0, true, []]], messages(9, "x"));
  assert.deepEqual(types(events), ["settled", "ended"]);
  assert.equal(scene.session.ended.kind, "refused");
});

test("what an acceptor has lost ends the session (RESUME-3)", () => {
  const lost = [
    [[[2, 2, 2, false, []], 0, 1, 0], [0, 0, 1]], // received above what was sent
    [[[0, 0, 0, false, []], 0, 3, 0], [0, 0, 1]], // first
    [NOTHING, null], // calls
    [NOTHING, [0, 0, 2]],
  ];
  for (const [position, calls] of lost) {
    const scene = new Scene();
    scene.open();
    scene.session.send("1");
    scene.says();
    scene.lost();
    scene.open({ resumed: true, position, calls });
    assert.equal(scene.session.ended?.code, 4422, JSON.stringify(position));
  }
});

test("an Ack that goes backwards is ignored (ACK-6)", () => {
  const scene = new Scene();
  scene.open();
  for (const text of ["1", "2", "3"]) scene.session.send(text);
  scene.says();
  scene.hears(ack(3, 2));
  assert.deepEqual(scene.hears(ack(2, 1)), []);
  assert.equal(scene.session.confirmedUpto, 2);
});
