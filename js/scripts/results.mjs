// What was run where, for the table of docs/javascript.md. One file for each runtime and WebSocket, so
// that tests in different processes do not write into the same one.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const FOLDER = fileURLToPath(new URL("../results/", import.meta.url));

/**
 * Note what has passed.
 *
 * @param {{ runtime: string, version: string, socket: string, scenarios: number }} row `socket`: whose
 *   WebSocket: "own" or "ws". `scenarios`: how many were run there, all of which passed.
 */
export function record(row) {
  const name = [row.runtime, row.version, row.socket].join("-").replace(/[^\w.-]/g, "");
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(`${FOLDER}${name}.json`, `${JSON.stringify(row)}\n`);
}

/** Return all rows. */
export function rows() {
  const files = readdirSync(FOLDER).filter((name) => name.endsWith(".json"));
  return files.map((name) => JSON.parse(readFileSync(FOLDER + name, "utf8")));
}
