// The life of a page, played by events of a global object that Node does not have otherwise.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { WebSocketServer } from "ws";
import { connect } from "../../dist/index.js";
import { serve } from "./server.js";

/** Make this process look like a page until the end of the test. */
function page(t) {
  const window = new EventTarget();
  const document = new EventTarget();
  const names = ["addEventListener", "removeEventListener"];
  for (const name of names) globalThis[name] = window[name].bind(window);
  globalThis.document = document;
  t.after(() => {
    for (const name of [...names, "document"]) delete globalThis[name];
  });
  const tell = (where) => (name, about = {}) => {
    const event = Object.assign(new Event(name, { cancelable: true }), about);
    where.dispatchEvent(event);
    return event;
  };
  return { document, window: tell(window), tell: tell(document) };
}

/** Connect, and note what happens. */
async function open(server, path, options = {}) {
  const events = [];
  const conn = await connect(`${server.url}/${path}`, {
    backoff: { initial: 60_000, longest: 60_000 },
    onEvent: (event) => events.push(event),
    ...options,
  });
  return { conn, events, names: () => events.map(({ name }) => name) };
}

/** Wait until the server says that this has happened to a session; return how long it took. */
async function happened(server, name, count = 1) {
  const since = performance.now();
  const is = (event) => event.name === name;
  while ((await server.do("events")).filter(is).length < count);
  return performance.now() - since;
}

test("a page in the back/forward cache has no WebSocket, and one at once when it is back", async (t) => {
  const { window } = page(t);
  const server = await serve(t);
  const { conn } = await open(server, "feed?count=0");
  window("pagehide", { persisted: true });
  assert.ok((await happened(server, "detached")) < 500);
  assert.equal(conn.state, "detached");
  conn.reconnectNow(); // not while the page stands still
  window("online");
  const receipt = conn.send("written on the way out");
  assert.equal(conn.state, "detached");
  window("pageshow", { persisted: true });
  assert.ok((await happened(server, "resumed")) < 500);
  assert.equal(receipt.outcome, "pending");
  conn.abort();
});

test("a frozen page: what it had sent before arrives, and nothing is lost in between", async (t) => {
  const { tell } = page(t);
  const server = await serve(t);
  const { conn } = await open(server, "echo");
  conn.send("a");
  tell("freeze");
  tell("freeze");
  assert.ok((await happened(server, "detached")) < 500);
  conn.send("b");
  tell("resume");
  tell("resume");
  assert.deepEqual([await conn.recv(), await conn.recv()], ["a", "b"]);
  await conn.close();
});

test("a frozen page that is dialing does not go on with it", async (t) => {
  const { tell } = page(t);
  const server = await serve(t);
  let calls = 0;
  const url = () => {
    calls += 1;
    return calls === 2 ? new Promise(() => {}) : `${server.url}/echo`;
  };
  const conn = await connect(url);
  await server.do("reset");
  while (calls < 2) await new Promise(setImmediate);
  tell("freeze");
  tell("resume");
  conn.send("a");
  assert.equal(await conn.recv(), "a");
  assert.equal(calls, 3);
  await conn.close();
});

test("a page that is frozen while it opens a session has to open it again", async (t) => {
  const { tell } = page(t);
  const silent = new WebSocketServer({ port: 0 });
  t.after(() => silent.close());
  await once(silent, "listening");
  const opening = connect(`ws://127.0.0.1:${silent.address().port}/`);
  const [socket] = await once(silent, "connection");
  await once(socket, "message"); // the Hello
  tell("freeze");
  await assert.rejects(opening, { name: "SessionLost", message: /stands still/ });
});

test("a page that is left says all that it had sent, and frees the server's session", async (t) => {
  const { window } = page(t);
  const server = await serve(t);
  const { conn } = await open(server, "take");
  for (let i = 0; i < 15; i++) conn.send(`${i}`);
  window("pagehide", { persisted: false });
  await happened(server, "closed");
  assert.equal(server.ledger().length, 15);
  const finished = (await server.do("events")).find(({ name }) => name === "peer_finished");
  assert.deepEqual([finished.code, finished.reason], [1001, "the page was left"]);
  assert.equal(await server.do("living"), 0);
});

test("a network that comes back, and a page that is looked at, cut a pause short", async (t) => {
  const { document, window, tell } = page(t);
  const server = await serve(t);
  t.mock.method(Math, "random", () => 0.99);
  const { conn, names } = await open(server, "echo");
  const count = (name) => names().filter((one) => one === name).length;
  for (const [round, wake] of [
    () => window("online"),
    () => {
      document.visibilityState = "visible";
      tell("visibilitychange");
    },
  ].entries()) {
    await server.do("reset");
    while (count("detached") <= round) await new Promise(setImmediate);
    wake();
    assert.ok((await happened(server, "resumed", round + 1)) < 1000);
  }
  await conn.close();
});

test("a WebSocket that was silent is left 3 s after the page woke up", async (t) => {
  const { window } = page(t);
  const server = await serve(t);
  const config = { idleTimeout: 10_000 };
  const { conn, events } = await open(server, "echo", { config, backoff: { longest: 100 } });
  await server.do("half_open");
  const now = performance.now.bind(performance);
  window("online"); // it was heard just now
  t.mock.method(performance, "now", () => now() + 6000); // the machine has slept for a while
  const since = now();
  window("online");
  conn.send("a");
  assert.equal(await conn.recv(), "a");
  const took = now() - since;
  assert.ok(took > 2900 && took < 4000, `${took} ms`);
  assert.equal(events.find(({ name }) => name === "detached").code, 4509);
  await conn.close();
});

test("a hidden page whose timers never run keeps its session, by what arrives (LIVE-9)", async (t) => {
  const server = await serve(t, { idle_timeout: 1.2 });
  const { conn, names } = await open(server, "echo", { config: { idleTimeout: 1200 } });
  const { setTimeout } = globalThis;
  t.mock.method(globalThis, "setTimeout", () => 0);
  await new Promise((resolve) => setTimeout(resolve, 5000));
  globalThis.setTimeout = setTimeout;
  assert.deepEqual(names(), ["opened"]);
  assert.deepEqual((await server.do("events")).map(({ name }) => name), ["opened"]);
  conn.send("a");
  assert.equal(await conn.recv(), "a");
  await conn.close();
});

test("the user is asked before leaving only while something would be lost", async (t) => {
  const { window } = page(t);
  const server = await serve(t);
  const { conn } = await open(server, "take");
  const asks = () => window("beforeunload").defaultPrevented;
  const end = conn.guardUnload();
  assert.equal(asks(), false);
  const { confirmed } = conn.send("a");
  await null; // the mark is told at the end of the task
  await null;
  assert.equal(asks(), true);
  await confirmed;
  await new Promise(setImmediate);
  assert.equal(asks(), false);
  end();
  conn.send("b");
  await new Promise(setImmediate);
  assert.equal(asks(), false);
  await conn.close();
});

test("nothing listens to the page once the session has ended", async (t) => {
  const { window, tell } = page(t);
  const server = await serve(t);
  const { conn, names } = await open(server, "take");
  conn.guardUnload();
  await conn.close();
  window("pagehide", { persisted: true });
  window("pageshow", { persisted: true });
  tell("resume");
  assert.deepEqual(names(), ["opened", "closed"]);
});
