// The golden vectors of tests/vectors: this side plays the initiator in every conversation.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { decode, encode } from "../dist/protocol/codec.js";
import { configure } from "../dist/protocol/config.js";
import { Violation } from "../dist/protocol/errors.js";
import { Packed } from "../dist/protocol/frames.js";
import { weightOf } from "../dist/protocol/payload.js";
import { Session } from "../dist/protocol/session.js";
import { DirectedStore, WALL } from "./world/directedStore.js";

const load = (name) =>
  JSON.parse(readFileSync(new URL(`../../tests/vectors/${name}.json`, import.meta.url), "utf8"));
const bytes = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));
const hex = (data) => Buffer.from(data).toString("hex");

/** Frames and entries begin with a letter in JSON, and with its number on the wire. */
function fromJson(value) {
  if (Array.isArray(value)) return value.map(fromJson);
  if (value === null || typeof value !== "object") return value;
  return "ext" in value ? new Packed(bytes(value.hex)) : bytes(value.hex);
}

function toJson(value) {
  if (Array.isArray(value)) return value.map(toJson);
  if (value instanceof Packed) return { ext: 1, hex: hex(value.data) };
  return value instanceof Uint8Array ? { hex: hex(value) } : value;
}

const LETTER = (type) => String.fromCharCode(type);

function frameToJson([type, ...fields]) {
  if (LETTER(type) === "C") {
    const [first, entries] = fields;
    return ["C", first, entries.map(([kind, ...rest]) => [LETTER(kind), ...toJson(rest)])];
  }
  return [LETTER(type), ...toJson(fields)];
}

function frameFromJson([letter, ...fields]) {
  const type = letter.charCodeAt(0);
  if (letter !== "C") return [type, ...fromJson(fields)];
  const [first, entries] = fields;
  return [type, first, entries.map(([kind, ...rest]) => [kind.charCodeAt(0), ...fromJson(rest)])];
}

/** What later versions may have added is ignored, and what may be left out is put in (FRAME-6). */
function known([letter, ...fields]) {
  if (letter === "H") return ["H"]; // only an acceptor looks into it
  if (letter === "X") return ["X", ...fields.slice(0, 4)];
  if (letter !== "W") return [letter, ...fields];
  const [version, resumed, incarnation, position, limits, calls = null, codec] = fields;
  return [
    "W",
    version,
    resumed,
    incarnation,
    position,
    limits.slice(0, 7),
    calls && calls.slice(0, 3),
    Array.isArray(codec) ? codec[0] : typeof codec === "string" ? codec : null,
  ];
}

for (const { name, hex: data, frames, canonical } of load("good")) {
  test(`good: ${name}`, () => {
    assert.deepEqual(decode(bytes(data), 1 << 20).map(frameToJson).map(known), frames.map(known));
    if (canonical !== false) assert.equal(hex(encode(frames.map(frameFromJson))), data);
  });
}

for (const { name, hex: data, code, max_frame: maxFrame = 1 << 20 } of load("bad")) {
  if (name.startsWith("Hello: ")) continue; // see below
  test(`bad: ${name}`, () => {
    assert.throws(
      () => decode(bytes(data), maxFrame),
      (error) => error instanceof Violation && error.code === code,
    );
  });
}

for (const { payload, weight } of load("weights")) {
  test(`weight of ${JSON.stringify(payload).slice(0, 40)} (WINDOW-2)`, () => {
    assert.equal(weightOf(fromJson(payload)), weight);
  });
}

// ------------------------------------------------------------------ conversations

/** Packs nothing: a value is its packed bytes. */
const RAW = {
  name: "msgpack",
  encode: (value) => value.data,
  decode: (data) => new Packed(data),
};

/** What was said, in a form that does not depend on how frames share envelopes. */
function flatten(frames) {
  return frames.flatMap((frame) => {
    const [letter, ...fields] = frame;
    if (letter === "M") return fields[1].map((payload, i) => ["M", fields[0] + i, payload]);
    if (letter === "C") return fields[1].map((entry, i) => ["C", fields[0] + i, entry]);
    if (letter === "X") return [["X", fields[0], fields[2], fields[3]]]; // words are free
    return [frame];
  });
}

class Player {
  constructor(config, hello, hasStore) {
    this.now = 1000;
    this.said = [];
    this.acks = null;
    const changes = Object.entries(config).map(([name, value]) => [
      name.replace(/_(.)/g, (_, letter) => letter.toUpperCase()),
      value,
    ]);
    this.session = new Session({
      id: hello ? bytes(hello[3].hex) : new Uint8Array(16),
      key: hello ? bytes(hello[4].hex) : new Uint8Array(32),
      now: this.now,
      config: (this.config = configure({
        ...Object.fromEntries(changes),
        storedTtl: 120_000, // as these conversations say; by default a store announces a longer one
      })),
      codec: RAW,
    });
    if (hasStore) {
      this.store = new DirectedStore();
      this.session.keepInStore();
    }
  }

  /** Hear the next envelope of this side. */
  pull() {
    this.store?.give(this.session, this.now);
    const data = this.link?.transmit(this.now);
    this.store?.give(this.session, this.now);
    if (data) this.said.push(...flatten(toFrames(data)));
  }

  /** While a store waits, everything was said that may be said without it. */
  mustBeSilent() {
    if (this.store.does !== "wait") return;
    this.pull();
    assert.deepEqual(this.said, [], "says what is not kept");
  }

  restart() {
    this.mustBeSilent();
    const stored = this.store.restart();
    this.session = stored.revive(this.now, WALL + this.now, this.config, RAW);
    this.said = [];
    this.link = null;
  }

  /** Hand over messages, and compare them with what the conversation says of them. */
  gets(step, verb) {
    const got = [];
    for (let i = 0; i < step.count; i++) {
      const payload = verb();
      assert.notEqual(payload, undefined, "nothing is here");
      const { handedUpto, redeliveredUpto } = this.session;
      got.push([toJson(payload), handedUpto <= redeliveredUpto]);
    }
    if (step.gets) assert.deepEqual(got, step.gets);
  }

  act(step) {
    const { session, now } = this;
    const payload = step.payload === undefined ? undefined : fromJson(step.payload);
    switch (step.do) {
      case "send":
        return session.send(payload);
      case "want":
        return session.want(step.number);
      case "take":
        return this.gets(step, () => session.take());
      case "hand over":
        return this.gets(step, () => session.deliver()?.payload);
      case "confirm":
        return session.confirm(step.number);
      case "finish":
        return session.finish(now, step.code, step.reason);
      case "close":
        return session.close(now, step.code, step.reason);
      case "abort":
        return session.abort(now, step.reason);
      case "request": {
        const by = typeof step.timeout === "number" ? now + step.timeout * 1000 : null;
        return session.request(step.method, payload, by, step.credit ?? 0);
      }
      case "reply":
        return session.reply(step.request, payload);
      case "fault":
        return session.fault(step.request, step.code, step.message);
      case "item":
        return session.item(step.request, payload);
      case "grant":
        return session.grant(step.request, step.total);
      case "cancel":
        return session.cancel(step.request);
      case "leave":
        return session.leave(now, step.reason);
      default:
        throw new Error(`no verb ${step.do}`);
    }
  }

  /** One envelope of ours: its frames go in their order; acks that nobody asked for are free. */
  says(frames) {
    for (const frame of flatten(frames)) {
      for (;;) {
        if (!this.said.length) this.pull();
        const told = this.said[0];
        // An Ack that says no more than the last one need not be said again.
        if (frame[0] === "A" && told?.[0] !== "A" && this.acks) {
          if (frame[1] <= this.acks[1] && frame[2] <= this.acks[2]) break;
        }
        assert.ok(told, `did not say ${JSON.stringify(frame).slice(0, 200)}`);
        this.said.shift();
        if (told[0] === "A") this.acks = told;
        try {
          assert.deepEqual(told, frame);
          break;
        } catch (error) {
          if (told[0] !== "A") throw error;
        }
      }
    }
  }
}

/** The frames of an envelope of ours. An initiator decodes no Hello: its bytes are compared. */
function toFrames(data) {
  if (data[2] === 0x48) return [["H", hex(data)]];
  return decode(data, Infinity).map(frameToJson);
}

function play({ config, steps, outcome, stores }) {
  const hello = steps.find((step) => step.frames?.[0][0] === "H")?.frames[0];
  const player = new Player(config, hello, stores?.includes("initiator"));
  for (const step of steps) {
    if (step.from === "initiator") {
      if (step.frames[0][0] === "H") player.says([["H", step.hex]]);
      else player.says(step.frames);
    } else if (step.from === "acceptor") {
      if (!step.lost) player.session.receive(player.link, bytes(step.hex), player.now);
    } else if (step.do === "dial") {
      player.link = player.session.dial(player.now);
      player.acks = null;
    } else if (step.do === "restart" && step.at === "initiator") {
      player.restart();
    } else if (step.do === "cut" || step.do === "restart") {
      if (player.link) player.session.lost(player.link, null, "", player.now);
      player.said = [];
    } else if (step.do === "store" && step.at === "initiator") {
      player.mustBeSilent();
      player.store.direct(player.session, step.does, player.now);
    } else if (step.do === "wait") {
      player.now += step.seconds * 1000;
      player.session.tick(player.now);
    } else if (step.at === "initiator") {
      player.act(step);
      player.session.poll(player.now);
    }
    player.store?.give(player.session, player.now);
  }
  player.pull();
  const rest = player.said.filter(([letter]) => letter !== "A");
  assert.deepEqual(rest, [], "said more");
  const { session } = player;
  const known = { end: session.ended?.code ?? null };
  for (const kind of ["confirmed", "not taken", "unknown", "pending"]) known[kind] = [];
  if (player.store) known.kept = [];
  for (let n = 1; n <= session.sent; n++) known[session.outcome(n)].push(n);
  assert.deepEqual(known, outcome.initiator);
}

/** The initiator says there what no honest one would say: they test how an acceptor answers. */
const ACCEPTORS = [
  "tombstone: a stale attempt",
  "violation: a gap",
  "violation: a repeat",
  "violation: behind Finish",
  "violation: a Finish out of place",
  "violation: Finish inside a message",
  "violation: a part out of place",
  "violation: parts of different totals",
  "violation: a part of too large a message",
  "violation: parts that are no text",
  "violation: an ack of what was not sent",
  "violation: a Stop of what was not sent",
  "violation: a Want that nothing reaches",
  "violation: a second Hello",
  "violation: Welcome to an acceptor",
  "violation: Done to an acceptor",
  "violation: a gap in the calls",
  "violation: a repeat in the calls",
  "violation: a call behind Finish",
  "violation: an ack of a call that was not sent",
  "violation: a reply to what was never asked",
  "violation: pieces that belong to nothing",
  "violation: pieces that make no payload",
  "violation: a payload of no pieces",
  "violation: more messages than the window",
  "violation: more requests than announced",
  "violation: not Hello",
  "violation: Hello and more",
  "refused: an old copy, while the holder has a link",
  "refused: a stale attempt",
  "refused: another key",
  "refused: another incarnation",
  "refused: no common version",
  "refused: state lost: first",
  "refused: state lost: received",
  "refused: state lost: calls",
  "refused: calls no more",
  "restart: a tombstone that is asked",
];

/** The application keeps a message by itself, without a number: this library does not offer it. */
const NOT_OFFERED = [
  "restart: a message that is kept by itself",
  "restart: a message that is kept without a number",
  "restart: a message that is kept while Finish waits",
];

const CONVERSATIONS = load("conversations");
for (const conversation of CONVERSATIONS) {
  const { name } = conversation;
  if (ACCEPTORS.includes(name) || NOT_OFFERED.includes(name)) continue;
  test(`conversation: ${name}`, () => play(conversation));
}

test("only what an acceptor alone does is passed over", () => {
  // An initiator looks into no Hello: whatever is in it ends the session.
  const hellos = load("bad").filter(({ name }) => name.startsWith("Hello: "));
  assert.equal(hellos.length, 19);
  assert.throws(() => {
    const session = new Session({ id: new Uint8Array(16), key: new Uint8Array(32), now: 0 });
    const link = session.dial(0);
    session.receive(link, bytes(hellos[0].hex), 0);
    throw session.error();
  }, /ProtocolViolation/);
  const forged = CONVERSATIONS.filter(({ steps }) =>
    steps.some((step) => step.from === "initiator" && step.forged),
  );
  assert.deepEqual(forged.map(({ name }) => name), ACCEPTORS);
  const kept = CONVERSATIONS.filter(({ steps }) =>
    steps.some((step) => step.do === "keep" && step.at === "initiator"),
  );
  assert.deepEqual(kept.map(({ name }) => name), NOT_OFFERED);
});
