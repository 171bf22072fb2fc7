import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULTS, configure } from "../dist/protocol/config.js";

test("without changes the defaults hold", () => {
  assert.deepEqual(configure(), DEFAULTS);
});

test("the outbox is as large as the window, if nothing else is said", () => {
  const config = configure({ windowMessages: 7, windowBytes: 900 });
  assert.equal(config.outboxMessages, 7);
  assert.equal(config.outboxBytes, 900);
  assert.equal(configure({ windowBytes: 900, outboxBytes: 1000 }).outboxBytes, 1000);
});

test("a value out of range is refused by its name (LIMIT-1)", () => {
  const bad = { maxFrame: 4095, maxMessage: 999, idleTimeout: 0, windowBytes: 1.5, ackDelay: NaN };
  for (const [name, value] of Object.entries(bad)) {
    const error = { name: "RangeError", message: RegExp(name) };
    assert.throws(() => configure({ [name]: value }), error);
  }
  assert.throws(() => configure({ maxRequests: "9" }), RangeError);
});
