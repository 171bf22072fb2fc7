// The golden vectors, played by the built package inside a page.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BROWSERS } from "./browsers.js";
import { inEach } from "./scene.js";
import { until } from "./server.js";

inEach((scene) => {
  test("every vector: good, bad, weights, conversations", async () => {
    const page = await (await scene.place()).newPage();
    await page.goto(`${scene.server.http}/pages/tests.html?vectors.test.js`);
    await until(() => page.evaluate(() => "running" in globalThis));
    const { count, failed } = await page.evaluate(() => running);
    assert.deepEqual(failed, []);
    assert.ok(count > 290, `only ${count} tests`);
  });

  test("what stands in for node:assert there sees differences", async () => {
    const page = await (await scene.place()).newPage();
    await page.goto(`${scene.server.http}/pages/tests.html?config.test.js`);
    const unseen = await page.evaluate(async () => {
      const { default: assert } = await import("/pages/node.js");
      const different = [
        [1, 2],
        [1, "1"],
        [0, -0],
        [null, undefined],
        [[1], [1, 2]],
        [[1], { 0: 1 }],
        [{ a: 1 }, { b: 1 }],
        [{ a: [1, { b: 2 }] }, { a: [1, { b: 3 }] }],
        [Uint8Array.of(1, 2), Uint8Array.of(1, 3)],
        [Uint8Array.of(1, 2), [1, 2]],
      ];
      const passes = ([one, other]) => {
        try {
          assert.deepEqual(one, other);
          return true;
        } catch {
          return false;
        }
      };
      return different.filter(passes).length;
    });
    assert.equal(unseen, 0);
  });
}, BROWSERS);
