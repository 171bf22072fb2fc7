// One side of a session, and words that a test puts into the mouth of the other.
import assert from "node:assert/strict";
import { decode, encode } from "../../dist/protocol/codec.js";
import { configure } from "../../dist/protocol/config.js";
import * as frames from "../../dist/protocol/frames.js";
import { Session } from "../../dist/protocol/session.js";

export * from "../../dist/protocol/frames.js";

/** What the acceptor says of its limits, with some values changed. */
export function limits(changes = {}) {
  const values = {
    windowMessages: 32_768,
    windowBytes: 4 << 20,
    maxFrame: 1 << 20,
    maxMessage: 64 << 20,
    maxRequests: 1024,
    idle: 20_000,
    ttl: 120_000,
    ...changes,
  };
  return Object.values(values);
}

export const NOTHING = [[0, 0, 0, false, []], 0, 1, 0];

/** The acceptor's greeting: where it stands, what it takes. */
export const welcome = ({
  resumed = false,
  incarnation = 42,
  position = NOTHING,
  takes = {},
  calls = [0, 0, 1],
  codec,
} = {}) => [
  frames.WELCOME,
  1,
  resumed,
  incarnation,
  position,
  limits(takes),
  calls,
  ...(codec ? [[codec]] : []),
];

export const messages = (first, ...payloads) => [frames.MESSAGES, first, payloads];
export const ack = (received, confirmed = received) => [frames.ACK, received, confirmed];

export class Scene {
  now = 1000;
  link = null;

  constructor({ config = {}, codec, stored, session } = {}) {
    this.session =
      session ??
      new Session({
        id: new Uint8Array(16),
        key: new Uint8Array(32),
        now: this.now,
        config: configure(config),
        ...(codec && { codec }),
      });
    if (stored) this.session.keepInStore();
  }

  /** Open a WebSocket, and let the acceptor greet on it. */
  open(greeting = {}) {
    this.dial();
    return this.hears(welcome(greeting));
  }

  /** Open a WebSocket, and say Hello; return its fields. */
  dial() {
    this.link = this.session.dial(this.now);
    const hello = this.link.transmit(this.now);
    return hello && helloFields(hello);
  }

  /** An envelope comes with these frames. */
  hears(...said) {
    return this.session.receive(this.link, encode(said), this.now);
  }

  /** What this side says now: the frames of each envelope. */
  envelopes() {
    const all = [];
    for (let data; (data = this.link.transmit(this.now)); ) all.push(decode(data, Infinity));
    return all;
  }

  /** What this side says now, one frame behind the other. */
  says() {
    return this.envelopes().flat();
  }

  lost(code = null) {
    return this.session.lost(this.link, code, "", this.now);
  }

  /** Let time pass, with a look at each deadline on the way; return what happened. */
  wait(ms) {
    const end = this.now + ms;
    const events = [];
    for (;;) {
      const due = Math.max(this.now, this.session.deadline);
      if (due > end) break;
      this.now = due;
      events.push(...this.session.tick(this.now));
      if (this.link) this.link.transmit(this.now); // a heartbeat
    }
    this.now = end;
    return events;
  }
}

/** The fields of a Hello by name. */
function helloFields(data) {
  // An initiator does not decode Hello: it passes as another frame that may be skipped or not. So
  // read its fields with the positions of protocol.md, by the reader of payloads.
  const fields = read(data)[0];
  const [, , , id, key, attempt, incarnation, position, takes, calls, codec] = fields;
  return { id, key, attempt, incarnation, position, limits: takes, calls, codec };
}

/** A Hello has integers, bytes, booleans and arrays only. */
function read(data) {
  let at = 0;
  const uint = (size) => {
    let value = 0;
    while (size--) value = value * 256 + data[at++];
    return value;
  };
  const value = () => {
    const first = data[at++];
    if (first < 0x80) return first;
    if (first >= 0x90 && first < 0xa0) return Array.from({ length: first & 15 }, value);
    if (first >= 0xa0 && first < 0xc0) {
      return String.fromCharCode(...data.slice(at, (at += first & 31)));
    }
    if (first === 0xc0) return null;
    if (first === 0xc2 || first === 0xc3) return first === 0xc3;
    if (first === 0xc4) return data.slice(at + 1, (at += 1 + data[at]));
    assert.ok(first >= 0xcc && first <= 0xcf, `unexpected byte ${first}`);
    return uint(1 << (first - 0xcc));
  };
  return value();
}

/** The types of events. */
export const types = (events) => events.map(({ type }) => type);
