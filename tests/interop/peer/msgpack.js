'use strict';
// The part of msgpack that the protocol needs, and what application values need on top of it.

class Ext {
  constructor(code, data) { this.code = code; this.data = data; }
}

// A float on the wire is never an integer to us, not even 5.0, so it keeps its own class.
class Float {
  constructor(value) { this.value = value; }
}

class Malformed extends Error {}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decodeText(bytes) {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new Malformed('text that is not UTF-8');
  }
}

function head(byte, size, value) {
  const out = Buffer.alloc(1 + size);
  out[0] = byte;
  if (size === 8) out.writeBigUInt64BE(BigInt.asUintN(64, BigInt(value)), 1);
  else if (size) out.writeUIntBE(value, 1, size);
  return out;
}

function packInteger(n) {
  if (n >= 0) {
    if (n < 0x80) return Buffer.from([n]);
    if (n < 0x100) return head(0xcc, 1, n);
    if (n < 0x10000) return head(0xcd, 2, n);
    if (n < 0x100000000) return head(0xce, 4, n);
    return head(0xcf, 8, n);
  }
  return n >= -32 ? Buffer.from([n & 0xff]) : head(0xd3, 8, n);
}

// `small` is [byte, limit] of the one-byte form; `sizes` the bytes for 8, 16 and 32 bits.
function packLength(n, small, sizes) {
  if (small && n < small[1]) return Buffer.from([small[0] | n]);
  if (sizes[0] && n < 0x100) return head(sizes[0], 1, n);
  if (n < 0x10000) return head(sizes[1], 2, n);
  return head(sizes[2], 4, n);
}

function packInto(out, value) {
  if (value === null || value === undefined) out.push(Buffer.from([0xc0]));
  else if (typeof value === 'boolean') out.push(Buffer.from([value ? 0xc3 : 0xc2]));
  else if (typeof value === 'bigint') out.push(head(value < 0n ? 0xd3 : 0xcf, 8, value));
  else if (typeof value === 'number' && Number.isSafeInteger(value)) out.push(packInteger(value));
  else if (typeof value === 'number' || value instanceof Float) {
    const b = Buffer.alloc(9);
    b[0] = 0xcb;
    b.writeDoubleBE(value instanceof Float ? value.value : value, 1);
    out.push(b);
  } else if (typeof value === 'string') {
    if (!value.isWellFormed()) throw new TypeError('text with half a surrogate pair');
    const bytes = Buffer.from(value);
    out.push(packLength(bytes.length, [0xa0, 32], [0xd9, 0xda, 0xdb]), bytes);
  } else if (Buffer.isBuffer(value)) {
    out.push(packLength(value.length, null, [0xc4, 0xc5, 0xc6]), value);
  } else if (value instanceof Ext) {
    const fixed = { 1: 0xd4, 2: 0xd5, 4: 0xd6, 8: 0xd7, 16: 0xd8 }[value.data.length];
    out.push(fixed ? Buffer.from([fixed]) : packLength(value.data.length, null, [0xc7, 0xc8, 0xc9]));
    out.push(Buffer.from([value.code & 0xff]), value.data);
  } else if (Array.isArray(value)) {
    out.push(packLength(value.length, [0x90, 16], [0, 0xdc, 0xdd]));
    for (const item of value) packInto(out, item);
  } else {
    const pairs = value instanceof Map ? [...value] : Object.entries(value);
    out.push(packLength(pairs.length, [0x80, 16], [0, 0xde, 0xdf]));
    for (const [k, v] of pairs) { packInto(out, k); packInto(out, v); }
  }
}

function pack(value) {
  const out = [];
  packInto(out, value);
  return out.length === 1 ? out[0] : Buffer.concat(out);
}

class Reader {
  constructor(bytes, { maps, maxArray, maxElements, maxDepth }) {
    this.bytes = bytes;
    this.at = 0;
    this.maps = maps;
    this.maxArray = maxArray;
    this.left = maxElements; // of all arrays together
    this.maxDepth = maxDepth;
  }

  slice(n) {
    if (this.at + n > this.bytes.length) throw new Malformed('cut short');
    this.at += n;
    return this.bytes.subarray(this.at - n, this.at);
  }

  uint(size) { return this.slice(size).readUIntBE(0, size); }

  big(signed) {
    const b = this.slice(8);
    const n = signed ? b.readBigInt64BE() : b.readBigUInt64BE();
    return n >= -9007199254740991n && n <= 9007199254740991n ? Number(n) : n;
  }

  text(n) { return decodeText(this.slice(n)); }

  ext(n) { const code = this.slice(1).readInt8(); return new Ext(code, this.slice(n)); }

  array(n, depth) {
    this.left -= n;
    if (n > this.maxArray || this.left < 0) throw new Malformed('an array too long');
    if (depth >= this.maxDepth) throw new Malformed('nesting too deep');
    const out = [];
    for (let i = 0; i < n; i++) out.push(this.value(depth + 1));
    return out;
  }

  map(n, depth) {
    if (!this.maps) throw new Malformed('a map');
    if (depth >= this.maxDepth) throw new Malformed('nesting too deep');
    const pairs = [];
    for (let i = 0; i < n; i++) pairs.push([this.value(depth + 1), this.value(depth + 1)]);
    return pairs.every(([k]) => typeof k === 'string') ? Object.fromEntries(pairs) : new Map(pairs);
  }

  value(depth = 0) {
    const b = this.uint(1);
    if (b < 0x80) return b;
    if (b < 0x90) return this.map(b & 15, depth);
    if (b < 0xa0) return this.array(b & 15, depth);
    if (b < 0xc0) return this.text(b & 31);
    if (b >= 0xe0) return b - 256;
    switch (b) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.slice(this.uint(1));
      case 0xc5: return this.slice(this.uint(2));
      case 0xc6: return this.slice(this.uint(4));
      case 0xc7: return this.ext(this.uint(1));
      case 0xc8: return this.ext(this.uint(2));
      case 0xc9: return this.ext(this.uint(4));
      case 0xca: return new Float(this.slice(4).readFloatBE());
      case 0xcb: return new Float(this.slice(8).readDoubleBE());
      case 0xcc: return this.uint(1);
      case 0xcd: return this.uint(2);
      case 0xce: return this.uint(4);
      case 0xcf: return this.big(false);
      case 0xd0: return this.slice(1).readInt8();
      case 0xd1: return this.slice(2).readInt16BE();
      case 0xd2: return this.slice(4).readInt32BE();
      case 0xd3: return this.big(true);
      case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return this.ext(1 << (b - 0xd4));
      case 0xd9: return this.text(this.uint(1));
      case 0xda: return this.text(this.uint(2));
      case 0xdb: return this.text(this.uint(4));
      case 0xdc: return this.array(this.uint(2), depth);
      case 0xdd: return this.array(this.uint(4), depth);
      case 0xde: return this.map(this.uint(2), depth);
      case 0xdf: return this.map(this.uint(4), depth);
      default: throw new Malformed('not msgpack');
    }
  }
}

function unpack(bytes, options = { maps: true, maxArray: Infinity, maxElements: Infinity, maxDepth: 64 }) {
  const reader = new Reader(bytes, options);
  const value = reader.value();
  if (reader.at !== bytes.length) throw new Malformed('something behind the value');
  return value;
}

module.exports = { Ext, Float, Malformed, pack, unpack, decodeText };
