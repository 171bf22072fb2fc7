// One browser and one server for the tests of a file.

import { after, afterEach, before, describe } from "node:test";
import { WHOLE, launch } from "./browsers.js";
import { Server, until } from "./server.js";

export class Scene {
  places = [];

  constructor(name) {
    this.name = name;
  }

  async start() {
    this.server = await Server.start();
    this.browser = await launch(this.name);
  }

  async stop() {
    await this.browser?.close();
    await this.server?.stop();
  }

  // Return a place of its own for data, as if nobody had been there before.
  async place() {
    const place = await this.browser.createBrowserContext();
    this.places.push(place);
    return place;
  }

  // Close what a test has opened.
  async clear() {
    for (const place of this.places.splice(0)) await place.close();
  }

  // Open the application in a new tab. Without a place, in one of its own.
  async open(place) {
    const page = await (place ?? (await this.place())).newPage();
    await load(page, this.server);
    return page;
  }
}

// Load the application into a tab, and wait until it runs.
export async function load(page, server) {
  await page.goto(`${server.http}/pages/app.html`);
  await until(() => page.evaluate(() => "rws" in globalThis));
}

// Reload it.
export async function reload(page) {
  await page.reload();
  await until(() => page.evaluate(() => "rws" in globalThis));
}

// Define tests for each browser: `define` is called with a scene that is there while they run.
export function inEach(define, names = WHOLE) {
  for (const name of names) {
    describe(name, () => {
      const scene = new Scene(name);
      before(() => scene.start());
      afterEach(() => scene.clear());
      after(() => scene.stop());
      define(scene);
    });
  }
}

// Whether a page waits for a lock.
export async function isWaiting(page) {
  const { pending } = await page.evaluate(() => navigator.locks.query());
  return pending.length > 0;
}

// Kill the process of a tab. Only Chromium has a command for it.
export async function crash(page) {
  const session = await page.createCDPSession();
  session.send("Page.crash").catch(() => {}); // it is never answered
}
