// Size of each entry as a page loads it: bundled, minified, gzipped. Fails above the limit.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const LIMITS = { index: 28_150, "store/index": 4 * 1024 };

let failed = false;
for (const [entry, limit] of Object.entries(LIMITS)) {
  const path = fileURLToPath(new URL(`../dist/${entry}.js`, import.meta.url));
  if (!existsSync(path)) continue;
  const { outputFiles } = await build({
    entryPoints: [path],
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    external: ["ws"],
    write: false,
  });
  const size = gzipSync(outputFiles[0].contents, { level: 9 }).length;
  console.log(`${entry}: ${size} bytes gzipped, of at most ${limit}`);
  failed ||= size > limit;
}
process.exit(failed ? 1 : 0);
