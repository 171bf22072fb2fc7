import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, encode } from "@msgpack/msgpack";
import { RemoteError, connect } from "../../dist/index.js";
import { serve } from "./server.js";

const msgpack = { name: "msgpack", encode, decode };

const open = (server, path, options) =>
  connect(`${server.url}/${path}`, { codec: msgpack, backoff: { longest: 100 }, ...options });

/** Have the server request something of this side; return what came of it. */
async function ask(conn, about) {
  conn.send(JSON.stringify(about));
  return JSON.parse(await conn.recv());
}

test("a request returns the result", async (t) => {
  const server = await serve(t);
  const conn = await open(server, "idle");
  assert.equal(await conn.request("add", [1, 2]), 3);
  assert.deepEqual(
    await Promise.all(Array.from({ length: 100 }, (_, i) => conn.request("add", [i, i]))),
    Array.from({ length: 100 }, (_, i) => 2 * i),
  );
  await conn.close();
});

test("errors of the server's methods come as they were raised (CALL-11)", async (t) => {
  const server = await serve(t);
  const conn = await open(server, "idle");
  for (const [method, params, about] of [
    ["fails", null, { code: "no-luck", text: "try again" }],
    ["breaks", null, { code: "internal", text: "the handler failed", data: null }],
    ["nothing", null, { code: "method-not-found" }],
    ["add", ["x", 1], { code: "invalid-params" }],
    ["count", [1], { code: "invalid-params" }],
  ]) {
    await assert.rejects(conn.request(method, params), { name: "RemoteError", ...about });
  }
  const { data } = await conn.request("fails").catch((error) => error);
  assert.deepEqual([...data], [..."data"].map((c) => c.charCodeAt(0)));
  await conn.close();
});

test("a request survives the loss of the WebSocket, and runs once", async (t) => {
  const server = await serve(t);
  const conn = await open(server, "idle");
  const sums = [];
  for (let i = 0; i < 5; i++) {
    const all = Array.from({ length: 50 }, (_, n) => conn.request("add", [i, n]));
    await server.do("reset");
    sums.push(...(await Promise.all(all)));
  }
  assert.equal(sums.reduce((a, b) => a + b), 50 * 10 + 5 * 1225);
  await conn.close();
});

test("more requests than the server takes at once wait for their turn (CALL-6)", async (t) => {
  const server = await serve(t, { max_requests: 3 });
  const conn = await open(server, "idle");
  const sums = await Promise.all(Array.from({ length: 20 }, (_, i) => conn.request("add", [i, 1])));
  assert.deepEqual(sums, Array.from({ length: 20 }, (_, i) => i + 1));
  const slow = Array.from({ length: 3 }, () => conn.request("slow", null, { timeout: 1000 }));
  const late = conn.request("add", [1, 1], { timeout: 50 });
  await assert.rejects(late, { name: "RequestTimeout", taken: false });
  await Promise.all(slow.map((one) => assert.rejects(one, { name: "RequestTimeout" })));
  await conn.close();
});

test("a request may be given up: by time, or by a signal; its handler is told", async (t) => {
  const server = await serve(t);
  const conn = await open(server, "idle");
  const late = assert.rejects(conn.request("slow", null, { timeout: 1000 }), {
    name: "RequestTimeout",
    method: "slow",
    taken: true,
  });
  await conn.request("add", [1, 1]); // its answer tells that the one before has arrived (CALL-18)
  await late;
  const controller = new AbortController();
  const request = conn.request("slow", null, { signal: controller.signal });
  await conn.request("add", [1, 1]); // it runs by now
  controller.abort(new Error("enough"));
  await assert.rejects(request, /enough/);
  while ((await server.do("cancelled")) < 2);
  const never = conn.request("slow", null, { signal: AbortSignal.abort() });
  await assert.rejects(never, { name: "AbortError" });
  await conn.close();
});

test("a stream comes item by item, larger than its credit", async (t) => {
  const server = await serve(t);
  const conn = await open(server, "idle");
  const items = [];
  for await (const item of conn.stream("count", [10_000])) items.push(Number(item));
  assert.deepEqual(items, Array.from({ length: 10_000 }, (_, i) => i));
  const one = [];
  for await (const item of conn.stream("add", [1, 2])) one.push(item);
  assert.deepEqual(one, [3]);
  await assert.rejects(conn.stream("fails").next(), { code: "no-luck" });
  await conn.close();
});

test("leaving a stream stops it, and a reader that is slow holds it back (CALL-7)", async (t) => {
  const server = await serve(t);
  const conn = await open(server, "idle");
  let count = 0;
  for await (const item of conn.stream("endless")) {
    assert.equal(Number(item), count);
    count += 1;
    if (count === 1000) break;
  }
  while ((await server.do("cancelled")) < 1);
  await conn.close();
});

test("the server's requests are answered", async (t) => {
  const server = await serve(t);
  const logged = [];
  const conn = await open(server, "ask", {
    log: (words) => logged.push(words),
    methods: {
      add: ([a, b]) => a + b,
      later: async (params) => ({ params }),
      nothing: () => {},
      fails: () => {
        throw new RemoteError("no-luck", "try again", { tries: 3 });
      },
      breaks: () => {
        throw new Error("a secret");
      },
      cannot: () => () => {},
      async *count([upto]) {
        for (let i = 0; i < upto; i++) yield i;
      },
    },
  });
  for (const [about, result] of [
    [{ method: "add", params: [1, 2] }, 3],
    [{ method: "later", params: { a: [1, null] } }, { params: { a: [1, null] } }],
    [{ method: "nothing" }, null],
    [{ method: "fails" }, { code: "no-luck", message: "try again", data: { tries: 3 } }],
    [{ method: "breaks" }, { code: "internal", message: "the handler failed", data: null }],
    [{ method: "cannot" }, { code: "internal", message: "the handler failed", data: null }],
    [{ method: "toString" }, { code: "method-not-found" }],
    [{ method: "count", params: [3] }, { code: "invalid-params" }],
    [{ method: "count", params: [3], stream: true }, [0, 1, 2]],
    [{ method: "add", params: [1, 2], stream: true }, [3]],
    [{ method: "count", params: [5000], stream: true }, Array.from({ length: 5000 }, (_, i) => i)],
  ]) {
    const got = await ask(conn, about);
    if (result?.code) assert.deepEqual({ ...got, ...result }, got, JSON.stringify(about));
    else assert.deepEqual(got, result, JSON.stringify(about));
  }
  assert.deepEqual(logged, [
    'reliable-ws: the handler of "breaks" failed',
    'reliable-ws: the handler of "cannot" failed',
  ]);
  await conn.close();
});

test("a handler is told that nobody waits any more", async (t) => {
  const server = await serve(t);
  const aborted = [];
  const conn = await open(server, "ask", {
    methods: {
      slow: (_params, { signal }) =>
        new Promise((resolve) => {
          signal.addEventListener("abort", () => {
            aborted.push("slow");
            resolve();
          });
        }),
    },
  });
  assert.equal(await ask(conn, { method: "slow", timeout: 0.1 }), "RequestTimeout");
  while (!aborted.length) await new Promise(setImmediate);
  await conn.close();
});

test("close() lets handlers end, and gives up those that do not", async (t) => {
  const server = await serve(t);
  let finish;
  const conn = await open(server, "ask", {
    methods: {
      soon: () => new Promise((resolve) => (finish = resolve)),
      never: () => new Promise(() => {}),
    },
  });
  conn.send(JSON.stringify({ method: "soon" }));
  while (!finish) await new Promise(setImmediate);
  const closing = conn.close();
  finish("done");
  assert.equal((await closing).confirmed, 1);

  const other = await open(server, "ask", { methods: { never: () => new Promise(() => {}) } });
  const { confirmed } = other.send(JSON.stringify({ method: "never" }));
  await confirmed;
  await other.request("add", [1, 1]);
  await other.close({ timeout: 400 });
});

test("requests end with the session, and say what is known (CALL-39)", async (t) => {
  const server = await serve(t);
  const conn = await open(server, "idle");
  const running = conn.request("slow");
  await conn.request("add", [1, 1]);
  const fate = assert.rejects(running, { name: "OutcomeUnknown" });
  await server.do("offline");
  while (conn.state === "open") await new Promise(setImmediate);
  const unsent = assert.rejects(conn.request("add", [1, 1]), { name: "NotTaken" });
  conn.abort();
  await Promise.all([fate, unsent]);
  await assert.rejects(conn.request("add", [1, 1]), { name: "ConnectionClosed" });
});
