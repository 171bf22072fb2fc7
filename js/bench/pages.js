// Pages that measure, each in a browser of its own.
//
// No debugger is attached, as one would be by puppeteer or WebDriver: Chromium tells it of every
// WebSocket message, which makes plain WebSockets three times slower than they are.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { build } from "esbuild";
import {
  CHROMIUM_ARGUMENTS,
  makeProfile,
  programOf,
  removeProfile,
} from "../test/browser/browsers.js";
import { startDisplay } from "../test/browser/webkit.js";

const FIREFOX_SETTINGS = `
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.newtab.preload", false);
user_pref("browser.newtabpage.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionPolicyBypassNotification", true);
`;

// How each browser is started with a page.
const COMMANDS = {
  chromium: (profile) => [...CHROMIUM_ARGUMENTS, "--headless=new", `--user-data-dir=${profile}`],
  firefox: (profile) => ["--headless", "--no-remote", "--profile", profile],
  webkit: () => ["--private"],
};

// A page, in a browser of its own. It asks for what to do.
export class Page {
  static async open(name) {
    const page = new Page();
    process.once("exit", () => page.close());
    const { outputFiles } = await build({
      entryPoints: [join(import.meta.dirname, "page.js")],
      bundle: true, // as an application is
      minify: true,
      format: "esm",
      external: ["ws"],
      write: false,
    });
    const html = `<!doctype html><script type="module">${outputFiles[0].text}</script>`;
    page.server = createServer(async (request, response) => {
      if (request.url === "/") {
        response.setHeader("Content-Type", "text/html; charset=utf-8").end(html);
      } else if (request.url === "/next") {
        const result = await json(request);
        page.answered?.(result);
        page.ask = (order) => response.end(JSON.stringify(order));
        page.ready();
      } else response.writeHead(404).end();
    });
    await once(page.server.listen(0, "127.0.0.1"), "listening");
    const isReady = new Promise((resolve) => (page.ready = resolve));
    page.profile = makeProfile();
    writeFileSync(join(page.profile, "user.js"), FIREFOX_SETTINGS);
    if (name === "webkit") page.display = await startDisplay();
    const address = `http://127.0.0.1:${page.server.address().port}/`;
    page.browser = spawn(programOf(name), [...COMMANDS[name](page.profile), address], {
      env: { ...process.env, DISPLAY: `:${page.display?.number}`, LIBGL_ALWAYS_SOFTWARE: "1" },
      stdio: "ignore",
      detached: true, // the head of a process group: all processes of the browser end together
    });
    await isReady;
    return page;
  }

  // Have a contestant run; return how many milliseconds it took.
  async run(name, ...args) {
    const answer = new Promise((resolve) => (this.answered = resolve));
    this.ask({ name, args });
    const { time, error, hidden } = await answer;
    if (error) throw new Error(error);
    if (hidden) throw new Error("the page is hidden: its browser shows another one");
    return time;
  }

  // A second call has no effect.
  close() {
    if (this.isClosed) return;
    this.isClosed = true;
    if (this.browser) process.kill(-this.browser.pid, "SIGKILL");
    this.display?.process.kill();
    this.server?.close();
    this.server?.closeAllConnections();
    if (this.profile) removeProfile(this.profile);
  }
}
