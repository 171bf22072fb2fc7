// WebKitGTK by W3C WebDriver: as much of puppeteer's interface as the tests use.
//
// Each place is a MiniBrowser of its own, with data that nobody else has. It shows its windows on a
// display in memory (Xvfb).

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const DRIVER = "/usr/bin/WebKitWebDriver";
const DISPLAY = "/usr/bin/Xvfb";

// Process groups that run. A runner that gives up sends SIGTERM, and they are not its children.
const groups = new Set();
process.once("SIGTERM", () => {
  for (const pid of groups) process.kill(-pid, "SIGKILL");
  process.exit(1);
});

export async function launchWebKit(binary) {
  const display = await startDisplay();
  const places = [];
  return {
    async createBrowserContext() {
      const place = await Place.start(binary, display.number);
      places.push(place);
      return place;
    },
    async newPage() {
      return (await this.createBrowserContext()).newPage();
    },
    async close() {
      for (const place of places) place.close();
      display.process.kill();
      groups.delete(display.process.pid);
    },
  };
}

// A display in memory: its process and its number.
export async function startDisplay() {
  const options = { stdio: ["ignore", "ignore", "ignore", "pipe"], detached: true };
  const process_ = spawn(DISPLAY, ["-displayfd", "3", "-nolisten", "tcp"], options);
  const [number] = await once(createInterface({ input: process_.stdio[3] }), "line");
  groups.add(process_.pid);
  return { process: process_, number };
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return port;
}

class Place {
  last = Promise.resolve(); // the command before

  static async start(binary, display) {
    const place = new Place();
    const port = await freePort();
    place.driver = spawn(DRIVER, [`--port=${port}`], {
      env: { ...process.env, DISPLAY: `:${display}`, LIBGL_ALWAYS_SOFTWARE: "1" },
      stdio: "ignore",
      detached: true, // the head of a process group: the browser ends with it
    });
    groups.add(place.driver.pid);
    place.url = `http://127.0.0.1:${port}/session`;
    const browser = { binary, args: ["--automation"] };
    const alwaysMatch = { browserName: "MiniBrowser", "webkitgtk:browserOptions": browser };
    const { sessionId } = await place.ask("POST", "", { capabilities: { alwaysMatch } });
    place.url += `/${sessionId}`;
    return place;
  }

  // One command, the driver's answer. While the driver starts, nobody answers.
  async ask(method, path, body) {
    const options = { method, body: body && JSON.stringify(body) };
    for (let left = 500; ; left--) {
      try {
        const response = await fetch(this.url + path, options);
        const { value } = await response.json();
        if (!response.ok) throw new Error(`WebDriver: ${value.error}: ${value.message}`);
        return value;
      } catch (error) {
        if (error.cause?.code !== "ECONNREFUSED" || !left) throw error;
        await sleep(10);
      }
    }
  }

  async newPage() {
    // The browser begins with one window.
    const first = !this.used && (await this.ask("GET", "/window"));
    this.used = true;
    return new Page(this, first || (await this.ask("POST", "/window/new", { type: "tab" })).handle);
  }

  // Kill the driver with its browser. A second call has no effect.
  close() {
    if (this.driver.exitCode === null && this.driver.signalCode === null) {
      process.kill(-this.driver.pid, "SIGKILL");
    }
    groups.delete(this.driver.pid);
  }
}

class Page {
  constructor(place, handle) {
    this.place = place;
    this.handle = handle;
  }

  // Commands go to the window that was switched to, so each waits for those before.
  ask(method, path, body) {
    const { place } = this;
    const asked = place.last.then(async () => {
      await place.ask("POST", "/window", { handle: this.handle });
      return place.ask(method, path, body);
    });
    place.last = asked.catch(() => {});
    return asked;
  }

  goto(url) {
    return this.ask("POST", "/url", { url });
  }

  reload() {
    return this.ask("POST", "/refresh", {});
  }

  goBack() {
    return this.ask("POST", "/back", {});
  }

  close() {
    return this.ask("DELETE", "/window");
  }

  async bringToFront() {
    await this.ask("GET", "/window");
  }

  setViewport({ width, height }) {
    return this.ask("POST", "/window/rect", { width, height });
  }

  async click(selector) {
    await this.ask("POST", `/element/${await this.#find(selector)}/click`, {});
  }

  async type(selector, text) {
    await this.ask("POST", `/element/${await this.#find(selector)}/value`, { text });
  }

  async #find(value) {
    const found = await this.ask("POST", "/element", { using: "css selector", value });
    return Object.values(found)[0]; // its one key is a constant of the standard
  }

  // Run a function in the page. WebDriver waits for one script at a time, so this one begins the
  // work, and looks for what became of it: meanwhile other tabs have their turns.
  async evaluate(work, ...values) {
    const execute = (script, ...args) => this.ask("POST", "/execute/sync", { script, args });
    const begun = await execute(
      `const outcomes = (globalThis.outcomesOfWork ??= []);
      const number = outcomes.push(null) - 1;
      (async () => (${work})(...arguments))().then(
        (value) => (outcomes[number] = { value }),
        (error) => (outcomes[number] = { error: error + "\\n" + error?.stack }),
      );
      return number;`,
      ...values,
    );
    for (;;) {
      const outcome = await execute("return globalThis.outcomesOfWork?.[arguments[0]];", begun);
      if (outcome?.error) throw new Error(outcome.error);
      if (outcome) return outcome.value;
      if (outcome === undefined) throw new Error("the page was left while it worked");
      await sleep(5);
    }
  }
}
