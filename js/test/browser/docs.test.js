// The JavaScript of the pages is run in a page, as it stands there: each block in a module of its own.
// tests/docs/test_blocks.py looks up here which blocks are run.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { WHOLE } from "./browsers.js";
import { Scene } from "./scene.js";
import { REPOSITORY, until } from "./server.js";

// The block of a page behind the hidden comment `<!-- run: name -->`.
function block(page, name) {
  const text = readFileSync(join(REPOSITORY, page), "utf8");
  const found = text.split(`<!-- run: ${name} -->\n`)[1].match(/^```\w+\n([^]*?)^```/m);
  return found[1].replace(/^<\/?script.*>$/gm, "");
}

describe("the blocks of the pages", () => {
  const scene = new Scene(WHOLE[0]);
  before(() => scene.start());
  after(() => scene.stop());
  afterEach(() => scene.clear());

  // Run one. `query` says what the server does, `globals` what else the block needs, `prepared` what
  // is done before. Return the page when the block has come to its end, or has shown something.
  async function run(page_, name, { query = "?echo=1", prepared = "", edit = (text) => text } = {}) {
    const url = JSON.stringify(scene.server.ws + query);
    const text = block(page_, name)
      .replace(/`wss?:\/\/\$\{location\.host\}\/live`|"wss:\/\/example\.org\/live"/, url)
      .replace('"/reliable-ws.js"', '"/browser/reliable-ws.js"');
    const page = await scene.open();
    const errors = [];
    page.on("pageerror", (error) => errors.push(String(error)));
    await page.evaluate((url_) => {
      Object.assign(globalThis, { url: url_, connect: rws.connect, shown: [], done: false });
      globalThis.show = (message) => shown.push(message);
      console.log = show;
    }, scene.server.ws + query);
    await page.addScriptTag({
      type: "module",
      content: `${prepared}\n${edit(text)}\nglobalThis.done = true;`,
    });
    await until(async () => {
      assert.deepEqual(errors, []);
      return page.evaluate(() => done || shown.length > 0);
    });
    return page;
  }

  const connected = "globalThis.conn = await connect(url, { codec: msgpack });";
  const shown = (page) => page.evaluate(() => shown);

  test("the page of the README", async () => {
    const page = await run("README.md", "page");
    assert.deepEqual(await shown(page), [{ order: 17 }]);
  });

  test("the page of docs/browser.md", async () => {
    const page = await run("docs/browser.md", "page");
    assert.deepEqual(await shown(page), [{ order: 17 }]);
  });

  test("the README of the package", async () => {
    const page = await run("js/README.md", "readme");
    assert.deepEqual(await shown(page), [{ order: 17 }]);
  });

  test("the quick start comes to its end", async () => {
    const page = await run("docs/javascript.md", "start", {
      query: "?end=1",
      edit: (text) => `${text}\nshow([report.sent, report.confirmed]);`,
    });
    assert.deepEqual(await shown(page), [[1, 1]]);
  });

  test("what the store has kept is there after a reload", async () => {
    const page = await run("docs/javascript.md", "store");
    assert.ok(await page.evaluate(() => indexedDB.databases().then((all) => all.length > 0)));
  });

  // What a framework does with it: it subscribes, and reads the value again when it is called.
  // What it gives to a component stands in `seen()`. Then a message is sent, and confirmed.
  const FRAMEWORKS = {
    react: {
      prepared: `const useSyncExternalStore = (subscribe, read) => (
        subscribe(() => (globalThis.seen = component)), read());`,
      edit: (text) => {
        const body = text.replace(/<span>\{(.*)\}<\/span>/, "$1");
        return `function component() { ${body} }\ncomponent();`;
      },
    },
    vue: {
      prepared: "const shallowRef = (value) => ({ value }), onUnmounted = () => {};",
      edit: (text) => `${text}\nglobalThis.seen = () => status.value.state;`,
    },
    svelte: {
      prepared: "const readable = (value, start) => (start((now) => (value = now)), () => value);",
      edit: (text) => `${text}\nglobalThis.seen = () => status().state;`,
    },
  };
  const MARKS = [
    ["docs/javascript.md", "react"],
    ["docs/javascript.md", "vue"],
    ["docs/javascript.md", "svelte"],
  ];
  for (const [page_, name] of MARKS) {
    test(`the mark of what is saved, in ${name}`, async () => {
      const { prepared, edit } = FRAMEWORKS[name];
      const page = await run(page_, name, { prepared: `${connected}\n${prepared}`, edit });
      await page.evaluate(() => void conn.send("x"));
      await until(() => page.evaluate(() => globalThis.seen?.() === "saved"));
    });
  }

  test("requests and streams", async () => {
    const page = await run("docs/javascript.md", "calls", {
      prepared: `${connected} const { signal } = new AbortController();`,
      edit: (text) => `${text}\nshow(sum);`,
    });
    await until(async () => (await shown(page)).length === 3);
    assert.deepEqual(await shown(page), ["app.log 1", "app.log 2", 3]);
  });

  test("methods that the server may call", async () => {
    const files = "globalThis.files = { rename: (id, name) => `${id} is ${name}` };";
    await run("docs/javascript.md", "handlers", { query: "?ask=rename", prepared: files });
    await until(() => scene.server.taken().includes("1 is new"));
  });
});
