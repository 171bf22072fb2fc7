// The scenarios in every runtime that is here: this Node, those of `package.json` beside this file,
// Deno and Bun. What passed is written into js/results/, for the table of docs/javascript.md.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { accessSync } from "node:fs";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { record } from "../../scripts/results.mjs";
import { serve } from "../net/server.js";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** Runtimes: how a module is run there, and which WebSockets there are. */
const RUNTIMES = [
  { name: "Node.js", run: [process.execPath] },
  { name: "Node.js", run: [here("node_modules/node20/bin/node")] },
  { name: "Node.js", run: [here("node_modules/node22/bin/node")] },
  { name: "Deno", run: [here("node_modules/@deno/linux-x64-glibc/deno"), "run", "--allow-all"] },
  { name: "Bun", run: [here("node_modules/@oven/bun-linux-x64/bin/bun"), "run"] },
];

/** Return the version of a runtime, or `undefined` where there is none on this machine. */
function versionOf([binary]) {
  try {
    accessSync(binary);
  } catch {
    return undefined;
  }
  const said = execFileSync(binary, ["--version"], { encoding: "utf8" });
  return /\d+\.\d+\.\d+/.exec(said)[0];
}

function socketsOf(name, version) {
  if (name !== "Node.js") return ["own"];
  return Number.parseInt(version, 10) < 22 ? ["ws"] : ["ws", "own"];
}

const seen = new Set();
for (const { name, run } of RUNTIMES) {
  const version = versionOf(run);
  if (!version) {
    test(`${name}: not on this machine (${run[0]})`, { skip: true }, () => {});
    continue;
  }
  if (seen.has(name + version)) continue;
  seen.add(name + version);
  for (const kind of socketsOf(name, version)) {
    test(`${name} ${version}, ${kind} WebSocket`, async (t) => {
      const server = await serve(t);
      const [binary, ...args] = [...run, here("main.js"), server.url, server.direct, kind];
      const env = { ...process.env, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" };
      const child = spawn(binary, args, { stdio: ["ignore", "pipe", "inherit"], env });
      t.after(() => child.kill("SIGKILL"));
      const exited = new Promise((resolve) => child.on("exit", resolve));
      const passed = [];
      for await (const line of createInterface({ input: child.stdout })) {
        const { name: scenario, error } = JSON.parse(line);
        assert.equal(error, undefined, `${scenario}: ${error}`);
        passed.push(scenario);
      }
      assert.equal(await exited, 0);
      assert.equal(passed.length, 13);
      record({ runtime: name, version, socket: kind, scenarios: passed.length });
    });
  }
}
