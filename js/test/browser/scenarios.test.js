// The scenarios of test/runtimes/, in pages. What passed is written down for docs/javascript.md.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { record } from "../../scripts/results.mjs";
import { serve } from "../net/server.js";
import { BROWSERS, versionOf } from "./browsers.js";
import { inEach } from "./scene.js";
import { until } from "./server.js";

const NAMES = { chromium: "Chromium", firefox: "Firefox", webkit: "WebKitGTK" };

// Return the version of a browser. That of WebKit cannot be asked without a display.
function numberOf(name) {
  const query = ["-W", "-f", "${Version}", "webkit2gtk-driver"];
  const said = name === "webkit" ? execFileSync("dpkg-query", query) : versionOf(name);
  return /\d+(\.\d+)+/.exec(said)[0];
}

inEach((scene) => {
  test("every scenario of the other runtimes", async (t) => {
    const { url, direct } = await serve(t);
    const page = await scene.open();
    await page.evaluate(
      async (url, direct) => {
        const client = await import("/dist/index.js");
        const { scenarios } = await import("/test/runtimes/scenarios.js");
        const ran = (globalThis.ran = { passed: 0, failed: [], isOver: false });
        (async () => {
          for (const [name, run] of Object.entries(scenarios(client, url, direct))) {
            ran.running = name;
            try {
              await run();
              ran.passed += 1;
            } catch (error) {
              ran.failed.push(`${name}: ${error}`);
            }
          }
          ran.isOver = true;
        })();
      },
      url,
      direct,
    );
    await until(() => page.evaluate(() => globalThis.ran.isOver), 100_000);
    const { passed, failed } = await page.evaluate(() => globalThis.ran);
    assert.deepEqual(failed, []);
    assert.equal(passed, 13);
    const [runtime, version] = [NAMES[scene.name], numberOf(scene.name)];
    record({ runtime, version, socket: "own", scenarios: passed });
  });
}, BROWSERS);
