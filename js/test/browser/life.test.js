// The life of a page: it is left and comes back, it is frozen, it is hidden, it asks before it goes.
//
// RELIABLE_WS_LONG=1: as long as it takes in real life (`make browsers-long`).

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { launch } from "./browsers.js";
import { connect, mark, numbers, send } from "./pages.js";
import { inEach, load, reload } from "./scene.js";
import { Server, until } from "./server.js";

const LONG = Boolean(process.env.RELIABLE_WS_LONG);

// Milliseconds in which the server hears that a page has gone, or is back.
const SOON = 500;

inEach((scene) => {
  const { name } = scene;

  // Run a test with a server of its own: the events are those of one session.
  const withServer = (title, config, work) =>
    test(title, { timeout: LONG ? 400_000 : 120_000 }, async (context) => {
      const server = await Server.start({ config });
      try {
        await work(server, context);
      } finally {
        await server.stop();
      }
    });

  const named = (event) => ({ name: name_ }) => name_ === event;
  const allArrived = (page, count) =>
    until(() => page.evaluate((count_) => got.length >= count_, count), 30_000);

  withServer("a page in the back/forward cache has no session open", {}, async (server, context) => {
    if (name === "firefox") return context.skip("Firefox keeps no page with a WebSocket");
    const page = await scene.open();
    await connect(page, server, "?send=400&every=0.01");
    await page.evaluate(() => {
      addEventListener("pageshow", () => (globalThis.shownAt = Date.now()));
      addEventListener("pagehide", () => (globalThis.hiddenAt = Date.now()));
    });
    await allArrived(page, 20);
    await page.goto(`${server.http}/pages/app.html?away`);
    const [detached] = await server.events(named("detached"));
    await sleep(1000); // the server sends on meanwhile
    await page.goBack();
    const [resumed] = await server.events(named("resumed"));
    const { hiddenAt, shownAt } = await page.evaluate(() => ({ hiddenAt, shownAt }));
    assert.ok(detached.at - hiddenAt < SOON, `gone: ${detached.at - hiddenAt} ms`);
    assert.ok(resumed.at - shownAt < SOON, `back: ${resumed.at - shownAt} ms`);
    await allArrived(page, 400);
    assert.deepEqual(await page.evaluate(() => got), numbers(400));
    assert.deepEqual(await server.do("living"), 1);
  });

  withServer("it comes back there with its store", {}, async (server, context) => {
    if (name === "firefox") return context.skip("Firefox keeps no page with a WebSocket");
    const page = await scene.open();
    const id = await connect(page, server, "", { stored: "away" });
    await send(page, ["before"], "confirmed");
    for (let round = 0; round < 3; round++) {
      await page.goto(`${server.http}/pages/app.html?away`);
      await server.events(named("detached"), round + 1);
      await page.goBack();
      assert.equal(await page.evaluate(() => conn.id), id);
      assert.equal(await send(page, [`after ${round}`], "confirmed"), "confirmed");
    }
    assert.deepEqual(server.taken(), ["before", "after 0", "after 1", "after 2"]);
  });

  withServer("while a page is away another one takes its store", {}, async (server, context) => {
    if (name === "firefox") return context.skip("Firefox keeps no page with a WebSocket");
    const place = await scene.place();
    const [page, other] = [await scene.open(place), await scene.open(place)];
    await page.bringToFront();
    const id = await connect(page, server, "", { stored: "taken" });
    await page.goto(`${server.http}/pages/app.html?away`);
    assert.equal(await connect(other, server, "", { stored: "taken" }), id);
    await page.goBack();
    // The page is there again as it was, or was loaded anew.
    const state = await page.evaluate(async () => {
      if (!globalThis.conn) return "kept";
      return (await conn.ended).ending.kind;
    });
    assert.equal(state, "kept");
    assert.equal(await send(other, ["of the other"], "confirmed"), "confirmed");
  });

  withServer("a frozen page has no session open", {}, async (server, context) => {
    if (name !== "chromium") return context.skip("there is no command for it");
    const page = await scene.open();
    const session = await page.createCDPSession();
    await connect(page, server, "?send=400&every=0.01");
    await allArrived(page, 20);
    const frozenAt = Date.now();
    await session.send("Page.setWebLifecycleState", { state: "frozen" });
    const [detached] = await server.events(named("detached"));
    await sleep(2000);
    const activeAt = Date.now();
    await session.send("Page.setWebLifecycleState", { state: "active" });
    const [resumed] = await server.events(named("resumed"));
    assert.ok(detached.at - frozenAt < SOON, `gone: ${detached.at - frozenAt} ms`);
    assert.ok(resumed.at - activeAt < SOON, `back: ${resumed.at - activeAt} ms`);
    await allArrived(page, 400);
    assert.deepEqual(await page.evaluate(() => got), numbers(400));
  });

  withServer("who was frozen for too long learns it, message by message", { session_ttl: 1 },
    async (server, context) => {
      if (name !== "chromium") return context.skip("there is no command for it");
      const page = await scene.open();
      const session = await page.createCDPSession();
      await connect(page, server);
      await send(page, ["taken"], "confirmed");
      await session.send("Page.setWebLifecycleState", { state: "frozen" });
      await server.events(named("closed"));
      await session.send("Page.setWebLifecycleState", { state: "active" });
      const { code, report } = await page.evaluate(async () => {
        const report_ = await conn.ended;
        return { code: report_.ending.code, report: String(report_) };
      });
      assert.ok([4404, 4410].includes(code), String(code));
      assert.equal(report, "1 sent, 1 confirmed");
    });

  withServer("what was just sent when the page is left arrives", {}, async (server, context) => {
    if (name === "firefox") return context.skip("Firefox closes the WebSocket before it says so");
    const page = await scene.open();
    await connect(page, server);
    await page.evaluate(() => {
      setTimeout(() => {
        for (let number = 0; number < 15; number++) conn.send(String(number));
        location.href = "/pages/app.html?away";
      }, 100); // once the driver has heard that this was done
    });
    await until(() => server.taken().length === 15);
    assert.deepEqual(server.taken(), numbers(15));
  });

  withServer("the user is asked only while something would be lost", {}, async (server, context) => {
    if (name !== "chromium") return context.skip("its driver takes no such dialogs");
    const page = await scene.open();
    const dialogs = [];
    page.on("dialog", (dialog) => {
      dialogs.push(dialog.type());
      dialog.accept();
    });
    const leave = async () => {
      await page.mouse.click(10, 10); // who has touched nothing is not asked
      await page.goto(`${server.http}/pages/app.html?away`);
      await load(page, server);
    };
    await connect(page, server);
    await page.evaluate(() => void conn.guardUnload());
    await send(page, ["taken"], "confirmed");
    await leave();
    assert.deepEqual(dialogs, []);
    // With a store, what it has is not lost.
    await connect(page, server, "", { stored: "asked" });
    await page.evaluate(() => void conn.guardUnload());
    await server.do("offline");
    await until(() => page.evaluate(() => conn.state === "detached"));
    await send(page, ["kept"], "stored");
    await leave();
    assert.deepEqual(dialogs, []);
    await server.do("online");
    await connect(page, server);
    await page.evaluate(() => void conn.guardUnload());
    await server.do("offline");
    await until(() => page.evaluate(() => conn.state === "detached"));
    await send(page, ["would be lost"]);
    await leave();
    assert.deepEqual(dialogs, ["beforeunload"]);
  });

  // Firefox holds each opening back for half as long again after one that failed. In the page:
  // what was opened and asked for while the server was away. `policy`: what the page may reach.
  for (const [title, policy] of [
    ["while the server is away few WebSockets are opened", ""],
    ["a page that may not ask the server opens WebSockets without it", "connect-src ws:"],
  ]) {
    withServer(title, {}, async (server, context) => {
      if (name !== "firefox") return context.skip("this is for Firefox");
      const page = await scene.open();
      await page.evaluate((policy_) => {
        const meta = document.createElement("meta");
        Object.assign(meta, { httpEquiv: "Content-Security-Policy", content: policy_ });
        if (policy_) document.head.append(meta);
        globalThis.counts = { opened: 0, asked: 0 };
        const { fetch } = globalThis;
        globalThis.fetch = (...args) => ((counts.asked += 1), fetch(...args));
        globalThis.WebSocket = class extends WebSocket {
          constructor(...args) {
            super(...args);
            counts.opened += 1;
          }
        };
      }, policy);
      const look = () => page.evaluate(() => ({ ...counts }));
      await connect(page, server, "", { backoff: { initial: 50, longest: 50 } });
      await server.do("offline");
      const away = await until(async () => {
        const counts = await look();
        return counts.opened + counts.asked >= (policy ? 5 : 20) && counts;
      });
      // The first one, and two that failed; then one that was tried though nobody may ask.
      assert.equal(away.opened, policy ? 4 : 3, JSON.stringify(away));
      const begun = Date.now();
      await server.do("online");
      const [{ at }] = await server.events(named("resumed"));
      if (!policy) assert.ok(at - begun < 1000, `${at - begun} ms`);
    });
  }

  // In Chromium a hidden page has its timers once a minute: an idle time of 4 seconds (20 in real
  // life) ends a session that only timers keep alive (LIVE-9). Firefox has them once a second.
  withServer(
    "a hidden page keeps its WebSocket, though its timers are late",
    LONG ? {} : { idle_timeout: 4 },
    async (server, context) => {
      if (name === "webkit") return context.skip("its driver hides no window");
      if (name === "firefox" && !LONG) return context.skip("make browsers-long");
      const browser = await launch(name, { throttled: true });
      try {
        const page = await browser.newPage();
        await load(page, server);
        await connect(page, server, "", LONG ? {} : { config: { idleTimeout: 4000 } });
        await page.evaluate(() => {
          globalThis.ticks = [performance.now()];
          setInterval(() => ticks.push(performance.now()), 500);
        });
        const other = await browser.newPage();
        await other.bringToFront();
        await sleep(LONG ? 210_000 : 28_000); // what is shown takes time
        const { gap, state, visible } = await page.evaluate(() => ({
          gap: Math.max(...ticks.map((at, n) => (ticks[n + 1] ?? performance.now()) - at)),
          state: conn.state,
          visible: document.visibilityState,
        }));
        assert.equal(visible, "hidden");
        if (name === "chromium") assert.ok(gap > 12_000, `timers were not held back: ${gap} ms`);
        assert.equal(state, "open");
        assert.deepEqual((await server.do("events")).map((event) => event.name), ["opened"]);
      } finally {
        await browser.close();
      }
    },
  );

  if (LONG) {
    withServer("after an outage of 90 seconds the session is soon back", {}, async (server, context) => {
      const page = await scene.open();
      await connect(page, server);
      await server.do("offline");
      await sleep(90_000);
      const begun = Date.now();
      await server.do("online");
      const [{ at }] = await server.events(named("resumed"));
      assert.ok(at - begun < 6000, `${at - begun} ms`);
      context.diagnostic(`back after ${at - begun} ms`);
      assert.equal(await mark(page), "saved");
    });
  }
});
