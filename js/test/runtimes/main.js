// Runs the scenarios in the runtime that runs this: `main.js PROXY DIRECT ws|own`. It prints a line of
// JSON for each, and ends with 1 if one failed.
import * as client from "../../dist/index.js";
import { scenarios } from "./scenarios.js";

const [url, direct, kind] = process.argv.slice(2);
const WebSocket = kind === "ws" ? (await import("ws")).WebSocket : globalThis.WebSocket;
let failed = 0;
process.on("unhandledRejection", (error) => {
  console.log(JSON.stringify({ name: "unhandled rejection", error: String(error) }));
  process.exit(1);
});
for (const [name, run] of Object.entries(scenarios(client, url, direct, { WebSocket }))) {
  const limit = setTimeout(() => {
    console.log(JSON.stringify({ name, error: "it takes too long" }));
    process.exit(1);
  }, 90_000);
  try {
    await run();
    console.log(JSON.stringify({ name }));
  } catch (error) {
    failed += 1;
    console.log(JSON.stringify({ name, error: error?.stack ?? String(error) }));
  }
  clearTimeout(limit);
}
process.exit(failed ? 1 : 0);
