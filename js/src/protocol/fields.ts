/** One field of a frame: whether it has the right type and range (FRAME-5, FRAME-8). */

import { MAX_NUMBER, Packed } from "./frames.js";
import { clipped, utf8Length } from "./utf8.js";

/** Says whether a field is good. */
export type Check = (value: unknown) => boolean;

/** Most bytes of a reason, as in a WebSocket close frame (RFC 6455, 5.5.1). */
export const MAX_REASON = 123;

/** An integer in range; a float has become `undefined` while it was read. */
export const integer =
  (low: number, high = MAX_NUMBER): Check =>
  (value) =>
    typeof value === "number" && value >= low && value <= high;

export const natural = integer(0);
export const positive = integer(1);
export const code = integer(1000, 4999);
export const flag: Check = (value) => typeof value === "boolean";

/** Text of at most so many bytes. */
export const text =
  (longest: number): Check =>
  (value) =>
    typeof value === "string" && value.length <= longest && utf8Length(value) <= longest;

export const reason = text(MAX_REASON);

/** Bytes, at least one. */
export const octets: Check = (value) => value instanceof Uint8Array && value.length > 0;

/** Text, bytes, or a packed value under the one extension code (MSG-5). */
export const payload: Check = (value) =>
  typeof value === "string" || value instanceof Uint8Array || value instanceof Packed;

export const orNull =
  (check: Check): Check =>
  (value) =>
    value === null || check(value);

/** At least one of the same kind, or so many. */
export const list =
  (check: Check, least = 1, most = Infinity): Check =>
  (value) =>
    Array.isArray(value) && value.length >= least && value.length <= most && value.every(check);

/** Exactly these fields. */
export const fields =
  (...checks: Check[]): Check =>
  (value) =>
    Array.isArray(value) && value.length === checks.length && checks.every((check, i) =>
      check(value[i]));

/** These fields, where a later version may have more (FRAME-6). */
export const grown =
  (...checks: Check[]): Check =>
  (value) =>
    Array.isArray(value) && value.length >= checks.length && checks.every((check, i) =>
      check(value[i]));

/**
 * Return as much of a reason of ours as may be sent.
 *
 * @throws RangeError The code may not be sent.
 */
export function sayable(status: number, words: string): string {
  if (!Number.isInteger(status) || !code(status)) {
    throw new RangeError(`a code is an integer from 1000 to 4999, not ${status}`);
  }
  return clipped(words, MAX_REASON);
}
