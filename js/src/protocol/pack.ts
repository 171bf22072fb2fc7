/**
 * msgpack, as far as frames need it: written into one growing buffer, read under tight limits.
 *
 * General packers will not do: they write 5 for both 5 and 5.0, integers from 2^32 on as floats,
 * and drop U+FEFF (FRAME-8).
 */

import { NotSerializable } from "./errors.js";
import { EXT_VALUE, MAX_NUMBER, Packed, type Payload } from "./frames.js";
import { bytesOf, type PayloadCodec } from "./payload.js";
import { decodeText, encoder } from "./utf8.js";

/** Packed values one behind the other, which are the elements of an array. */
export class Slice {
  constructor(
    readonly count: number,
    readonly bytes: Uint8Array,
  ) {}
}

/** Characters up to which ASCII text is copied faster here than by the runtime. */
const SHORT = 40;

const textHeader = (size: number) => (size < 32 ? 1 : size < 0x100 ? 2 : size < 0x10000 ? 3 : 5);

/** A growing buffer with packed values in it. */
export class Writer {
  bytes: Uint8Array;
  /** How many bytes are written. */
  at = 0;

  /** Begin with room for so many bytes. */
  constructor(readonly size: number) {
    this.bytes = new Uint8Array(size);
  }

  /** Forget the first bytes. What a rare large value has made it grow is given back then. */
  drop(count: number, most = Infinity): void {
    this.bytes.copyWithin(0, count, this.at);
    this.at -= count;
    if (!this.at && this.bytes.length > most) this.bytes = new Uint8Array(this.size);
  }

  #reserve(size: number): void {
    if (this.at + size > this.bytes.length) {
      const bytes = new Uint8Array(Math.max(this.at + size, this.bytes.length * 2));
      bytes.set(this.bytes.subarray(0, this.at));
      this.bytes = bytes;
    }
  }

  /** Write a first byte, and a number behind it in so many bytes. */
  #head(first: number, value: number, size: number): void {
    this.#reserve(size + 1);
    this.bytes[this.at] = first;
    for (let i = this.at + size; i > this.at; i--) {
      this.bytes[i] = value; // the lowest byte of it
      value = Math.floor(value / 256);
    }
    this.at += size + 1;
  }

  /** Write the header of something whose length comes in 1, 2 or 4 bytes. */
  #length(first: number, length: number): void {
    if (length < 0x100) this.#head(first, length, 1);
    else if (length < 0x10000) this.#head(first + 1, length, 2);
    else this.#head(first + 2, length, 4);
  }

  /** Write what is packed already. */
  copy(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.bytes.set(bytes, this.at);
    this.at += bytes.length;
  }

  #array(length: number): void {
    if (length < 16) this.#head(0x90 | length, 0, 0);
    else this.#head(0xdc, length, 2);
  }

  /** Write text, and return how many bytes it takes without its header. */
  #text(text: string): number {
    const length = text.length;
    this.#reserve(length * 3 + 5);
    const { bytes } = this;
    const start = this.at;
    const content = start + textHeader(length); // that of text which is not ASCII may be longer
    let size = 0;
    if (length <= SHORT) {
      for (; size < length; size++) {
        const unit = text.charCodeAt(size);
        if (unit > 0x7f) break;
        bytes[content + size] = unit;
      }
    }
    if (size < length) {
      size = encoder.encodeInto(text, bytes.subarray(content)).written;
      if (size > length && !text.isWellFormed()) {
        throw new NotSerializable("a string with a lone surrogate");
      }
    }
    const header = textHeader(size);
    if (size !== length) bytes.copyWithin(start + header, content, content + size);
    if (size < 32) this.#head(0xa0 | size, 0, 0);
    else this.#length(0xd9, size);
    this.at += size;
    return size;
  }

  /** Write bytes, and return how many there are. */
  #binary(data: Uint8Array): number {
    this.#length(0xc4, data.length);
    this.copy(data);
    return data.length;
  }

  /** Write a value of the payload codec (MSG-3), and return how many bytes it takes. */
  #packed(data: Uint8Array): number {
    const size = data.length;
    const fixed = [1, 2, 4, 8, 16].indexOf(size);
    if (fixed >= 0) this.#head(0xd4 + fixed, 0, 0);
    else this.#length(0xc7, size);
    this.#head(EXT_VALUE, 0, 0);
    this.copy(data);
    return size;
  }

  /**
   * Write what travels for an application's value, and return how long its content is.
   *
   * @throws NotSerializable The codec cannot pack it. What is written by then is to be dropped.
   */
  message(value: unknown, codec: PayloadCodec): number {
    if (typeof value === "string") return this.#text(value);
    const bytes = bytesOf(value);
    if (bytes) return this.#binary(bytes);
    try {
      return this.#packed(codec.encode(value));
    } catch (error) {
      throw new NotSerializable((error as Error).message, { cause: error });
    }
  }

  /** Write a frame, an entry or a payload: what the types of this package allow. */
  pack(value: unknown): void {
    if (typeof value === "number") {
      if (value < 0x80) this.#head(value, 0, 0);
      else if (value < 0x100) this.#head(0xcc, value, 1);
      else if (value < 0x10000) this.#head(0xcd, value, 2);
      else if (value < 0x100000000) this.#head(0xce, value, 4);
      else this.#head(0xcf, value, 8);
    } else if (typeof value === "string") this.#text(value);
    else if (value === null) this.#head(0xc0, 0, 0);
    else if (typeof value === "boolean") this.#head(value ? 0xc3 : 0xc2, 0, 0);
    else if (value instanceof Uint8Array) this.#binary(value);
    else if (value instanceof Slice) {
      this.#array(value.count);
      this.copy(value.bytes);
    } else if (value instanceof Packed) this.#packed(value.data);
    else {
      const items = value as readonly unknown[];
      this.#array(items.length);
      for (const item of items) this.pack(item);
    }
  }
}

/** Room for an envelope with several messages, by default. */
const scratch = new Writer(0x11000);

/** Return one value as bytes. */
export function pack(value: unknown): Uint8Array {
  scratch.at = 0; // an earlier one may have thrown
  scratch.pack(value);
  const packed = scratch.bytes.slice(0, scratch.at);
  scratch.drop(scratch.at, 0x200000);
  return packed;
}

// What is being read. Reading is not interrupted, so one place does for all.
let bytes: Uint8Array;
let at: number;
let most: number; // elements that arrays may still have
let depth: number;

/** Most elements of one array (FRAME-2). */
export const MAX_LIST = 4096;

/** Most elements of all arrays together (FRAME-16). */
const MAX_ELEMENTS = 8192;

/** How deep arrays may be nested (FRAME-12). */
const MAX_DEPTH = 16;

/**
 * Read one value, which is all there is. Numbers that no field can have (floats, integers below 0
 * or above 2^53-1) and extensions that no payload can be come out as `undefined`.
 *
 * @param elements How many elements all arrays together may have. `Infinity`, for what we have
 *   packed
 *   ourselves, takes the limit from each array, too.
 * @throws Anything It is no msgpack, or above the limits (FRAME-2, FRAME-16).
 */
export function unpack(data: Uint8Array, elements = MAX_ELEMENTS): unknown {
  bytes = data;
  at = 0;
  depth = 0;
  most = elements;
  const value = read();
  if (at !== data.length) throw new RangeError("not one value");
  return value;
}

/** Read so many payloads that are packed one behind the other. */
export function unpackAll(data: Uint8Array, count: number): Payload[] {
  const payloads: Payload[] = [];
  bytes = data;
  at = 0;
  while (payloads.length < count) payloads.push(read() as Payload);
  return payloads;
}

function read(): unknown {
  const first = bytes[at++]!;
  if (first < 0x80) return first;
  if (first < 0x90) throw new RangeError("a map"); // FRAME-2
  if (first < 0xa0) return array(first & 15);
  if (first < 0xc0) return text(first & 31);
  if (first < 0xc4) {
    if (first === 0xc1) throw new RangeError("no msgpack");
    return first === 0xc0 ? null : first === 0xc3;
  }
  if (first < 0xc7) return slice(uint(1 << (first - 0xc4)));
  if (first < 0xca) return extension(uint(1 << (first - 0xc7)));
  if (first < 0xcc) {
    at += first === 0xca ? 4 : 8; // a float
    return undefined;
  }
  if (first < 0xd0) return number(uint(1 << (first - 0xcc)));
  if (first < 0xd4) {
    const size = 1 << (first - 0xd0);
    const value = uint(size);
    return value < 2 ** (8 * size - 1) ? number(value) : undefined;
  }
  if (first < 0xd9) return extension(1 << (first - 0xd4));
  if (first < 0xdc) return text(uint(1 << (first - 0xd9)));
  if (first < 0xde) return array(uint(first === 0xdc ? 2 : 4));
  if (first >= 0xe0) return undefined; // below 0
  throw new RangeError("a map, or cut off"); // `first` is undefined behind the end
}

const number = (value: number) => (value > MAX_NUMBER ? undefined : value);

function uint(size: number): number {
  let value = 0;
  while (size--) value = value * 256 + bytes[at++]!; // NaN behind the end
  return value;
}

/** Move behind so many bytes, and return where they begin. */
function skip(size: number): number {
  const start = at;
  at += size;
  if (!(at <= bytes.length)) throw new RangeError("cut off");
  return start;
}

/** Copy bytes: what an application gets shall not keep a whole envelope in memory. */
function slice(size: number): Uint8Array {
  return bytes.slice(skip(size), at);
}

function extension(size: number): Packed | undefined {
  const code = bytes[at++];
  const data = slice(size);
  return code === EXT_VALUE ? new Packed(data) : undefined;
}

function text(size: number): string {
  const start = skip(size);
  const ascii = size <= SHORT ? asciiText(start) : null;
  return ascii ?? decodeText(bytes.subarray(start, at));
}

/** Return the text from `start` to `at`; `null`: it is not all ASCII. */
function asciiText(start: number): string | null {
  let text = "";
  let i = start;
  // Eight characters at a time: one at a time takes two to three times as long in every browser.
  for (; i + 8 <= at; i += 8) {
    const a = bytes[i]!;
    const b = bytes[i + 1]!;
    const c = bytes[i + 2]!;
    const d = bytes[i + 3]!;
    const e = bytes[i + 4]!;
    const f = bytes[i + 5]!;
    const g = bytes[i + 6]!;
    const h = bytes[i + 7]!;
    if ((a | b | c | d | e | f | g | h) > 0x7f) return null;
    text += String.fromCharCode(a, b, c, d, e, f, g, h);
  }
  for (; i < at; i++) {
    if (bytes[i]! > 0x7f) return null;
    text += String.fromCharCode(bytes[i]!);
  }
  return text;
}

function array(length: number): unknown[] {
  most -= length;
  const isLong = length > MAX_LIST && most < Infinity;
  if (isLong || !(most >= 0) || depth >= MAX_DEPTH) throw new RangeError("too much");
  depth++;
  const items: unknown[] = [];
  for (let i = 0; i < length; i++) items.push(read());
  depth--;
  return items;
}
