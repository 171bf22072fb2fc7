'use strict';
// Envelopes: bytes to frames and back. A frame is the array of the specification with its type as a
// letter: ['A', 3, 3]. Payloads are string, Buffer or Ext of code 1.
const { Ext, Malformed, pack, unpack, decodeText } = require('./msgpack');

class Violation extends Error {
  constructor(code, reason) { super(reason); this.code = code; this.reason = reason; }
}

const MAX = Number.MAX_SAFE_INTEGER;
const KINDS = { bytes: 0, text: 1, value: 2 };

function check(ok, what) { if (!ok) throw new Malformed(what); }
const integer = (v, low = 0, high = MAX) => Number.isSafeInteger(v) && v >= low && v <= high;
const flag = (v) => typeof v === 'boolean';
const bytes = (v, n) => Buffer.isBuffer(v) && (n === undefined || v.length === n);
const reason = (v) => typeof v === 'string' && Buffer.byteLength(v) <= 123;

function checkCounters(c) {
  check(Array.isArray(c) && c.length === 5, 'counters');
  const [received, confirmed, handed, stopped, ranges] = c;
  check(integer(received) && integer(confirmed) && integer(handed) && flag(stopped), 'counters');
  check(confirmed <= received && (stopped || handed <= received), 'counters that cannot be');
  check(Array.isArray(ranges) && ranges.length <= 64, 'ranges');
  let end = confirmed;
  for (const r of ranges) {
    check(Array.isArray(r) && r.length === 2 && integer(r[0]) && integer(r[1]), 'a range');
    check(r[0] >= end + 2 && r[1] >= r[0] && r[1] <= received, 'a range out of place');
    end = r[1];
  }
}

function checkPosition(p) {
  check(Array.isArray(p) && p.length === 4, 'position');
  checkCounters(p[0]);
  check(integer(p[1]) && integer(p[2], 1) && integer(p[3]), 'position');
}

function checkLimits(l) {
  check(Array.isArray(l) && l.length >= 7, 'limits');
  for (const v of l.slice(0, 7)) check(integer(v, 1), 'a limit');
  check(l[2] >= 4096, 'max frame');
  check(l[3] >= 1000, 'max message');
}

function checkPayload(p) {
  check(typeof p === 'string' || Buffer.isBuffer(p) || (p instanceof Ext && p.code === 1), 'payload');
}

// type: [fields, may have more, check]
const FRAMES = {
  H: [9, true, (min, max, id, key, attempt, incarnation, position, limits) => {
    check(integer(min, 1) && integer(max, min), 'versions');
    check(bytes(id, 16) && bytes(key, 32), 'id or key');
    check(integer(attempt, 1) && integer(incarnation), 'attempt or incarnation');
    checkPosition(position);
    checkLimits(limits);
  }],
  W: [6, true, (version, resumed, incarnation, position, limits) => {
    check(integer(version, 1) && flag(resumed) && integer(incarnation, 1), 'Welcome');
    checkPosition(position);
    checkLimits(limits);
  }],
  X: [5, true, (code, why, retry, counters) => {
    check(integer(code, 1000, 4999) && reason(why) && integer(retry), 'Refuse');
    if (counters !== null) checkCounters(counters);
  }],
  M: [3, false, (first, payloads) => {
    check(integer(first, 1) && Array.isArray(payloads) && payloads.length > 0, 'Messages');
    check(first + payloads.length - 1 <= MAX, 'a number too high');
    payloads.forEach(checkPayload);
  }],
  P: [6, false, (number, offset, total, kind, slice) => {
    check(integer(number, 1) && integer(offset) && integer(total, 1), 'Part');
    check(integer(kind, 0, 2) && bytes(slice), 'Part');
    check(slice.length >= 1 && slice.length <= 262144 && offset + slice.length <= total, 'Part');
  }],
  F: [4, false, (number, code, why) => {
    check(integer(number, 1) && integer(code, 1000, 4999) && reason(why), 'Finish');
  }],
  A: [3, false, (received, confirmed) => {
    check(integer(received) && integer(confirmed, 0, received), 'Ack');
  }],
  N: [2, false, (number) => check(integer(number, 1), 'Want')],
  S: [2, false, (counters) => { checkCounters(counters); check(counters[3], 'Stop, not stopped'); }],
  D: [2, false, (counters) => checkCounters(counters)],
};

function checkFrame(raw) {
  check(Array.isArray(raw) && raw.length > 0 && integer(raw[0], 0, 127), 'a frame without a type');
  const letter = String.fromCharCode(raw[0]);
  const known = Object.hasOwn(FRAMES, letter) && FRAMES[letter];
  if (!known) {
    check(!(raw[0] & 0x40), 'an unknown critical frame');
    return null;
  }
  const [fields, open, verify] = known;
  check(open ? raw.length >= fields : raw.length === fields, `${letter}: number of fields`);
  verify(...raw.slice(1, fields));
  const frame = [letter, ...raw.slice(1, fields)];
  if (letter === 'H' || letter === 'W') frame.push(frame.pop().slice(0, 7)); // FRAME-6
  return frame;
}

// All of the envelope or none of it: FRAME-14.
function decode(data, maxFrame) {
  if (data.length > maxFrame) throw new Violation(4422, 'an envelope above max_frame');
  try {
    const raw = unpack(data, { maps: false, maxArray: 4096, maxElements: 8192, maxDepth: 16 });
    check(Array.isArray(raw) && raw.length > 0, 'no frames');
    return raw.map(checkFrame).filter(Boolean);
  } catch (error) {
    if (error instanceof Malformed) throw new Violation(4400, error.message);
    throw error;
  }
}

const encode = (frames) => pack(frames.map(([t, ...fields]) => [t.charCodeAt(0), ...fields]));

// A payload as [kind, content], and back.
function contentOf(payload) {
  if (typeof payload === 'string') {
    if (!payload.isWellFormed()) throw new TypeError('text with half a surrogate pair');
    return [KINDS.text, Buffer.from(payload)];
  }
  return Buffer.isBuffer(payload) ? [KINDS.bytes, payload] : [KINDS.value, payload.data];
}

function payloadOf(kind, content) {
  if (kind === KINDS.bytes) return content;
  if (kind === KINDS.value) return new Ext(1, content);
  try {
    return decodeText(content);
  } catch (error) {
    throw new Violation(4400, error.message);
  }
}

// What an application sends: text, bytes, or any other value packed on its own (MSG-3).
const isPayload = (v) => typeof v === 'string' || Buffer.isBuffer(v) || v instanceof Ext;
const toPayload = (value) => (isPayload(value) ? value : new Ext(1, pack(value)));

function fromPayload(payload) {
  if (!(payload instanceof Ext)) return payload;
  try {
    return unpack(payload.data);
  } catch {
    return payload;
  }
}

const weightOf = (payload) => 6 + (typeof payload === 'string' ? Buffer.byteLength(payload)
  : Buffer.isBuffer(payload) ? payload.length : payload.data.length);

module.exports = {
  Violation, Ext, decode, encode, contentOf, payloadOf, toPayload, fromPayload, weightOf,
};
