// How the driver uses a store, with one that keeps everything in memory. The one in IndexedDB is
// tested in browsers.
import assert from "node:assert/strict";
import { test } from "node:test";
import { StoreFull, connect } from "../../dist/index.js";
import { indexedDB } from "../../dist/store/index.js";
import { serve } from "./server.js";

/** What a store on a disk has, in memory: it survives each "page" of a test. */
class MemoryStore {
  #sessions = new Map();
  isOpen = false;
  /** Awaited before each change is kept: a test holds the store, or lets it fail. */
  before = async () => {};

  async open() {
    if (this.isOpen) throw new Error("in use");
    this.isOpen = true;
    return {
      sessions: structuredClone([...this.#sessions.values()]),
      keep: async (change) => {
        const { session, facts, messages, confirmed, entries, received, until } =
          structuredClone(change);
        await this.before(change);
        const id = session.join();
        if (until !== null) {
          this.#sessions.delete(id);
          return;
        }
        const old = this.#sessions.get(id) ?? { messages: [], entries: [] };
        const kept = (runs, run, upto) => [...runs, run].filter((one) => one && one.last > upto);
        this.#sessions.set(id, {
          session,
          facts,
          messages: kept(old.messages, messages, confirmed),
          entries: kept(old.entries, entries, received),
        });
      },
      regain: async () => {},
      close: () => (this.isOpen = false),
    };
  }

  get size() {
    return this.#sessions.size;
  }
}

/** A promise, and the function that resolves it. */
function gate() {
  let open;
  const opened = new Promise((resolve) => (open = resolve));
  return { open, opened };
}

test("a message is stored before it is sent, and the receipt tells both (STORE-2)", async (t) => {
  const server = await serve(t);
  const store = new MemoryStore();
  const conn = await connect(`${server.url}/take`, { store });
  const { open, opened } = gate();
  store.before = (change) => change.messages && opened;
  const receipt = conn.send("a");
  assert.deepEqual([conn.status.value.unconfirmed, conn.status.value.unstored], [1, 1]);
  await server.do("living"); // an answer of the server: nothing has come there by now
  assert.deepEqual(server.ledger(), []);
  open();
  await receipt.stored;
  await receipt.stored;
  await receipt.confirmed;
  assert.deepEqual(server.ledger(), [[conn.id, "a"]]);
  const report = await conn.close();
  assert.equal(report.confirmed, 1);
  assert.deepEqual([store.size, store.isOpen], [0, false]);
});

test("the next page goes on with what this one has left", async (t) => {
  const server = await serve(t);
  const store = new MemoryStore();
  const url = `${server.url}/take`;
  const conn = await connect(url, { store });
  await conn.send("a").confirmed;
  await server.do("offline");
  while (conn.state === "open") await new Promise(setImmediate);
  const receipt = conn.send("b");
  await receipt.stored;
  assert.equal(conn.status.value.state, "kept here");
  conn.keep();
  await assert.rejects(receipt.confirmed, { name: "Kept" });
  const { ending, undelivered } = await conn.ended;
  assert.equal(ending.kind, "kept");
  assert.deepEqual(undelivered.map(({ outcome, message }) => [outcome, message]), [["kept", "b"]]);
  assert.equal(conn.status.value.state, "kept here");

  // It goes on without a network.
  const next = await connect(url, { store });
  assert.deepEqual([next.id, next.state], [conn.id, "detached"]);
  assert.deepEqual([next.status.value.state, next.status.value.unconfirmed], ["kept here", 1]);
  await server.do("online");
  next.reconnectNow();
  await next.send("c").confirmed;
  assert.deepEqual(server.ledger().map(([, message]) => message), ["a", "b", "c"]);
  assert.equal((await next.close()).sent, 3);
  assert.equal(store.size, 0);
});

test("a page that dies while it closes: the next one brings that session to its end", async (t) => {
  const server = await serve(t);
  const store = new MemoryStore();
  const url = `${server.url}/take`;
  const conn = await connect(url, { store });
  await server.do("offline");
  while (conn.state === "open") await new Promise(setImmediate);
  conn.send("a");
  const closing = conn.close();
  while (conn.status.value.unstored) await new Promise(setImmediate);
  conn.keep();
  await assert.rejects(closing, { name: "Kept" });
  await server.do("online");
  const next = await connect(url, { store });
  assert.notEqual(next.id, conn.id);
  assert.deepEqual(server.ledger(), [[conn.id, "a"]]);
  await next.close();
});

test("a store without room takes messages back, and tells (STORE-7)", async (t) => {
  const server = await serve(t);
  const store = new MemoryStore();
  const conn = await connect(`${server.url}/take`, { store });
  let isFull = true;
  store.before = async (change) => {
    if (change.messages && isFull) throw new StoreFull();
  };
  const receipt = conn.send("a");
  await assert.rejects(receipt.stored, { name: "StoreFull" });
  assert.deepEqual([receipt.number, receipt.outcome], [-1, "not taken"]);
  await assert.rejects(receipt.confirmed, { name: "StoreFull" });
  assert.throws(() => conn.send("b"), { name: "StoreFull" });
  isFull = false;
  await conn.room();
  const { confirmed, number } = conn.send("c");
  await confirmed;
  assert.equal(number, 1);
  assert.deepEqual(server.ledger(), [[conn.id, "c"]]);
  await conn.close();
});

test("a store that is lost is told of, and the session goes on in memory", async (t) => {
  const server = await serve(t);
  const store = new MemoryStore();
  const told = [];
  const onEvent = ({ name, error }) => told.push([name, error?.message]);
  const conn = await connect(`${server.url}/take`, { store, onEvent });
  store.before = async () => {
    throw new Error("the database is gone");
  };
  const receipt = conn.send("a");
  await assert.rejects(receipt.stored, /the database is gone/);
  await receipt.confirmed;
  await assert.rejects(conn.send("b").stored, /the database is gone/);
  await server.do("offline");
  while (conn.state === "open") await new Promise(setImmediate);
  conn.send("c");
  assert.equal(conn.status.value.state, "not saved");
  await server.do("online");
  assert.equal((await conn.close()).confirmed, 3);
  assert.ok(told.some(([name, why]) => name === "store lost" && why === "the database is gone"));
});

test("a store that cannot be opened is told by connect()", async () => {
  const store = new MemoryStore();
  await store.open();
  await assert.rejects(connect("ws://localhost/", { store }), /in use/);
});

test("a first session that is not opened leaves its store", async () => {
  const store = new MemoryStore();
  await assert.rejects(connect("ws://127.0.0.1:9/", { store }), { name: "ConnectFailed" });
  assert.equal(store.isOpen, false);
});

test("a page may begin offline, and be loaded anew before its server was ever reached", async (t) => {
  const server = await serve(t);
  const store = new MemoryStore();
  const url = `${server.url}/take`;
  await server.do("offline");
  const options = { store, offline: true, backoff: { longest: 100 } };
  const conn = await connect(url, options);
  assert.equal(conn.state, "connecting");
  await conn.send("a").stored;
  assert.equal(conn.status.value.state, "kept here");
  conn.keep();
  await conn.ended;
  const next = await connect(url, options);
  assert.deepEqual([next.id, next.state], [conn.id, "connecting"]);
  const { confirmed } = next.send("b");
  await server.do("online");
  await confirmed;
  assert.deepEqual(server.ledger().map(([, message]) => message), ["a", "b"]);
  await next.close();
  await assert.rejects(connect(url, { offline: true }), TypeError);
});

test("where there is no IndexedDB, as in Node, the session is in memory", async (t) => {
  const server = await serve(t);
  const events = [];
  const conn = await connect(`${server.url}/take`, {
    store: indexedDB("orders"),
    onEvent: ({ name, reason }) => events.push([name, reason]),
  });
  const receipt = conn.send("a");
  await receipt.confirmed;
  await assert.rejects(receipt.stored, { name: "StoreLost", message: /has no IndexedDB/ });
  assert.match(String(events[0]), /^store lost,.*this runtime has no IndexedDB/);
  await conn.close();
});
