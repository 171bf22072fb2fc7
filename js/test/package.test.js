// The package as it is published.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { test } from "node:test";

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");
const { version, exports, dependencies } = JSON.parse(read("../package.json"));

test("both packages have one version, and one licence", () => {
  assert.equal(version, /^version = "(.*)"$/m.exec(read("../../pyproject.toml"))[1]);
  assert.equal(read("../LICENSE"), read("../../LICENSE"));
});

test("each entry is built, with types", () => {
  for (const [entry, files] of Object.entries(exports)) {
    for (const path of typeof files === "string" ? [files] : Object.values(files)) {
      assert.ok(existsSync(new URL(`../${path}`, import.meta.url)), `${entry}: ${path}`);
    }
  }
});

test("only the store has a dependency", () => {
  assert.deepEqual(Object.keys(dependencies), ["idb"]);
  assert.doesNotMatch(read("../dist/index.js") + read("../dist/msgpack.js"), /from "(?!\.)/);
});

test("the entry for values needs nothing of what opens connections", async () => {
  const { msgpack, msgpackCodec } = await import("reliable-ws/msgpack");
  assert.equal(msgpack.name, "msgpack");
  assert.equal(typeof msgpackCodec, "function");
});
