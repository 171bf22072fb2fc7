// 20,000 messages each way, with 30 cuts: nothing lost, nothing doubled, judged by what the server's
// application wrote down.
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect } from "../../dist/index.js";
import { serve } from "./server.js";

const COUNT = 20_000;
const CUTS = 30;

test(`${COUNT} messages each way over ${CUTS} cuts`, async (t) => {
  // Small windows: what is cut off is always the middle of both streams.
  const server = await serve(t, { window_messages: 500 });
  let resumes = 0;
  const conn = await connect(`${server.url}/both?count=${COUNT}`, {
    backoff: { longest: 50 },
    config: { windowMessages: 500 },
    onEvent: ({ name }) => (resumes += name === "resumed"),
  });
  const down = [];
  const receiving = (async () => {
    for await (const message of conn) {
      down.push(message);
      if (down.length % Math.floor(COUNT / CUTS) === 0) await server.do("reset");
      if (down.length === COUNT) break;
    }
  })();
  for (let i = 0; i < COUNT; i++) {
    await conn.room();
    conn.send(`up ${i}`);
  }
  await receiving;
  const report = await conn.close();
  assert.deepEqual([report.sent, report.confirmed], [COUNT, COUNT]);
  assert.deepEqual(down, Array.from({ length: COUNT }, (_, i) => `down ${i}`));
  const ledger = server.ledger();
  assert.ok(ledger.every(([id]) => id === conn.id));
  const up = ledger.map(([, message]) => message);
  assert.deepEqual(up, Array.from({ length: COUNT }, (_, i) => `up ${i}`));
  assert.ok(resumes >= CUTS, `${resumes} resumes`);
});
