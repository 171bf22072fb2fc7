/**
 * Values that are neither strings nor bytes, as msgpack: the codec of `reliable_ws` in Python.
 *
 * | JavaScript | msgpack | and back |
 * | --- | --- | --- |
 * | `null`, `undefined` | nil | `null` |
 * | integers up to 2^53-1, other numbers | integer, float 64 | number |
 * | `bigint` within 64 bits | integer | number up to 2^53-1, else `bigint` |
 * | string | str | string |
 * | `Uint8Array`, `ArrayBuffer` and its views | bin | `Uint8Array` |
 * | array | array | array |
 * | object, `Map` | map | object if all keys are strings, else `Map` |
 * | `Date` | timestamp | `Date`, in milliseconds |
 *
 * Whatever would not come back is an error: functions, symbols, `Set`s and other objects of the
 * language, invalid `Date`s, strings with a lone surrogate, integers above 64 bits.
 */

import { bytesOf, type PayloadCodec } from "./protocol/payload.js";

export type { PayloadCodec } from "./protocol/payload.js";

/** Bounds of what a peer's value may cost (protocol.md, MSG-6). Both sides need the same. */
export interface MsgpackOptions {
  /** The most items of all arrays and maps of a value together. Default: 100,000. */
  maxItems?: number;
  /** The most bytes of a packed value. Default: 1 MiB. Bytes by themselves have no such limit. */
  maxSize?: number;
}

/** Most levels of arrays and maps in each other; a value that contains itself has more. */
const MAX_DEPTH = 500;

/** The extension code of timestamps. */
const TIMESTAMP = 0xff;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Return a codec with other bounds than `msgpack` has.
 *
 * @throws RangeError A bound is no integer above 0.
 */
export function msgpackCodec({
  maxItems = 100_000,
  maxSize = 1024 * 1024,
}: MsgpackOptions = {}): PayloadCodec {
  for (const [name, value] of Object.entries({ maxItems, maxSize })) {
    if (!(Number.isInteger(value) && value > 0)) {
      throw new RangeError(`${name} must be an integer above 0, not ${value}`);
    }
  }
  return {
    name: "msgpack",
    encode: (value) => new Packer(maxItems, maxSize).pack(value),
    decode: (data) => new Unpacker(data, maxItems, maxSize).unpack(),
  };
}

/** The codec for `connect(url, { codec: msgpack })`. */
export const msgpack: PayloadCodec = msgpackCodec();

class Packer {
  #bytes = new Uint8Array(128);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;
  #items: number;
  readonly #maxSize: number;

  constructor(maxItems: number, maxSize: number) {
    this.#items = maxItems;
    this.#maxSize = maxSize;
  }

  pack(value: unknown): Uint8Array {
    this.#value(value, 0);
    return this.#bytes.slice(0, this.#at);
  }

  /** Make room for so many bytes, and return where they begin. */
  #room(size: number): number {
    const start = this.#at;
    this.#at += size;
    if (this.#at > this.#maxSize) {
      throw new RangeError(`packed it has more than ${this.#maxSize} bytes (maxSize)`);
    }
    if (this.#at > this.#bytes.length) {
      const bytes = new Uint8Array(Math.max(this.#at, this.#bytes.length * 2));
      bytes.set(this.#bytes);
      this.#bytes = bytes;
      this.#view = new DataView(bytes.buffer);
    }
    return start;
  }

  #byte(value: number): void {
    const at = this.#room(1);
    this.#bytes[at] = value;
  }

  #value(value: unknown, depth: number): void {
    switch (typeof value) {
      case "string":
        return this.#text(value);
      case "number":
        return this.#number(value);
      case "bigint":
        return this.#integer(value);
      case "boolean":
        return this.#byte(value ? 0xc3 : 0xc2);
      case "undefined":
        return this.#byte(0xc0);
      case "object":
        return value === null ? this.#byte(0xc0) : this.#object(value, depth + 1);
      default:
        throw new TypeError(`a ${typeof value} is no value`);
    }
  }

  #number(value: number): void {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) {
      if (value >= 0 && value < 0x80) return this.#byte(value);
      if (value < 0 && value >= -0x20) return this.#byte(value & 0xff);
      if (value >= 0x100000000 || value < -0x80000000) return this.#integer(BigInt(value));
      const size = value >= 0 ? bytesFor(value) : -value <= 0x80 ? 1 : -value <= 0x8000 ? 2 : 4;
      const code = (value >= 0 ? 0xcc : 0xd0) + (size >> 1);
      return this.#head(code, value, size);
    }
    const at = this.#room(9);
    this.#bytes[at] = 0xcb;
    this.#view.setFloat64(at + 1, value);
  }

  /** Write a code, and an integer of so many bytes behind it. */
  #head(code: number, value: number, size: number): void {
    const at = this.#room(1 + size);
    this.#bytes[at] = code;
    if (size === 1) this.#view.setUint8(at + 1, value);
    else if (size === 2) this.#view.setUint16(at + 1, value);
    else this.#view.setUint32(at + 1, value);
  }

  #integer(value: bigint): void {
    if (BigInt.asIntN(33, value) === value && Math.abs(Number(value)) < 0x80000000) {
      return this.#number(Number(value)); // the short forms
    }
    const isNatural = BigInt.asUintN(64, value) === value;
    if (!isNatural && BigInt.asIntN(64, value) !== value) {
      throw new RangeError("an integer above 64 bits");
    }
    const at = this.#room(9);
    this.#bytes[at] = isNatural ? 0xcf : 0xd3;
    this.#view.setBigUint64(at + 1, BigInt.asUintN(64, value));
  }

  /** Write the header of something of so many bytes; `code` is that for a length of 1 byte. */
  #length(code: number, length: number): void {
    const size = bytesFor(length);
    this.#head(code + (size >> 1), length, size);
  }

  #text(text: string): void {
    if (!text.isWellFormed()) throw new TypeError("a string with a lone surrogate");
    const bytes = encoder.encode(text);
    if (bytes.length < 32) this.#byte(0xa0 | bytes.length);
    else this.#length(0xd9, bytes.length);
    this.#copy(bytes);
  }

  #copy(bytes: Uint8Array): void {
    const at = this.#room(bytes.length);
    this.#bytes.set(bytes, at);
  }

  #object(value: object, depth: number): void {
    const bytes = bytesOf(value);
    if (bytes) {
      this.#length(0xc4, bytes.length);
      return this.#copy(bytes);
    }
    if (value instanceof Date) return this.#date(value);
    if (depth > MAX_DEPTH) throw new RangeError(`more than ${MAX_DEPTH} levels`);
    if (Array.isArray(value)) {
      this.#container(0x90, 0xdc, value.length);
      for (const item of value) this.#value(item, depth); // holes, too
      return;
    }
    let entries: [unknown, unknown][];
    if (value instanceof Map) entries = [...value];
    else if (Object.prototype.toString.call(value) === "[object Object]") {
      entries = Object.entries(value);
    } else throw new TypeError(`a ${value.constructor?.name ?? "strange object"} is no value`);
    this.#container(0x80, 0xde, entries.length);
    for (const [key, item] of entries) {
      if (key instanceof Date) throw new TypeError("a Date is no key");
      this.#value(key, depth);
      this.#value(item, depth);
    }
  }

  #container(short: number, code: number, length: number): void {
    this.#items -= length;
    if (this.#items < 0) throw new RangeError("too many items (maxItems)");
    if (length < 16) this.#byte(short | length);
    else if (length < 0x10000) this.#head(code, length, 2);
    else this.#head(code + 1, length, 4);
  }

  #date(date: Date): void {
    const time = date.getTime();
    if (Number.isNaN(time)) throw new TypeError("an invalid Date");
    const seconds = Math.floor(time / 1000);
    const nanoseconds = (time - seconds * 1000) * 1e6;
    const isShort = seconds >= 0 && seconds < 2 ** 34;
    if (isShort && !nanoseconds && seconds < 2 ** 32) {
      this.#head(0xd6, TIMESTAMP, 1);
      this.#view.setUint32(this.#room(4), seconds);
    } else if (isShort) {
      this.#head(0xd7, TIMESTAMP, 1);
      const both = (BigInt(nanoseconds) << 34n) | BigInt(seconds);
      this.#view.setBigUint64(this.#room(8), both);
    } else {
      this.#head(0xc7, 12, 1);
      this.#byte(TIMESTAMP);
      const at = this.#room(12);
      this.#view.setUint32(at, nanoseconds);
      this.#view.setBigInt64(at + 4, BigInt(seconds));
    }
  }
}

const bytesFor = (length: number) => (length < 0x100 ? 1 : length < 0x10000 ? 2 : 4);

class Unpacker {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;
  #items: number;

  constructor(data: Uint8Array, maxItems: number, maxSize: number) {
    if (data.length > maxSize) throw new RangeError(`more than ${maxSize} bytes (maxSize)`);
    this.#bytes = data;
    this.#view = new DataView(data.buffer, data.byteOffset, data.length);
    this.#items = maxItems;
  }

  unpack(): unknown {
    const value = this.#value(0);
    if (this.#at !== this.#bytes.length) throw new RangeError("more than one value");
    return value;
  }

  /** Move behind so many bytes, and return where they begin. */
  #skip(size: number): number {
    const start = this.#at;
    this.#at += size;
    if (this.#at > this.#bytes.length) throw new RangeError("the value is cut off");
    return start;
  }

  #uint(size: number): number {
    const at = this.#skip(size);
    const view = this.#view;
    return size === 1 ? view.getUint8(at) : size === 2 ? view.getUint16(at) : view.getUint32(at);
  }

  #slice(size: number): Uint8Array {
    const at = this.#skip(size);
    return this.#bytes.slice(at, at + size);
  }

  #text(size: number): string {
    const at = this.#skip(size);
    return decoder.decode(this.#bytes.subarray(at, at + size));
  }

  #value(depth: number): unknown {
    const code = this.#uint(1);
    const view = this.#view;
    if (code < 0x80) return code;
    if (code < 0x90) return this.#map(code & 15, depth + 1);
    if (code < 0xa0) return this.#array(code & 15, depth + 1);
    if (code < 0xc0) return this.#text(code & 31);
    if (code >= 0xe0) return code - 0x100;
    switch (code) {
      case 0xc0:
        return null;
      case 0xc2:
      case 0xc3:
        return code === 0xc3;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#slice(this.#uint(1 << (code - 0xc4)));
      case 0xc7:
        return this.#timestamp(this.#uint(1));
      case 0xca:
        return view.getFloat32(this.#skip(4));
      case 0xcb:
        return view.getFloat64(this.#skip(8));
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#uint(1 << (code - 0xcc));
      case 0xcf:
        return small(view.getBigUint64(this.#skip(8)));
      case 0xd0:
        return view.getInt8(this.#skip(1));
      case 0xd1:
        return view.getInt16(this.#skip(2));
      case 0xd2:
        return view.getInt32(this.#skip(4));
      case 0xd3:
        return small(view.getBigInt64(this.#skip(8)));
      case 0xd6:
      case 0xd7:
        return this.#timestamp(code === 0xd6 ? 4 : 8);
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#uint(1 << (code - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#uint(code === 0xdc ? 2 : 4), depth + 1);
      case 0xde:
      case 0xdf:
        return this.#map(this.#uint(code === 0xde ? 2 : 4), depth + 1);
    }
    throw new TypeError(`msgpack's 0x${code.toString(16)} is not carried`);
  }

  /** Count items before they are read: what a header announces costs nothing. */
  #count(items: number, depth: number): void {
    this.#items -= items;
    if (this.#items < 0) throw new RangeError("too many items (maxItems)");
    if (depth > MAX_DEPTH) throw new RangeError(`more than ${MAX_DEPTH} levels`);
  }

  #array(length: number, depth: number): unknown[] {
    this.#count(length, depth);
    const items: unknown[] = [];
    while (items.length < length) items.push(this.#value(depth));
    return items;
  }

  #map(length: number, depth: number): unknown {
    this.#count(length, depth);
    const map = new Map<unknown, unknown>();
    let isObject = true;
    for (let i = 0; i < length; i++) {
      const key = this.#value(depth);
      isObject &&= typeof key === "string";
      map.set(key, this.#value(depth));
    }
    // `__proto__` becomes a property like any other.
    return isObject ? Object.fromEntries(map) : map;
  }

  #timestamp(size: number): Date {
    if (this.#uint(1) !== TIMESTAMP) throw new TypeError("msgpack extensions are not carried");
    const view = this.#view;
    const at = this.#skip(size);
    let seconds: number;
    let nanoseconds = 0;
    if (size === 4) seconds = view.getUint32(at);
    else if (size === 8) {
      const both = view.getBigUint64(at);
      nanoseconds = Number(both >> 34n);
      seconds = Number(both & 0x3ffffffffn);
    } else if (size === 12) {
      nanoseconds = view.getUint32(at);
      seconds = Number(view.getBigInt64(at + 4));
    } else throw new TypeError("a timestamp of a strange size");
    const date = new Date(seconds * 1000 + Math.floor(nanoseconds / 1e6));
    if (Number.isNaN(date.getTime())) throw new RangeError("a timestamp that no Date can be");
    return date;
  }
}

/** Return an integer as a number where that is exact. */
const small = (value: bigint) =>
  BigInt.asIntN(54, value) === value && value > -(2n ** 53n) ? Number(value) : value;
