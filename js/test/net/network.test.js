import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { WebSocketServer } from "ws";
import { connect } from "../../dist/index.js";
import { serve } from "./server.js";

/** What happened to a connection, and a way to wait for something of it. */
function watch() {
  const events = [];
  let look = () => {};
  return {
    events,
    onEvent(event) {
      events.push(event);
      look();
    },
    async until(name) {
      while (!events.some((event) => event.name === name)) {
        await new Promise((resolve) => (look = resolve));
      }
      return events.find((event) => event.name === name);
    },
  };
}

test("a first attempt that fails is told, with its cause", async () => {
  const blocked = createServer();
  blocked.listen(0, "127.0.0.1");
  await once(blocked, "listening");
  const { port } = blocked.address();
  blocked.close();
  await once(blocked, "close");
  await assert.rejects(connect(`ws://127.0.0.1:${port}/`), (error) => {
    assert.equal(error.name, "ConnectFailed");
    assert.equal(error.code, "ConnectFailed");
    assert.equal(error.cause.code, "ECONNREFUSED");
    return true;
  });
});

test("an HTTP answer is told by its status, where the runtime tells it", async (t) => {
  const server = new WebSocketServer({ port: 0, verifyClient: (_info, say) => say(false, 401) });
  t.after(() => server.close());
  await once(server, "listening");
  const url = `ws://127.0.0.1:${server.address().port}/`;
  await assert.rejects(connect(url), { name: "ConnectFailed", status: 401 });
});

test("a WebSocket that is no peer is found out (LIVE-5)", async (t) => {
  const server = new WebSocketServer({ port: 0 });
  t.after(() => server.close());
  server.on("connection", (socket, { url }) => {
    if (url === "/closes") socket.close(4000, "what is this?");
    if (url === "/echoes") socket.on("message", (data) => socket.send(data));
    if (url === "/talks") socket.send("hello");
    if (url === "/cuts") socket.terminate();
    if (url === "/away") socket.close(4503, "ask again");
  });
  await once(server, "listening");
  const url = `ws://127.0.0.1:${server.address().port}`;
  const config = { openTimeout: 200 };
  for (const path of ["closes", "echoes", "talks", "silent"]) {
    await assert.rejects(connect(`${url}/${path}`, { config }), { name: "NotReliablePeer" }, path);
  }
  await assert.rejects(connect(`${url}/cuts`, { config }), { name: "SessionLost" });
  await assert.rejects(connect(`${url}/away`, { config }), { name: "ServerBusy" });
});

test("a server that is busy says when to come again (REFUSE-5)", async (t) => {
  const server = await serve(t, { max_sessions: 1 });
  const conn = await connect(`${server.url}/echo`);
  await assert.rejects(connect(`${server.url}/echo`), (error) => {
    assert.equal(error.name, "ServerBusy");
    assert.ok(error.retryAfter > 0);
    return true;
  });
  await conn.close();
});

test("options that are wrong are refused before anything is opened", async () => {
  const url = "ws://127.0.0.1:9/";
  await assert.rejects(connect(url, { config: { maxFrame: 1 } }), RangeError);
  await assert.rejects(connect(url, { backoff: { factor: 0 } }), RangeError);
  await assert.rejects(connect("what is this"), { name: "ConnectFailed" });
});

test("a signal ends the opening, and the session", async (t) => {
  const silent = createServer();
  t.after(() => silent.close());
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  const controller = new AbortController();
  const opening = connect(`ws://127.0.0.1:${silent.address().port}/`, { signal: controller.signal });
  const [socket] = await once(silent, "connection");
  t.after(() => socket.destroy());
  controller.abort(new Error("changed my mind"));
  await assert.rejects(opening, /changed my mind/);
  await assert.rejects(connect("ws://localhost", { signal: controller.signal }), /changed my mind/);

  const server = await serve(t);
  const other = new AbortController();
  const conn = await connect(`${server.url}/echo`, { signal: other.signal });
  other.abort();
  const { ending } = await conn.ended;
  assert.deepEqual([ending.kind, ending.code, conn.state], ["aborted", 4499, "closed"]);
});

test("url and headers may be functions, which are called for each attempt", async (t) => {
  const server = await serve(t);
  const calls = [];
  const conn = await connect(
    async () => {
      calls.push("url");
      return new URL(`${server.url}/echo`);
    },
    {
      headers: () => {
        calls.push("headers");
        return { authorization: "token" };
      },
    },
  );
  const seen = watch();
  await server.do("reset");
  conn.send("a");
  assert.equal(await conn.recv(), "a");
  assert.deepEqual(calls, ["url", "headers", "url", "headers"]);
  await conn.close();
  void seen;
});

test("a half-open network is left within the idle time and a second", async (t) => {
  const server = await serve(t);
  const config = { idleTimeout: 2000 };
  const { onEvent, until } = watch();
  const conn = await connect(`${server.url}/take`, { config, onEvent });
  await conn.send("a").confirmed;
  await server.do("half_open");
  const since = performance.now();
  await conn.send("b").confirmed;
  assert.ok(performance.now() - since < 3000, `${performance.now() - since} ms`);
  assert.equal((await until("resumed")).replayed, 1);
  assert.deepEqual(server.ledger().map(([, message]) => message), ["a", "b"]);
  await conn.close();
});

test("an outage is sat out, and each attempt is told", async (t) => {
  const server = await serve(t);
  const { events, onEvent, until } = watch();
  const conn = await connect(`${server.url}/echo`, { onEvent, backoff: { longest: 200 } });
  await server.do("offline");
  const { error } = await until("attempt failed");
  assert.equal(error.code, "ECONNREFUSED");
  conn.send("a");
  await server.do("online");
  assert.equal(await conn.recv(), "a");
  await conn.close();
  await until("closed");
  const names = events.map(({ name }) => name);
  assert.deepEqual([...new Set(names)], [
    "opened",
    "detached",
    "attempt failed",
    "resumed",
    "closed",
  ]);
  assert.equal(events.at(-1).report.confirmed, 1);
});

test("reconnectNow() cuts a pause short", async (t) => {
  const server = await serve(t);
  const { onEvent, until } = watch();
  const backoff = { initial: 60_000, longest: 60_000 };
  const conn = await connect(`${server.url}/echo`, { onEvent, backoff });
  t.mock.method(Math, "random", () => 0.99);
  await server.do("reset");
  await until("detached");
  const since = performance.now();
  conn.reconnectNow();
  conn.reconnectNow();
  await until("resumed");
  assert.ok(performance.now() - since < 5000);
  await conn.close();
});

test("a session whose time is over ends, and says what became of its messages (END-4)", async (t) => {
  const server = await serve(t);
  const { onEvent, until } = watch();
  const conn = await connect(`${server.url}/take`, {
    onEvent,
    config: { sessionTtl: 500 },
    backoff: { longest: 100 },
  });
  await conn.send("a").confirmed;
  await server.do("offline");
  await until("detached");
  const receipt = conn.send("b");
  const { sent, confirmed, ending } = await conn.ended;
  assert.deepEqual([sent, confirmed, ending.kind, ending.code], [2, 1, "expired", 4410]);
  assert.match(ending.reason, /no contact.*ECONNREFUSED/);
  await assert.rejects(receipt.confirmed, { name: "NotTaken" });
  await assert.rejects(conn.recv(), { name: "SessionLost" });
  assert.throws(() => conn.send("c"), { name: "SessionLost" });
});

test("a server that has forgotten the session ends it, with a report (4404)", async (t) => {
  const server = await serve(t);
  const { onEvent, until } = watch();
  const conn = await connect(`${server.url}/take`, { onEvent, backoff: { longest: 100 } });
  await conn.send("a").confirmed;
  await server.do("restart");
  await until("detached");
  const receipt = conn.send("b");
  const { report, code } = await until("closed");
  assert.equal(code, 4404);
  assert.deepEqual([report.sent, report.confirmed, report.count("unknown")], [2, 1, 0]);
  await assert.rejects(receipt.confirmed, { name: "NotTaken" });
});

test("a server that ended its sessions tells so, with a report (4410, TOMB-4)", async (t) => {
  const server = await serve(t);
  const conn = await connect(`${server.url}/idle`);
  await server.do("reset");
  conn.send("a");
  await server.do("drain");
  const report = await conn.ended;
  assert.deepEqual([report.sent, report.confirmed], [1, 0]);
  assert.equal(report.final, true);
});
