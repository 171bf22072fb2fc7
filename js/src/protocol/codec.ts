/**
 * Frames to bytes and back (protocol.md, section 3).
 *
 * Decoding is the one door for a peer's bytes: whatever comes in becomes frames whose every field
 * has the right type and range, or a `Violation`. Nothing else escapes (FRAME-5). Every msgpack
 * encoding of a value is read (FRAME-15).
 */

import { entry } from "./calls/codec.js";
import { MIN_FRAME, MIN_MESSAGE } from "./config.js";
import { Violation, violation } from "./errors.js";
import {
  type Check,
  code,
  fields,
  flag,
  grown,
  integer,
  list,
  natural,
  octets,
  orNull,
  payload,
  positive,
  reason,
} from "./fields.js";
import {
  ACK,
  CALLS,
  CALL_ACK,
  CODE,
  CRITICAL,
  type Counters,
  DONE,
  FINISH,
  type Frame,
  HELLO,
  MESSAGES,
  PART,
  PARTIAL,
  REFUSE,
  STOP,
  WANT,
  WELCOME,
} from "./frames.js";
import { pack, unpack } from "./pack.js";

/** Most ranges in one set of counters (COUNT-6). */
export const MAX_RANGES = 64;

/** Longest name of a payload codec, in characters (HELLO-18). */
export const CODEC_NAME = /^[!-~]{1,32}$/;

/** Return one WebSocket message that carries these frames (FRAME-1). */
export const encode = (frames: readonly unknown[]): Uint8Array => pack(frames);

const pair = fields(natural, natural);
const fiveFields = fields(natural, natural, natural, flag, list(pair, 0, MAX_RANGES));

const counters: Check = (value) => {
  if (!fiveFields(value)) return false;
  const [received, confirmed, handed, stopped, ranges] = value as Counters;
  let low = confirmed + 2; // confirmed + 1 would belong to the confirmed run (COUNT-3)
  for (const [first, last] of ranges) {
    if (!(low <= first && first <= last && last <= received)) return false;
    low = last + 2;
  }
  return confirmed <= received && (handed <= received || stopped); // COUNT-2
};

const position = fields(counters, natural, positive, natural);
const limits = grown(
  positive,
  positive,
  integer(MIN_FRAME), // there would be no room for content (LIMIT-1)
  integer(MIN_MESSAGE),
  positive,
  positive,
  positive,
);
const calls = grown(natural, natural, positive);
const codecName: Check = (value) => typeof value === "string" && CODEC_NAME.test(value);

/** The fields of each frame that an acceptor may say, its type included (FRAME-3, FRAME-4). */
const FRAMES: { [type: number]: Check } = {
  [ACK]: fields(natural, natural, natural),
  [CALLS]: fields(natural, positive, list(entry)),
  [CALL_ACK]: fields(natural, natural),
  [DONE]: fields(natural, counters),
  [FINISH]: fields(natural, positive, code, reason),
  [HELLO]: () => true, // it comes at no time: not looked at
  [MESSAGES]: fields(natural, positive, list(payload)),
  [PART]: fields(natural, positive, natural, positive, integer(0, 2), octets),
  [PARTIAL]: fields(natural, positive, positive),
  [REFUSE]: grown(natural, code, reason, natural, orNull(counters)),
  [STOP]: fields(natural, counters),
  [WANT]: fields(natural, positive),
  [WELCOME]: grown(natural, positive, flag, positive, position, limits),
};

/** What depends on more than one field. */
function agrees(frame: any[]): boolean {
  switch (frame[0]) {
    case ACK: // confirmed is at most received
      return frame[2] <= frame[1];
    case PART: // PART-9
      return frame[2] + frame[5].length <= frame[3];
    case STOP: // its counters are frozen
      return frame[1][3];
    case WELCOME: {
      // Fields that came later than the frame: absent means that there are no calls (CALL-20), and
      // that the codec is msgpack. Whatever else is in the place of the codec is ignored
      // (HELLO-18).
      if (frame.length > 6 && !orNull(calls)(frame[6])) return false;
      const codec = Array.isArray(frame[7]) ? frame[7] : null;
      frame.length = 8;
      frame[6] ??= null;
      frame[7] = codec && codec[0];
      return !codec || codecName(frame[7]);
    }
  }
  return true;
}

/**
 * Return the frames of one WebSocket message, every field checked.
 *
 * Frames of an unknown type without the critical bit are left out (FRAME-13).
 *
 * @throws Violation The peer broke a rule. Then no frame has had an effect (FRAME-14).
 */
export function decode(data: Uint8Array | string, maxFrame: number): Frame[] {
  // The WebSocket message as a whole: binary, not too large, msgpack, an array.
  if (typeof data === "string") throw malformed("a text message; frames are binary");
  if (data.length > maxFrame) {
    throw violation("a frame above the announced limit"); // FRAME-10
  }
  let items: unknown;
  try {
    items = unpack(data);
  } catch {
    throw malformed("not msgpack within limits");
  }
  if (!Array.isArray(items) || !items.length) throw malformed("not an array of frames");
  // Each frame by its type.
  const frames: Frame[] = [];
  for (const item of items) {
    const type = Array.isArray(item) ? item[0] : null;
    if (typeof type !== "number" || type > 0x7f) throw malformed("a frame without a type");
    const check = FRAMES[type];
    if (check) {
      if (!check(item) || !agrees(item)) {
        throw malformed(`bad frame ${String.fromCharCode(type)}`);
      }
      frames.push(item);
    } else if (type & CRITICAL) throw malformed(`unknown frame type ${type}`);
  }
  return frames;
}

const malformed = (why: string) => new Violation(CODE.MALFORMED, why);
