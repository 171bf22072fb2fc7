// The client in a process of its own: what keeps that alive, and what does not.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { serve } from "./server.js";

const INDEX = new URL("../../dist/index.js", import.meta.url).href;

/** Run a module with `connect` and `url`; `print` writes a line. */
function run(t, url, code) {
  const source = `
    import { connect } from ${JSON.stringify(INDEX)};
    const url = ${JSON.stringify(url)};
    const print = (words) => console.log(words);
    ${code}`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", source], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  t.after(() => child.kill());
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const exited = new Promise((resolve) => child.on("exit", (code) => resolve(code)));
  return { line: async () => (await lines.next()).value, exited, child };
}

test("a process ends by itself once its connection is closed", async (t) => {
  const server = await serve(t);
  const { line, exited } = run(t, `${server.url}/echo`, `
    const conn = await connect(url);
    conn.send("a");
    print(await conn.recv());
    await conn.close();
    print("closed");`);
  assert.deepEqual([await line(), await line()], ["a", "closed"]);
  assert.equal(await exited, 0);
});

test("an open connection keeps its process alive, and so does one that reconnects", async (t) => {
  const server = await serve(t);
  const { line, exited, child } = run(t, `${server.url}/echo`, `
    const conn = await connect(url, { onEvent: ({ name }) => print(name) });
    (async () => {
      for await (const message of conn) print(message);
      print("over");
    })();
    conn.send("a");`);
  assert.deepEqual([await line(), await line()], ["opened", "a"]);
  await server.do("offline");
  while ((await line()) !== "attempt failed");
  await server.do("online");
  while ((await line()) !== "resumed");
  assert.equal(child.exitCode, null);
  await server.do("drain");
  const rest = [];
  for (let words; (words = await line()); ) rest.push(words);
  assert.ok(rest.includes("over"), rest.join());
  child.kill();
  await exited;
});

test("a process ends after an abort, also where the peer does not answer", async (t) => {
  const server = await serve(t);
  const { line, exited } = run(t, `${server.url}/idle`, `
    const conn = await connect(url);
    conn.abort();
    print(conn.state);`);
  assert.equal(await line(), "closed");
  assert.equal(await exited, 0);
});

test("a first attempt that fails leaves nothing behind", async (t) => {
  const { line, exited } = run(t, "ws://127.0.0.1:9/", `
    await connect(url).catch((error) => print(error.name));`);
  assert.equal(await line(), "ConnectFailed");
  assert.equal(await exited, 0);
});
