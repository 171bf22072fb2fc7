// Writes the table of docs/javascript.md: what was run where. The rows are what the runs have left in
// js/results/ (`make js-table`).
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { rows } from "./results.mjs";

const PAGE = fileURLToPath(new URL("../../docs/javascript.md", import.meta.url));
const [BEGIN, END] = ["<!-- table:begin -->", "<!-- table:end -->"];

const byRuntime = new Map();
for (const { runtime, version, socket, scenarios } of rows()) {
  const name = socket === "own" ? runtime : `${runtime} with \`${socket}\``;
  const row = byRuntime.get(name) ?? { versions: [], scenarios };
  row.versions.push(version);
  row.scenarios = Math.min(row.scenarios, scenarios);
  byRuntime.set(name, row);
}
const order = new Intl.Collator("en", { numeric: true }).compare;
const lines = [...byRuntime]
  .sort(([a], [b]) => order(a, b))
  .map(([name, { versions, scenarios }]) => {
    return `| ${name} | ${versions.sort(order).join("<br>")} | ${scenarios} |`;
  });
const table = ["| runtime | versions tested | scenarios |", "| --- | --- | --- |", ...lines];

const page = readFileSync(PAGE, "utf8");
const [before, rest] = page.split(BEGIN);
const after = rest.split(END)[1];
writeFileSync(PAGE, `${before}${BEGIN}\n${table.join("\n")}\n${END}${after}`);
