import assert from "node:assert/strict";
import { test } from "node:test";
import { WebSocket as Ws } from "ws";
import { connect } from "../../dist/index.js";
import { serve } from "./server.js";

const KINDS = Object.entries({ ws: Ws, own: globalThis.WebSocket }).filter(([, kind]) => kind);

/** What a code in a close frame means where no Refuse came before (CODE-2). */
const CODES = {
  resumes: [1000, 1001, 1009, 1011, 1012, 3000, 4000, 4508, 4509, 4529],
  ends: [4400, 4401, 4404, 4409, 4410, 4415, 4422, 4426, 4499],
};

for (const [name, WebSocket] of KINDS) {
  test(`${name}: a close frame with a code of section 12 is another link, or the end`, async (t) => {
    const server = await serve(t);
    const options = { WebSocket, backoff: { longest: 100 } };
    const ways = Object.entries(CODES).flatMap(([way, codes]) => codes.map((code) => [way, code]));
    await Promise.all(
      ways.map(async ([way, code]) => {
        const conn = await connect(`${server.url}/drop?code=${code}`, options);
        conn.send("a");
        if (way === "resumes") {
          assert.equal(await conn.recv(), "a", `${code}`);
          await conn.close();
        } else {
          const { ending } = await conn.ended;
          const kind = code === 4409 ? "superseded" : "refused";
          assert.deepEqual([ending.kind, ending.code], [kind, code]);
        }
      }),
    );
  });

  test(`${name}: this side may say every code that an application has`, async (t) => {
    const server = await serve(t);
    for (const code of [1000, 1001, 1011, 3000, 3999]) {
      const conn = await connect(`${server.url}/take`, { WebSocket });
      conn.send("a");
      const { ending } = await conn.close({ code, reason: "as I like" });
      assert.equal(ending.kind, "finished");
    }
    const told = (await server.do("events")).filter(({ name }) => name === "peer_finished");
    assert.deepEqual(
      told.map(({ code, reason }) => [code, reason]),
      [1000, 1001, 1011, 3000, 3999].map((code) => [code, "as I like"]),
    );
  });
}

test("an iteration ends without an error when the server finishes with 1000 or 1001", async (t) => {
  const server = await serve(t);
  for (const code of [1000, 1001]) {
    const conn = await connect(`${server.url}/leave?code=${code}`);
    conn.send("go");
    for await (const message of conn) assert.fail(message);
    for await (const delivery of conn.deliveries()) assert.fail(delivery);
    assert.deepEqual(conn.peerFinished, { code, reason: "as asked" });
    assert.equal((await conn.close()).confirmed, 1);
  }
});

test("an iteration throws when the server finishes with another code, or aborts", async (t) => {
  const server = await serve(t);
  for (const [path, name] of [
    ["leave?code=3001", "ConnectionClosed"],
    ["abort?code=4499", "SessionLost"],
    ["abort?code=4000", "SessionLost"],
  ]) {
    const conn = await connect(`${server.url}/${path}`);
    conn.send("go");
    await assert.rejects(conn[Symbol.asyncIterator]().next(), { name }, path);
    assert.equal((await conn.ended).confirmed, 1);
  }
});

test("close() ends what waits here", async (t) => {
  const server = await serve(t);
  const conn = await connect(`${server.url}/echo`);
  const loop = (async () => {
    for await (const message of conn) assert.fail(message);
  })();
  const recv = assert.rejects(conn.recv(), { name: "ConnectionClosed" });
  const first = conn.close();
  assert.equal(await conn.close(), await first);
  await Promise.all([loop, recv]);
  assert.equal(conn.state, "closed");
});

test("abort() waits for nothing, and the server is told", async (t) => {
  const server = await serve(t);
  const conn = await connect(`${server.url}/idle`);
  const transmitted = conn.send("a");
  await assert.rejects(conn.request("nothing"), { code: "method-not-found" }); // behind "a"
  const queued = conn.send("b");
  conn.abort({ reason: "no more" });
  assert.equal(conn.state, "closed");
  assert.deepEqual([transmitted.outcome, queued.outcome], ["unknown", "not taken"]);
  conn.abort();
  while (await server.do("living"));
  const ends = (await server.do("events")).filter(({ name }) => name === "closed");
  assert.deepEqual(ends, [{ name: "closed", code: 4499, reason: "no more" }]);
});

test("a half-close: nothing is sent any more, and what comes is taken", async (t) => {
  const server = await serve(t);
  const conn = await connect(`${server.url}/echo`);
  for (const message of "abc") conn.send(message);
  conn.finish();
  assert.throws(() => conn.send("d"), { name: "ConnectionClosed" });
  const back = [];
  for await (const message of conn) back.push(message);
  assert.deepEqual(back, ["a", "b", "c"]);
  assert.equal((await conn.close()).confirmed, 3);
});

test("`await using` closes", { skip: !Symbol.asyncDispose }, async (t) => {
  const server = await serve(t);
  const conn = await connect(`${server.url}/take`);
  conn.send("a");
  await conn[Symbol.asyncDispose]();
  assert.deepEqual(server.ledger(), [[conn.id, "a"]]);
});

test("a session without a store cannot be kept", async (t) => {
  const server = await serve(t);
  const conn = await connect(`${server.url}/take`);
  assert.throws(() => conn.keep(), TypeError);
  await conn.close();
});
