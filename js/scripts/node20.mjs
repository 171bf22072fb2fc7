// Runs the tests in Node 20, the oldest one that is supported: with `ws`, as it has no WebSocket.
import { spawnSync } from "node:child_process";
import { existsSync, globSync } from "node:fs";
import { fileURLToPath } from "node:url";

const node = fileURLToPath(new URL("../test/runtimes/node_modules/node20/bin/node", import.meta.url));
if (!existsSync(node)) {
  console.log("Node 20: npm has none for this machine");
} else {
  const files = globSync("test/{,net/}*.test.js");
  const options = ["--test", "--test-concurrency=4", "--test-timeout=180000"];
  process.exit(spawnSync(node, [...options, ...files], { stdio: "inherit" }).status ?? 1);
}
