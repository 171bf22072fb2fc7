// What docs/javascript.md says of options and errors is so.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import * as client from "../dist/index.js";
import * as store from "../dist/store/errors.js";

const page = readFileSync(new URL("../../docs/javascript.md", import.meta.url), "utf8");

/** The rows of the table whose head begins like this: a list of cells each. */
function table(head) {
  const lines = page.slice(page.indexOf(`\n| ${head}`) + 1).split("\n");
  const rows = lines.slice(2, lines.findIndex((line) => !line.startsWith("|")));
  return rows.map((row) => row.split(" | ").map((cell) => cell.replace(/^\| |`/g, "")));
}

/** A number as the page writes it, or the name of the option that it is the same as. */
const value = (text, all) => all[text] ?? Number(text.replace(/ \(.*\)$/, "").replaceAll(",", ""));

test("every limit and timeout stands there with its default, and no other", () => {
  const said = table("`config` | default").map(([name, text]) => [name, value(text, client.DEFAULTS)]);
  assert.deepEqual(Object.fromEntries(said), client.DEFAULTS);
});

test("every number of the back-off stands there with its default", () => {
  const said = table("`backoff` | default").map(([name, text]) => [name, value(text, {})]);
  assert.deepEqual(Object.fromEntries(said), client.DEFAULT_BACKOFF);
});

test("every option of connect() stands there", () => {
  const source = readFileSync(new URL("../src/options.ts", import.meta.url), "utf8");
  const options = source.slice(source.indexOf("interface ConnectOptions"));
  const names = [...options.matchAll(/^ {2}(\w+)\?:/gm)].map(([, name]) => name);
  assert.ok(names.length > 10);
  assert.deepEqual(table("option | default").map(([name]) => name).sort(), names.sort());
});

test("every error stands there", () => {
  const said = table("error | from").flatMap(([names]) => names.split(", "));
  const errors = Object.entries({ ...client, ...store })
    .filter(([, value]) => value.prototype instanceof Error)
    .map(([name]) => name);
  const bases = ["ReliableWSError", "DeliveryError"];
  const missing = errors.filter((name) => !said.includes(name) && !bases.includes(name));
  assert.deepEqual([missing, said.filter((name) => !errors.includes(name))], [[], []]);
});
