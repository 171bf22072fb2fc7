import assert from "node:assert/strict";
import { test } from "node:test";
import { Status, markOf } from "../dist/status.js";

const facts = (changes = {}) => ({
  unconfirmed: 0,
  unstored: 0,
  attached: true,
  ended: false,
  kept: false,
  ...changes,
});

test("the mark says what would be lost", () => {
  const away = { attached: false };
  const over = { attached: false, ended: true };
  for (const [changes, mark] of [
    [{}, "saved"],
    [away, "saved"],
    [over, "saved"],
    [{ unconfirmed: 2, unstored: 2 }, "saving"],
    [{ unconfirmed: 2, unstored: 0 }, "saving"],
    [{ unconfirmed: 2, unstored: 2, ...away }, "not saved"],
    [{ unconfirmed: 2, unstored: 1, ...away }, "not saved"],
    [{ unconfirmed: 2, unstored: 0, ...away }, "kept here"],
    [{ unconfirmed: 2, unstored: 0, ...over }, "not saved"],
    [{ unconfirmed: 2, unstored: 0, ...over, kept: true }, "kept here"],
  ]) {
    assert.equal(markOf(facts(changes)), mark, JSON.stringify(changes));
  }
});

test("the value is the same object until something changes, and `since` until the mark does", () => {
  let now = facts();
  const status = new Status(() => now);
  const first = status.value;
  assert.equal(first.state, "saved");
  assert.ok(Math.abs(first.since - Date.now()) < 1000);
  assert.equal(status.value, first);
  now = facts({ unconfirmed: 1, unstored: 1 });
  const second = status.value;
  assert.notEqual(second, first);
  now = facts({ unconfirmed: 2, unstored: 2 });
  assert.deepEqual(status.value, { ...second, unconfirmed: 2, unstored: 2 });
});

test("listeners are told of each change once, also where somebody has looked before", () => {
  let now = facts();
  const status = new Status(() => now);
  const told = [];
  const end = status.subscribe(() => told.push(status.value.unconfirmed));
  status.update();
  assert.deepEqual(told, []);
  now = facts({ unconfirmed: 1, unstored: 1 });
  assert.equal(status.value.unconfirmed, 1);
  status.update();
  status.update();
  assert.deepEqual(told, [1]);
  end();
  now = facts();
  status.update();
  assert.deepEqual(told, [1]);
});
