// Writes ../reliable_ws/browser/reliable-ws.js: the whole client as one module, for servers in
// Python that serve it to pages. With --check it writes nothing, and fails if that file differs.
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const read = (path) => readFileSync(at(path), "utf8");
const target = at("../../reliable_ws/browser/reliable-ws.js");

const { metafile, outputFiles } = await build({
  stdin: {
    contents: ["index", "store/index", "msgpack"]
      .map((entry) => `export * from "./src/${entry}.js";`)
      .join("\n"),
    resolveDir: at(".."),
    loader: "ts",
  },
  absWorkingDir: at(".."),
  bundle: true,
  minify: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  external: ["ws"],
  charset: "utf8",
  legalComments: "none",
  metafile: true,
  write: false,
});

// What is in it, and under which licences.
const { version, license } = JSON.parse(read("../package.json"));
const packages = Object.keys(metafile.inputs)
  .map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1])
  .filter(Boolean);
const licences = [...new Set(packages)].map((name) => {
  const { version: theirs } = JSON.parse(read(`../node_modules/${name}/package.json`));
  return `It contains ${name} ${theirs}:\n\n${read(`../node_modules/${name}/LICENSE`).trim()}`;
});
const header = [
  `reliable-ws ${version} for pages (${license} licence). Made by \`make js-bundle\`.`,
  read("../../LICENSE").trim(),
  ...licences,
].join("\n\n");

const made = `/*!\n${header.replaceAll("*/", "* /")}\n*/\n${outputFiles[0].text}`;
if (!process.argv.includes("--check")) {
  writeFileSync(target, made);
} else if (made !== readFileSync(target, "utf8")) {
  console.error("reliable_ws/browser/reliable-ws.js is not what the sources make: make js-bundle");
  process.exit(1);
}
