// node peer.js connect URI SCENARIO | serve PORT bad NAME: the built package converses with a
// program in another language. One JSON object per line; the last has "result"; exit code 0 if it
// is "ok". Scenarios: echo, send N, large BYTES, cut K [PARTS], late, stop, calls N, bad NAME (see
// bad.js). PEER_CONFIG in the environment: fields of the Python Config.
import { createHash } from "node:crypto";
import { WebSocket } from "ws";
import { connect, DEFAULTS } from "../../dist/index.js";
import { msgpack } from "../../dist/msgpack.js";
import { decode } from "../../dist/protocol/codec.js";
import { MESSAGES, PART, Packed, STOP } from "../../dist/protocol/frames.js";
import * as bad from "./bad.js";

const say = (object) => process.stdout.write(`${JSON.stringify(object)}\n`);
const sha256 = (data) => createHash("sha256").update(data).digest("hex");

/** Values stay packed, so that what comes is sent back as it came. */
const AS_IT_CAME = {
  name: "msgpack",
  encode: (value) => (value instanceof Packed ? value.data : msgpack.encode(value)),
  decode: (data) => new Packed(data),
};

const encoder = new TextEncoder();

/** What a digest has of a message: its kind, and its content. */
function contentOf(message) {
  if (typeof message === "string") return [1, encoder.encode(message)];
  if (message instanceof Uint8Array) return [0, message];
  return [2, AS_IT_CAME.encode(message)];
}

/** A digest of messages in order: of each its kind, its length (8 bytes) and its content. */
class Digest {
  #hash = createHash("sha256");
  count = 0;

  add(message) {
    const [kind, content] = contentOf(message);
    const head = Buffer.alloc(9);
    head[0] = kind;
    head.writeBigUInt64BE(BigInt(content.length), 1);
    this.#hash.update(head).update(content);
    this.count += 1;
  }

  get hex() {
    return this.#hash.copy().digest("hex");
  }
}

/** The i-th message of `send`: text, bytes, a value. */
function sample(i) {
  if (i % 3 === 1) return `message ${i} é😀`;
  if (i % 3 === 2) return new Uint8Array([0, 255, ...encoder.encode(`bytes ${i}`)]);
  return { n: i, list: [null, true, -i, 2.5], text: "wert" };
}

/** What goes over the WebSockets of the connection, and where they are cut. */
const wire = {
  messages: 0,
  parts: 0,
  envelopes: 0,
  cutAt: { messages: Infinity, parts: Infinity, envelopes: Infinity },
  cuts: 0,
  stop: null,
};

class WatchedWebSocket extends WebSocket {
  #isCut = false;

  /** Nothing comes behind the envelope that is the last one. */
  emit(event, ...values) {
    if (event !== "message") return super.emit(event, ...values);
    if (this.#isCut) return false;
    const isHeard = super.emit(event, ...values);
    this.#count(...values);
    return isHeard;
  }

  #count(data, isBinary) {
    if (!isBinary) return;
    for (const [type, , payloads] of decode(new Uint8Array(data), Infinity)) {
      if (type === MESSAGES) wire.messages += payloads.length;
      if (type === PART) wire.parts += 1;
    }
    wire.envelopes += 1;
    if (Object.entries(wire.cutAt).every(([what, most]) => wire[what] < most)) return;
    this.#isCut = true;
    wire.messages = wire.parts = wire.envelopes = 0;
    wire.cuts += 1;
    this.terminate();
  }

  send(data, ...rest) {
    for (const [type, counters] of decode(data, Infinity)) if (type === STOP) wire.stop = counters;
    super.send(data, ...rest);
  }
}

async function* messages(conn, digest) {
  for await (const message of conn) {
    digest.add(message);
    yield message;
  }
}

async function echo(conn, { digest }) {
  for await (const message of messages(conn, digest)) {
    await conn.room(contentOf(message)[1].length);
    conn.send(message);
  }
  await conn.close();
}

const scenarios = {
  echo,

  async send(conn, { digest }, count) {
    const reading = (async () => {
      for await (const _ of messages(conn, digest));
    })();
    let receipt;
    for (let i = 1; i <= Number(count); i++) {
      await conn.room(contentOf(sample(i))[1].length);
      receipt = conn.send(sample(i));
    }
    await receipt.confirmed.catch(() => {}); // the report says what became of it
    await conn.close().catch(() => {});
    await reading;
  },

  async large(conn, { digest }, size) {
    const data = Uint8Array.from({ length: Number(size) }, (_, i) => (i * 31 + (i >> 8)) & 255);
    const receipt = conn.send(data);
    say({ event: "sending", bytes: data.length, sha256: sha256(data) });
    await receipt.confirmed;
    conn.finish();
    for await (const _ of messages(conn, digest));
    await conn.close();
  },

  /** An echo that loses its links. */
  async cut(conn, report, each, parts = Infinity) {
    wire.cutAt.messages = Number(each);
    wire.cutAt.parts = Number(parts) + 1;
    let next = 1;
    report.inOrder = true;
    for await (const delivery of conn.deliveries()) {
      report.inOrder &&= delivery.number === next++;
      report.digest.add(delivery.value);
      await conn.room(contentOf(delivery.value)[1].length);
      conn.send(delivery.value);
      delivery.confirm();
    }
    await conn.close();
  },

  async late(conn, report) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    await echo(conn, report);
  },

  /** Takes one of at least three. */
  async stop(conn, { digest }) {
    while (wire.messages < 3) await new Promise((resolve) => setTimeout(resolve, 5));
    digest.add(await conn.recv());
    await conn.close({ code: 3001, reason: "enough" });
  },

  /** Asks, reads streams, and answers the other side; loses links meanwhile. */
  async calls(conn, report, count) {
    wire.cutAt.envelopes = 6;
    const sums = [];
    for (let i = 0; i < Number(count); i++) sums.push(conn.request("add", [i, 1]));
    const items = [];
    for await (const item of conn.stream("count", [Number(count)])) items.push(item);
    const failure = await conn.request("fail").catch((error) => error);
    const big = await conn.request("echo", ["é".repeat(50_000)]);
    Object.assign(report, {
      sums: (await Promise.all(sums)).map(unpacked),
      items: items.map(unpacked),
      fault: [failure.code, failure.message],
      big: big.length,
    });
    conn.send("done"); // behind the other side's Finish nobody would wait for answers
    for await (const _ of messages(conn, report.digest));
    await conn.close();
  },
};

const unpacked = (value) => (value instanceof Packed ? msgpack.decode(value.data) : value);

/** What the other side may ask for. */
const methods = {
  double: (params) => unpacked(params).map((number) => number * 2),
  async *letters(params) {
    for (const letter of unpacked(params)[0]) yield letter;
  },
};

/** Fields of the Python Config, in seconds there and in milliseconds here. */
function configFrom(fields) {
  const config = {};
  for (const [name, value] of Object.entries(fields)) {
    const ours = name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
    if (ours in DEFAULTS) config[ours] = /(Timeout|Ttl|Delay)$/.test(ours) ? value * 1000 : value;
  }
  return config;
}

async function run(url, name, options) {
  const report = { digest: new Digest(), links: 0 };
  const conn = await connect(url, {
    codec: AS_IT_CAME,
    methods,
    WebSocket: WatchedWebSocket,
    config: configFrom(JSON.parse(process.env.PEER_CONFIG || "{}")),
    backoff: { initial: 10, longest: 100 },
    onEvent: ({ name }) => (report.links += name === "opened" || name === "resumed" ? 1 : 0),
  });
  await scenarios[name](conn, report, ...options);
  const outcomes = await conn.ended;
  const numbers = (outcome) =>
    outcomes.undelivered.filter((entry) => entry.outcome === outcome).map(({ number }) => number);
  const ok = outcomes.ending.kind === "finished";
  say({
    ...report,
    result: ok ? "ok" : "failed",
    end: outcomes.ending,
    messages: report.digest.count,
    digest: report.digest.hex,
    cuts: wire.cuts,
    counters: wire.stop,
    confirmed: outcomes.confirmed,
    "not taken": numbers("not taken"),
    unknown: numbers("unknown"),
  });
  return ok;
}

async function main([role, where, name, ...options]) {
  if (name === "bad") {
    const ok = await bad[role](where, options[0], say);
    say({ result: ok ? "ok" : "failed" });
    return ok;
  }
  return run(where, name, options);
}

main(process.argv.slice(2)).then(
  (ok) => process.exit(ok ? 0 : 1),
  (error) => {
    say({ result: "failed", error: String(error.stack) });
    process.exit(1);
  },
);
