import assert from "node:assert/strict";
import { test } from "node:test";
import { Thresholds } from "../dist/waiters.js";

/** Wait for these numbers, and note what becomes of each. */
function waiting(numbers) {
  const thresholds = new Thresholds();
  const fates = {};
  for (const number of numbers) {
    thresholds.wait(number).then(
      () => (fates[number] = "reached"),
      (error) => (fates[number] = error),
    );
  }
  return { thresholds, fates, settled: () => new Promise(setImmediate) };
}

test("those that wait for a number, and for less, are told when it is reached", async () => {
  const { thresholds, fates, settled } = waiting([2, 5, 3, 9]);
  thresholds.reach(4);
  await settled();
  assert.deepEqual(fates, { 2: "reached", 3: "reached" });
});

test("a wait may end for each number in its own way", async () => {
  const { thresholds, fates, settled } = waiting([1, 2, 3, 4]);
  thresholds.settle((number) => (number === 3 ? undefined : `not ${number}`), 1);
  await settled();
  assert.deepEqual(fates, { 2: "not 2", 3: "reached", 4: "not 4" });
  thresholds.reach(9);
  await settled();
  assert.equal(fates[1], "reached");
});
