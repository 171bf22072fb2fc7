import assert from "node:assert/strict";
import { test } from "node:test";
import { watchPage } from "../dist/page.js";

/** A page that the test moves through its life; and what was heard of it. */
function page() {
  const target = Object.assign(new EventTarget(), { document: new EventTarget() });
  const heard = [];
  const hear = (name) => () => heard.push(name);
  const end = watchPage(target, {
    suspend: hear("suspend"),
    resume: hear("resume"),
    leave: hear("leave"),
    wake: hear("wake"),
    forbidden: (address) => heard.push(address),
  });
  const tell = (where, name, about = {}) =>
    where.dispatchEvent(Object.assign(new Event(name), about));
  return { target, heard, end, tell };
}

test("into the back/forward cache and back", () => {
  const { target, heard, tell } = page();
  tell(target, "pagehide", { persisted: true });
  tell(target, "pageshow", { persisted: true });
  assert.deepEqual(heard, ["suspend", "resume"]);
});

test("a page that is loaded is not resumed, and one that is left does not come back", () => {
  const { target, heard, tell } = page();
  tell(target, "pageshow", { persisted: false });
  assert.deepEqual(heard, []);
  tell(target, "pagehide", { persisted: false });
  assert.deepEqual(heard, ["leave"]);
});

test("frozen and resumed", () => {
  const { target, heard, tell } = page();
  tell(target.document, "freeze");
  tell(target.document, "resume");
  assert.deepEqual(heard, ["suspend", "resume"]);
});

test("a network, and somebody who looks at the page, wake it", () => {
  const { target, heard, tell } = page();
  tell(target, "online");
  target.document.visibilityState = "hidden";
  tell(target.document, "visibilitychange");
  target.document.visibilityState = "visible";
  tell(target.document, "visibilitychange");
  assert.deepEqual(heard, ["wake", "wake"]);
});

test("nothing is heard behind the end", () => {
  const { target, heard, end, tell } = page();
  end();
  for (const name of ["pagehide", "pageshow", "online"]) tell(target, name, { persisted: true });
  for (const name of ["freeze", "resume"]) tell(target.document, name);
  assert.deepEqual(heard, []);
});

test("a worker has no document, and Node no events at all", () => {
  const worker = new EventTarget();
  let woken = 0;
  const end = watchPage(worker, { wake: () => (woken += 1) });
  worker.dispatchEvent(new Event("online"));
  assert.equal(woken, 1);
  end();
  watchPage({}, {})();
});

test("what the page may not ask for", () => {
  const { target, heard, tell } = page();
  tell(target, "securitypolicyviolation", { blockedURI: "http://example.org/live" });
  assert.deepEqual(heard, ["http://example.org/live"]);
});
