// Values of applications as msgpack: the table of src/msgpack.ts, read back here, by another
// packer, and by Python.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { test } from "node:test";
import * as other from "@msgpack/msgpack";
import { msgpack, msgpackCodec } from "../dist/msgpack.js";

const IN_PLACE = new URL("../../.venv/bin/python", import.meta.url).pathname;
const PYTHON = process.env.PYTHON ?? (existsSync(IN_PLACE) ? IN_PLACE : "python3");

const hex = (data) => Buffer.from(data).toString("hex");
const bytes = (text) => Uint8Array.from(Buffer.from(text, "hex"));

/** A value, what comes back where that is another one, and Python's words for it. */
const TABLE = [
  [null, null, "None"],
  [undefined, null, "None"],
  [true, true, "True"],
  [false, false, "False"],
  ...[0, 1, 127, 128, 255, 256, 65535, 65536, 2 ** 31, 2 ** 32 - 1, 2 ** 32].map(plain),
  ...[2 ** 53 - 1, -1, -32, -33, -128, -129, -32768, -32769, -(2 ** 31), -(2 ** 31) - 1].map(plain),
  [-(2 ** 53) + 1, -(2 ** 53) + 1, "-9007199254740991"],
  [5n, 5, "5"],
  [-5n, -5, "-5"],
  [2n ** 32n, 2 ** 32, "4294967296"],
  [2n ** 53n, 2n ** 53n, "9007199254740992"],
  [2n ** 63n - 1n, 2n ** 63n - 1n, "9223372036854775807"],
  [2n ** 64n - 1n, 2n ** 64n - 1n, "18446744073709551615"],
  [-(2n ** 63n), -(2n ** 63n), "-9223372036854775808"],
  [2.5, 2.5, "2.5"],
  [-0, -0, "-0.0"],
  [Infinity, Infinity, "inf"],
  [NaN, NaN, "nan"],
  [2 ** 53, 2 ** 53, "9007199254740992.0"],
  ["", "", "''"],
  ["\ufeffe\u0301 é😀\0", "\ufeffe\u0301 é😀\0", "'\\ufeffe\\u0301 \\xe9\\U0001f600\\x00'"],
  ["x".repeat(32), "x".repeat(32), `'${"x".repeat(32)}'`],
  ["x".repeat(256), "x".repeat(256), `'${"x".repeat(256)}'`],
  [bytes("00ff"), bytes("00ff"), "b'\\x00\\xff'"],
  [bytes("0102").buffer, bytes("0102"), "b'\\x01\\x02'"],
  [new DataView(bytes("010203").buffer, 1), bytes("0203"), "b'\\x02\\x03'"],
  [[1, [2, []], undefined], [1, [2, []], null], "[1, [2, []], None]"],
  [Array(17).fill(1), Array(17).fill(1), `[${Array(17).fill(1).join(", ")}]`],
  [{ a: 1, b: { c: [] } }, { a: 1, b: { c: [] } }, "{'a': 1, 'b': {'c': []}}"],
  [new Map([["a", 1]]), { a: 1 }, "{'a': 1}"],
  [new Map([[1, "a"], [null, 2]]), new Map([[1, "a"], [null, 2]]), "{1: 'a', None: 2}"],
  [new Map([[bytes("01"), 1]]), new Map([[bytes("01"), 1]]), "{b'\\x01': 1}"],
  [new Map(), {}, "{}"],
  [new Date(0), new Date(0), "Timestamp(seconds=0, nanoseconds=0)"],
  [new Date(1500), new Date(1500), "Timestamp(seconds=1, nanoseconds=500000000)"],
  [new Date(-1), new Date(-1), "Timestamp(seconds=-1, nanoseconds=999000000)"],
  [new Date(2 ** 44), new Date(2 ** 44), "Timestamp(seconds=17592186044, nanoseconds=416000000)"],
];

function plain(number) {
  return [number, number, String(number)];
}

test("each value comes back as the table says (MSG-3)", () => {
  for (const [value, back, words] of TABLE) {
    assert.deepStrictEqual(msgpack.decode(msgpack.encode(value)), back, words);
  }
});

test("Python reads the table", () => {
  const script =
    "import sys, msgpack\n" +
    "for line in sys.stdin:\n" +
    "    print(ascii(msgpack.unpackb(bytes.fromhex(line), strict_map_key=False)))";
  const input = TABLE.map(([value]) => `${hex(msgpack.encode(value))}\n`).join("");
  const { stdout, stderr, status } = spawnSync(PYTHON, ["-c", script], {
    input,
    encoding: "utf8",
  });
  assert.equal(status, 0, stderr);
  assert.deepEqual(stdout.trimEnd().split("\n"), TABLE.map(([, , words]) => words));
});

test("what Python packs is read, also in forms that are not the shortest", () => {
  const table = {
    cf0000000000000005: 5,
    d3ffffffffffffffff: -1,
    ca40200000: 2.5,
    d90161: "a",
    dc000101: [1],
    de0001a16101: { a: 1 },
    d7ff7735940000000001: new Date(1500),
  };
  for (const [data, value] of Object.entries(table)) {
    assert.deepStrictEqual(msgpack.decode(bytes(data)), value, data);
  }
});

test("another packer agrees, as far as it goes", () => {
  const value = { text: "é😀", list: [1, -1, 2.5, null, true, 2 ** 40], when: new Date(1500) };
  assert.deepEqual(other.decode(msgpack.encode(value)), value);
  assert.deepEqual(msgpack.decode(other.encode(value)), value);
});

test("an object with a key __proto__ stays an object with that key", () => {
  const value = JSON.parse('{"__proto__": {"admin": true}}');
  const back = msgpack.decode(msgpack.encode(value));
  assert.deepStrictEqual(Object.entries(back), [["__proto__", { admin: true }]]);
  assert.equal(back.admin, undefined);
});

test("an instance of a class is packed like an object; its methods do not travel", () => {
  class Point {
    x = 1;
    norm() {}
  }
  assert.deepEqual(msgpack.decode(msgpack.encode(new Point())), { x: 1 });
});

test("what would not come back is an error", () => {
  const itself = [];
  itself.push(itself);
  const bad = {
    "a lone surrogate": "a\ud800b",
    "a lone surrogate in a key": { "\udc00": 1 },
    "an invalid Date": new Date(NaN),
    "a Date as a key": new Map([[new Date(), 1]]),
    "a function": () => {},
    "a function inside": { a: [() => {}] },
    "a symbol": Symbol("a"),
    "a Set": new Set([1]),
    "a regular expression": /a/,
    "an Error": new Error("a"),
    "a promise": Promise.resolve(),
    "above 64 bits": 2n ** 64n,
    "below 64 bits": -(2n ** 63n) - 1n,
    "a value that contains itself": itself,
  };
  for (const [words, value] of Object.entries(bad)) {
    assert.throws(() => msgpack.encode(value), undefined, words);
  }
});

test("bytes that are no value are an error", () => {
  const bad = ["", "c1", "92", "9201", "a2ff", "a1ff", "0101", "c70c05", "d40100", "d40000"];
  for (const data of [...bad, "81c001ff", "dd7fffffff", "df7fffffff", "91".repeat(501) + "00"]) {
    assert.throws(() => msgpack.decode(bytes(data)), undefined, data);
  }
});

test("bounds of size, items and depth hold both ways (MSG-6)", () => {
  const small = msgpackCodec({ maxItems: 4, maxSize: 16 });
  const deep = (levels) => (levels ? [deep(levels - 1)] : 1);
  assert.deepEqual(small.decode(small.encode([1, [2, 3]])), [1, [2, 3]]);
  for (const value of [[1, [2, 3, 4]], "x".repeat(20)]) {
    assert.throws(() => small.encode(value), RangeError);
    assert.throws(() => small.decode(msgpack.encode(value)), RangeError);
  }
  assert.deepEqual(msgpack.decode(msgpack.encode(deep(500))), deep(500));
  assert.throws(() => msgpack.encode(deep(501)), RangeError);
  assert.throws(() => msgpackCodec({ maxItems: 0 }), RangeError);
});
