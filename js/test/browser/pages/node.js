// As much of Node as the tests need that run in a page, too: `node:test`, `node:assert/strict`,
// `node:fs` and `Buffer`. They run unchanged: see tests.html.

const tests = [];

export function test(title, work) {
  tests.push([title, work]);
}

// Run the tests, in order. Return how many there were, and what failed.
export async function run() {
  const failed = [];
  for (const [title, work] of tests) {
    try {
      await work();
    } catch (error) {
      failed.push(`${title}: ${error}\n${error?.stack}`);
    }
  }
  return { count: tests.length, failed };
}

export function readFileSync(url) {
  const request = new XMLHttpRequest();
  request.open("GET", url, false);
  request.send();
  if (request.status !== 200) throw new Error(`${url}: ${request.status}`);
  return request.responseText;
}

globalThis.Buffer = {
  from(data, encoding) {
    if (encoding === "hex") return data.match(/../g)?.map((digits) => parseInt(digits, 16)) ?? [];
    const digits = (byte) => byte.toString(16).padStart(2, "0");
    return { toString: () => Array.from(data, digits).join("") };
  },
};

const shown = (value) => JSON.stringify(value)?.slice(0, 500);

function fail(words = "", ...values) {
  throw new Error([words, ...values.map(shown)].join(" | "));
}

function isSame(one, other) {
  if (Object.is(one, other)) return true;
  if (typeof one !== "object" || typeof other !== "object" || !one || !other) return false;
  if (Object.getPrototypeOf(one) !== Object.getPrototypeOf(other)) return false;
  const [keys, others] = [Object.keys(one), Object.keys(other)];
  if (keys.length !== others.length || one.length !== other.length) return false;
  return keys.every((key) => Object.hasOwn(other, key) && isSame(one[key], other[key]));
}

const assert = {
  ok: (value, words) => value || fail(words, value),
  equal: (one, other, words) => Object.is(one, other) || fail(words, one, other),
  notEqual: (one, other, words) => Object.is(one, other) && fail(words, one),
  deepEqual: (one, other, words) => isSame(one, other) || fail(words, one, other),
  throws(work, expected) {
    let error;
    try {
      work();
    } catch (thrown) {
      error = thrown;
    }
    if (!error) fail("nothing was thrown");
    const isExpected = expected instanceof RegExp ? expected.test(String(error)) : expected(error);
    if (!isExpected) throw error;
  },
};

export default assert;
