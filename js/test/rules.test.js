// Both cores cite the rules of protocol.md where they keep them. What the Python core cites and this
// one does not has to be the acceptor's alone.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

const ROOT = new URL("../../", import.meta.url);

/** Rules that an initiator, or this library, does not keep, each with the reason. */
const NOT_HERE = {
  "CALL-47": "traces are not offered here: the frame is skipped, as any that is not critical",
  "CLOSE-18": "an acceptor answers a Hello that makes it done",
  "CLOSE-19": "an acceptor lets the peer close first",
  "FRAME-17": "an acceptor looks into no large Hello",
  "HELLO-3": "an acceptor compares the key",
  "HELLO-5": "an acceptor knows principals",
  "HELLO-11": "an acceptor chooses the version",
  "HELLO-12": "an acceptor refuses unknown sessions",
  "HELLO-14": "an acceptor compares the incarnation",
  "HELLO-16": "an acceptor hashes the key",
  "LIMIT-3": "an acceptor bounds its sessions",
  "LIMIT-4": "an acceptor bounds what all its sessions hold",
  "LIMIT-6": "an acceptor makes room for a new session",
  "LIVE-1": "an acceptor waits for Hello",
  "REFUSE-3": "an acceptor is busy",
  "REFUSE-6": "an acceptor is busy",
  "RESUME-2": "an acceptor fences the older link",
  "RESUME-9": "an acceptor's tombstone compares attempts",
  "RESUME-11": "an acceptor compares the first Hello",
  "RESUME-13": "an acceptor has lost confirmations",
  "RESUME-14": "an acceptor refuses the Hello of a copy",
  "STORE-6": "a side's own concern: no message is kept by itself here",
  "TOMB-1": "an acceptor keeps tombstones",
  "TOMB-2": "an acceptor keeps tombstones",
  "TOMB-3": "an acceptor keeps tombstones",
  "TOMB-4": "an acceptor keeps tombstones",
  "TOMB-5": "an acceptor keeps tombstones",
};

/** The tags that the files of a folder with this ending cite. */
function cited(folder, ending) {
  const files = readdirSync(new URL(folder, ROOT), { recursive: true });
  const text = files
    .filter((name) => name.endsWith(ending))
    .map((name) => readFileSync(new URL(`${folder}/${name}`, ROOT), "utf8"))
    .join();
  return new Set(text.match(/\b[A-Z]+-\d+\b/g));
}

test("each rule that the Python core cites is cited here, or is the acceptor's alone", () => {
  const page = readFileSync(new URL("protocol.md", ROOT), "utf8");
  const rules = new Set([...page.matchAll(/\*\*([A-Z]+-\d+)\*\*/g)].map(([, tag]) => tag));
  const theirs = cited("reliable_ws/protocol", ".py");
  const ours = cited("js/src/protocol", ".ts");
  const missing = [...theirs].filter((tag) => rules.has(tag) && !ours.has(tag));
  assert.deepEqual(missing.sort(), Object.keys(NOT_HERE).sort());
  const unknown = [...ours].filter((tag) => !rules.has(tag) && !/^(UTF|RFC)-/.test(tag));
  assert.deepEqual(unknown, [], "tags that protocol.md does not have");
});
