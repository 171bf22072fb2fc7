import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { WebSocket as Ws } from "ws";
import { connect } from "../../dist/index.js";
import { serve } from "./server.js";

/** The WebSocket classes that this Node has. */
const KINDS = Object.entries({ ws: Ws, own: globalThis.WebSocket }).filter(([, kind]) => kind);

async function take(conn, count) {
  const taken = [];
  if (count) for await (const message of conn) if (taken.push(message) === count) break;
  return taken;
}

for (const [name, WebSocket] of KINDS) {
  test(`${name}: text and bytes come back as they went, in order`, async (t) => {
    const server = await serve(t);
    const conn = await connect(`${server.url}/echo`, { WebSocket });
    const messages = Array.from({ length: 500 }, (_, i) =>
      i % 2 ? `text ${i} é😀\ufeff` : new TextEncoder().encode(`bytes ${i}`),
    );
    messages.push("", new Uint8Array(0));
    for (const message of messages) conn.send(message);
    const back = await take(conn, messages.length);
    assert.deepEqual(back.map(plain), messages.map(plain));
    const report = await conn.close();
    assert.deepEqual([report.sent, report.confirmed], [messages.length, messages.length]);
  });

  test(`${name}: messages larger than a frame, both ways`, async (t) => {
    const server = await serve(t, { max_frame: 65536 });
    const conn = await connect(`${server.url}/echo`, { WebSocket, config: { maxFrame: 65536 } });
    const messages = ["é".repeat(300_000), Uint8Array.from({ length: 2_000_000 }, (_, i) => i * 31)];
    for (const message of messages) conn.send(message);
    assert.deepEqual((await take(conn, 2)).map(plain), messages.map(plain));
    await conn.close();
  });

  test(`${name}: cuts lose and double nothing`, async (t) => {
    const server = await serve(t);
    const conn = await connect(`${server.url}/echo`, { WebSocket, backoff: { longest: 200 } });
    const back = [];
    for (let i = 0; i < 10; i++) {
      const messages = Array.from({ length: 200 }, (_, n) => `${i * 200 + n}`.padEnd(200));
      for (const message of messages) conn.send(message);
      back.push(...(await take(conn, 50 + i)));
      await server.do("reset");
    }
    back.push(...(await take(conn, 2000 - back.length)));
    assert.deepEqual(back.map(Number), Array.from(back.keys()));
    await conn.close();
  });
}

/** A message as it can be compared: `ws` gives other classes of bytes than were sent. */
const plain = (message) => (typeof message === "string" ? message : [...message].join());

test("a receipt tells when the server's application has taken the message", async (t) => {
  const server = await serve(t);
  const conn = await connect(`${server.url}/take`);
  const receipts = ["a", "b", "c"].map((message) => conn.send(message));
  assert.deepEqual(
    receipts.map(({ number, outcome }) => [number, outcome]),
    [[1, "pending"], [2, "pending"], [3, "pending"]],
  );
  assert.equal(receipts[1].confirmed, receipts[1].confirmed);
  await receipts[1].confirmed;
  assert.deepEqual(server.ledger().slice(0, 2), [[conn.id, "a"], [conn.id, "b"]]);
  await receipts[2].confirmed;
  assert.equal(receipts[0].outcome, "confirmed");
  await receipts[0].confirmed;
  await assert.rejects(receipts[0].stored, TypeError);
  await conn.close();
});

test("what is not confirmed at the end is told by its receipt, and by close()", async (t) => {
  const server = await serve(t);
  const conn = await connect(`${server.url}/idle`);
  const receipts = ["a", "b"].map((message) => conn.send(message));
  const unheard = conn.send("nobody asks for the outcome of this one");
  const outcome = assert.rejects(receipts[0].confirmed, { name: "OutcomeUnknown" });
  const error = await conn.close({ timeout: 100 }).catch((error) => error);
  await outcome;
  assert.equal(error.name, "OutcomeUnknown");
  assert.deepEqual(
    error.report.undelivered.map(({ number, message }) => [number, message]),
    [[1, "a"], [2, "b"], [3, "nobody asks for the outcome of this one"]],
  );
  assert.equal(unheard.outcome, "unknown");
  await assert.rejects(receipts[1].confirmed, { name: "OutcomeUnknown" });
});

test("an outbox that is full throws, and says when there is room", async (t) => {
  const server = await serve(t);
  const config = { outboxMessages: 2 };
  const conn = await connect(`${server.url}/echo`, { config });
  conn.send("a");
  conn.send("b");
  assert.throws(() => conn.send("c"), { name: "OutboxFull" });
  await conn.room();
  assert.equal(conn.send("c").number, 3);
  assert.deepEqual(await take(conn, 3), ["a", "b", "c"]);
  await conn.close();
  await assert.rejects(conn.room(), { name: /Closed/ });
});

test("what needs a codec is refused at the call, and nothing was accepted", async (t) => {
  const server = await serve(t);
  const conn = await connect(`${server.url}/echo`);
  for (const bad of [{ a: 1 }, 17, [1], true, new Map(), "\ud800"]) {
    assert.throws(() => conn.send(bad), { name: "NotSerializable" });
  }
  assert.throws(() => conn.send({}), /reliable-ws\/msgpack/);
  assert.equal(conn.send("first").number, 1);
  await conn.close();
});

test("deliveries are confirmed one by one, in any order", async (t) => {
  const server = await serve(t);
  const conn = await connect(`${server.url}/feed?count=3`);
  const deliveries = [];
  for await (const delivery of conn.deliveries()) if (deliveries.push(delivery) === 3) break;
  assert.deepEqual(
    deliveries.map(({ value, text, bytes, number, redelivered, key }) => [
      value, text, bytes, number, redelivered, key,
    ]),
    [0, 1, 2].map((n) => [`${n}`, `${n}`, undefined, n + 1, false, `${conn.id}:${n + 1}`]),
  );
  assert.deepEqual(await server.do("inbox"), [3]);
  deliveries[1].confirm();
  deliveries[1].confirm();
  deliveries[0].confirm();
  while ((await server.do("inbox"))[0] > 1);
  const error = await conn.close().catch((error) => error);
  assert.deepEqual([error.sent, error.confirmed], [0, 0]);
  assert.throws(() => deliveries[2].confirm(), { name: "ConfirmTooLate" });
});

test("what waits for an application that takes nothing stays within the window", async (t) => {
  let arrived = 0;
  class Counting extends Ws {
    set onmessage(listener) {
      super.onmessage = listener && ((event) => {
        arrived += event.data.byteLength;
        listener(event);
      });
    }
  }
  const server = await serve(t);
  const conn = await connect(`${server.url}/feed?count=2000&size=1000`, {
    WebSocket: Counting,
    config: { windowBytes: 100_000 },
  });
  const first = await take(conn, 1);
  // An answer comes behind everything that the window lets go.
  await conn.request("add", [1, 2]).catch(() => {});
  await conn.request("fails").catch(() => {});
  assert.ok(arrived > 90_000 && arrived < 110_000, `${arrived} bytes`);
  const rest = await take(conn, 1999);
  assert.deepEqual([...first, ...rest].map(parseFloat), Array.from({ length: 2000 }, (_, i) => i));
  await conn.close();
});

test("a wait that is ended has taken no message", async (t) => {
  const server = await serve(t);
  const conn = await connect(`${server.url}/echo`);
  const controller = new AbortController();
  const waiting = conn.recv({ signal: controller.signal });
  controller.abort(new Error("enough"));
  await assert.rejects(waiting, /enough/);
  await assert.rejects(conn.recv({ signal: AbortSignal.abort() }), { name: "AbortError" });
  conn.send("a");
  const { signal } = new AbortController();
  const next = conn.recv({ signal });
  assert.equal(getEventListeners(signal, "abort").length, 1);
  assert.equal(await next, "a");
  assert.equal(getEventListeners(signal, "abort").length, 0);
  const last = conn.recv({ signal });
  conn.abort();
  await assert.rejects(last, { name: "ConnectionClosed" });
  assert.equal(getEventListeners(signal, "abort").length, 0);
  await assert.rejects(conn.recv(), { name: "ConnectionClosed" });
});

test("an application whose onEvent throws is told so, and nothing else happens", async (t) => {
  const server = await serve(t);
  const logged = [];
  const conn = await connect(`${server.url}/echo`, {
    onEvent: () => {
      throw new Error("a mistake");
    },
    log: (words, error) => logged.push([words, error.message]),
  });
  conn.send("a");
  assert.equal(await conn.recv(), "a");
  await conn.close();
  assert.deepEqual(logged[0], ['reliable-ws: onEvent threw at "opened"', "a mistake"]);
});

test("loops share the messages, first come first served", async (t) => {
  const server = await serve(t);
  const conn = await connect(`${server.url}/echo`);
  const waiting = [conn.recv(), conn.recv(), conn.recv()];
  for (const message of "abc") conn.send(message);
  assert.deepEqual(await Promise.all(waiting), ["a", "b", "c"]);
  await conn.close();
});

test("a message that cannot be decoded is left out, and logged (MSG-4)", async (t) => {
  const server = await serve(t);
  const logged = [];
  const codec = {
    name: "msgpack",
    encode: () => Uint8Array.of(0xc0),
    decode: () => {
      throw new Error("not mine");
    },
  };
  const conn = await connect(`${server.url}/echo`, { codec, log: (words) => logged.push(words) });
  conn.send({});
  conn.send("next");
  assert.equal(await conn.recv(), "next");
  assert.deepEqual(logged, ["reliable-ws: message 1 is left out"]);
  await conn.close();
});

test("the status follows the messages", async (t) => {
  const server = await serve(t);
  const conn = await connect(`${server.url}/take`);
  const told = [];
  conn.status.subscribe(() => told.push(conn.status.value));
  assert.deepEqual([conn.state, conn.status.value.state], ["open", "saved"]);
  const { confirmed } = conn.send("a");
  assert.equal(conn.status.value.state, "saving");
  await confirmed;
  await server.do("offline");
  while (conn.state === "open") await new Promise(setImmediate);
  assert.deepEqual([conn.state, conn.status.value.state], ["detached", "saved"]);
  conn.send("b");
  const { state, unconfirmed, unstored } = conn.status.value;
  assert.deepEqual([state, unconfirmed, unstored], ["not saved", 1, 1]);
  await server.do("online");
  conn.reconnectNow();
  while (conn.status.value.state !== "saved") await new Promise(setImmediate);
  assert.ok(["saving", "saved"].every((mark) => told.some(({ state }) => state === mark)));
  await conn.close();
  assert.deepEqual([conn.state, conn.status.value.state], ["closed", "saved"]);
});
