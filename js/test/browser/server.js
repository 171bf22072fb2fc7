// The Python server that the pages talk to, as a child process.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

export const REPOSITORY = resolve(import.meta.dirname, "../../..");
const IN_PLACE = join(REPOSITORY, ".venv/bin/python");
export const PYTHON = process.env.PYTHON ?? (existsSync(IN_PLACE) ? IN_PLACE : "python3");

export class Server {
  // Start a server. `config`: of its sessions, as in Python. `stored`: it keeps them in a file.
  static async start({ config = {}, stored = false } = {}) {
    const server = new Server();
    server.folder = mkdtempSync(join(tmpdir(), "reliable-ws-server-"));
    server.arguments = [
      ...["--ledger", join(server.folder, "ledger"), "--config", JSON.stringify(config)],
      ...(stored ? ["--store", join(server.folder, "store")] : []),
    ];
    await server.#run("0,0,0");
    return server;
  }

  async #run(ports) {
    const script = join(import.meta.dirname, "server.py");
    this.process = spawn(PYTHON, [script, ...this.arguments, "--ports", ports], {
      env: { ...process.env, PYTHONPATH: REPOSITORY },
      stdio: ["pipe", "pipe", "inherit"],
    });
    for await (const line of createInterface({ input: this.process.stdout })) {
      Object.assign(this, JSON.parse(line));
      return;
    }
    throw new Error("the server did not start");
  }

  // Have a command of server.py done, and return what it returned.
  async do(name, values = {}) {
    const query = new URLSearchParams(values);
    const response = await fetch(`${this.http}/do/${name}?${query}`, { method: "POST" });
    return response.json();
  }

  // What the application has taken: [session, number, message] each, in order.
  ledger() {
    const text = readFileSync(join(this.folder, "ledger"), "utf8");
    return text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
  }

  // The messages that were taken, whatever the session.
  taken() {
    return this.ledger().map(([, , message]) => message);
  }

  // Return the events that `choose` accepts when there are `count` of them.
  async events(choose, count = 1) {
    return until(async () => {
      const chosen = (await this.do("events")).filter(choose);
      return chosen.length >= count && chosen;
    });
  }

  async kill() {
    const gone = new Promise((resolve_) => this.process.once("exit", resolve_));
    this.process.kill("SIGKILL");
    await gone;
  }

  // Begin again where the killed process was.
  async restart() {
    await this.#run(this.ports);
  }

  async stop() {
    if (this.process.exitCode === null && this.process.signalCode === null) await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

// Return what `look` returns once that is something; an error after so many milliseconds.
export async function until(look, patience = 20_000) {
  const end = performance.now() + patience;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (performance.now() > end) throw new Error(`not within ${patience} ms: ${look}`);
    await sleep(10);
  }
}
