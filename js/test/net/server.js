// Starts `server.py` in a child process, and speaks to it.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const OWN = join(ROOT, ".venv/bin/python");
const PYTHON = process.env.PYTHON ?? (existsSync(OWN) ? OWN : "python3");

/**
 * Start a server. It ends with the test.
 *
 * @param {import("node:test").TestContext} t
 * @param {object} config fields of the Python `Config`
 */
export async function serve(t, config = {}) {
  const folder = mkdtempSync(join(tmpdir(), "reliable-ws-"));
  const ledger = join(folder, "ledger");
  const child = spawn(
    PYTHON,
    [
      join(ROOT, "js/test/net/server.py"),
      "--config",
      JSON.stringify(config),
      "--ledger",
      ledger,
    ],
    { stdio: ["pipe", "pipe", "inherit"], env: { ...process.env, PYTHONPATH: ROOT } },
  );
  const over = new Promise((resolve) => child.on("close", resolve));
  t.after(async () => {
    child.kill("SIGKILL"); // it would wait for its sessions
    await over;
    rmSync(folder, { recursive: true });
  });
  const lines = createInterface({ input: child.stdout });
  const [line] = await Promise.race([
    once(lines, "line"),
    over.then(() => Promise.reject(new Error("the server did not start"))),
  ]);
  const { url, direct } = JSON.parse(line);
  const waiting = new Map();
  lines.on("line", (line) => {
    const { id, result } = JSON.parse(line);
    waiting.get(id)(result);
    waiting.delete(id);
  });
  let last = 0;
  return {
    /** The address of the proxy, and that of the server behind it. */
    url,
    direct,
    /** Have a command done. */
    do(name, options = {}) {
      last += 1;
      child.stdin.write(`${JSON.stringify({ id: last, do: name, with: options })}\n`);
      return new Promise((resolve) => waiting.set(last, resolve));
    },
    /** What the application took, in order: the session's id and the message. */
    ledger: () =>
      readFileSync(ledger, "utf8")
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line)),
  };
}
