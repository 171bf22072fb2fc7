// examples/browser: the chat in two windows, of which one is cut off and loaded again.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { WHOLE, launch } from "./browsers.js";
import { PYTHON, REPOSITORY, until } from "./server.js";

// Start one of the servers of the example; return its process and its address.
async function start(program, port) {
  const script = join(REPOSITORY, "examples/browser", program);
  const server = spawn(PYTHON, [script, "--port", port], {
    env: { ...process.env, PYTHONPATH: REPOSITORY },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const complaints = [];
  server.stderr.on("data", (data) => complaints.push(String(data)));
  for await (const line of createInterface({ input: server.stdout })) {
    return { server, complaints, address: /http:\S+/.exec(line)[0] };
  }
  throw new Error(`${program} did not start: ${complaints.join("")}`);
}

async function freePort() {
  const probe = createServer();
  await new Promise((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return String(port);
}

// What a person sees: the mark, and each line with what is said of it.
const look = (page) =>
  page.evaluate(() => ({
    mark: document.getElementById("mark").textContent,
    lines: [...document.querySelectorAll("#lines li")].map((item) => [
      item.querySelector("p").textContent,
      ...[...item.querySelectorAll("footer span")].map((span) => span.textContent),
    ]),
  }));

const sees = (page, mark, lines) =>
  until(async () => {
    const seen = await look(page);
    return isDeepStrictEqual(seen, { mark, lines }) || (page.seen = seen, false);
  }).catch((error) => {
    assert.deepEqual(page.seen, { mark, lines }, error.message);
    throw error;
  });

async function say(page, text) {
  await page.bringToFront(); // clicks wait for the page to be drawn
  await page.type("#say input", text);
  await page.click("#say button");
}

for (const name of WHOLE) {
  for (const program of ["chat.py", "fastapi_chat.py"]) {
    describe(`${program} in ${name}`, () => {
      let browser, port, server, complaints, address;
      before(async () => {
        port = await freePort();
        ({ server, complaints, address } = await start(program, port));
        browser = await launch(name);
      });
      after(async () => {
        await browser?.close();
        server?.kill("SIGKILL");
      });

      test("nothing is lost, by a cut or by a reload, and each message says what became of it", async () => {
        const [ann, bob] = await Promise.all(
          ["ann", "bob"].map(async (who) => {
            const page = await browser.newPage();
            await page.setViewport({ width: 720, height: 560 });
            await page.goto(`${address}?name=${who}`);
            await sees(page, "Saved", []);
            return page;
          }),
        );

        // Both are there: the server has it, and so has bob.
        await say(ann, "Lunch at noon?");
        await sees(ann, "Saved", [["Lunch at noon?", "Saved", "✓ bob"]]);
        await sees(bob, "Saved", [["Lunch at noon?", "✓ bob"]]);
        await say(bob, "Yes, at the corner.");
        await sees(ann, "Saved", [
          ["Lunch at noon?", "Saved", "✓ bob"],
          ["Yes, at the corner.", "✓ ann"],
        ]);

        // Ann is cut off, and goes on.
        await ann.bringToFront();
        await ann.click("#cable");
        await say(ann, "I bring the papers.");
        await say(ann, "And a pen.");
        const cutOff = [
          ["Lunch at noon?", "Saved", "✓ bob"],
          ["Yes, at the corner.", "✓ ann"],
          ["I bring the papers.", "Kept here"],
          ["And a pen.", "Kept here"],
        ];
        await sees(ann, "Kept here (2)", cutOff);
        if (process.env.PICTURE && name === "chromium" && program === "chat.py") {
          mkdirSync(dirname(process.env.PICTURE), { recursive: true });
          writeFileSync(process.env.PICTURE, await ann.screenshot());
        }

        // She loads the page again, still without a network. Bob says something to her meanwhile.
        await ann.reload();
        await sees(ann, "Kept here (2)", [
          ["Lunch at noon?", "Kept here"],
          ["I bring the papers.", "Kept here"],
          ["And a pen.", "Kept here"],
        ]);
        await say(bob, "Where are you?");
        await sees(bob, "Saved", [
          ["Lunch at noon?", "✓ bob"],
          ["Yes, at the corner.", "Saved", "✓ ann"],
          ["Where are you?", "Saved"],
        ]);

        // The network is back.
        await fetch(`${address}cable?name=ann&do=mend`);
        await sees(bob, "Saved", [
          ["Lunch at noon?", "✓ bob"],
          ["Yes, at the corner.", "Saved", "✓ ann"],
          ["Where are you?", "Saved", "✓ ann"],
          ["I bring the papers.", "✓ bob"],
          ["And a pen.", "✓ bob"],
        ]);
        assert.deepEqual(complaints, []);
        await ann.close();
        await bob.close();
      });

      test("a server that has lost everything is told again what it had not confirmed", async () => {
        const eve = await browser.newPage();
        await eve.goto(`${address}?name=eve`);
        const { lines } = await until(async () => {
          const seen = await look(eve);
          return seen.mark === "Saved" && seen.lines.length === 5 && seen; // what was said before
        });
        const gone = once(server, "exit");
        server.kill("SIGKILL");
        await gone;
        await say(eve, "Is anybody there?");
        await sees(eve, "Kept here (1)", [...lines, ["Is anybody there?", "Kept here"]]);
        ({ server, complaints } = await start(program, port));
        await sees(eve, "Saved", [...lines, ["Is anybody there?", "Saved"]]);
        assert.equal(complaints.length, 1);
        assert.match(complaints[0], /refused \(4404\), the session is not known here/);
      });
    });
  }
}
