// Random worlds: this core against the Python core as acceptor, on a wire that is cut, with a clock
// turned by hand, and a store under this side in half of them. Whatever happens: no message is
// lost, none arrives twice without a flag, each in its order; each request runs at most once. In
// the environment: how many WORLDS, from which seed (FIRST), of how many STEPS.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { configure } from "../../dist/protocol/config.js";
import { Session } from "../../dist/protocol/session.js";
import { DirectedStore, WALL } from "./directedStore.js";

const ROOT = new URL("../../../", import.meta.url).pathname;
const IN_PLACE = `${ROOT}.venv/bin/python`;
const PYTHON = process.env.PYTHON ?? (existsSync(IN_PLACE) ? IN_PLACE : "python3");
const WORLDS = Number(process.env.WORLDS ?? 24);
const STEPS = Number(process.env.STEPS ?? 250);

const hex = (data) => Buffer.from(data).toString("hex");
const bytes = (text) => Uint8Array.from(Buffer.from(text, "hex"));

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
function chance(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

class World {
  now = 1000;
  sent = []; // what was accepted here, by number - 1
  takenThere = [];
  sentThere = [];
  takenHere = new Map(); // number -> message
  asked = new Map(); // our requests: number -> what was asked
  answered = new Map();
  items = new Map();
  servedHere = []; // what the other side asked, as often as it was run
  askedThere = [];
  open = []; // deliveries that are not confirmed
  up = []; // envelopes on their way
  down = [];
  count = 0;

  constructor(seed, child) {
    this.random = chance(seed);
    this.child = child;
    this.config = configure({
      windowMessages: 20,
      windowBytes: 3000,
      outboxMessages: 40,
      outboxBytes: 9000,
      maxFrame: 4096,
      maxRequests: 8,
      maxMessage: 50_000,
    });
    const [id, key] = [new Uint8Array(16).fill(seed), new Uint8Array(32).fill(seed + 1)];
    this.session = new Session({ id, key, now: this.now, config: this.config });
    if (seed % 2) {
      this.store = new DirectedStore();
      this.session.keepInStore();
    }
  }

  below(most) {
    return Math.floor(this.random() * most);
  }

  /** A text that is the only one of its kind; some are larger than a frame, or than a window. */
  text(letter) {
    const size = this.random() < 0.1 ? this.below(9000) : this.below(120);
    return `${letter}${++this.count} ${"é".repeat(size / 2)}`;
  }

  async there(step, options = {}) {
    const { result, said, over } = await this.child.step({ do: step, now: this.now, ...options });
    if (this.link) this.down.push(...said.map(bytes));
    if (over !== null && this.link) this.down.push(over);
    return result;
  }

  // ------------------------------------------------------------------ this side

  /** Draw the conclusions of a step. */
  here(events = []) {
    this.dispatch(events);
    if (this.session.due) this.dispatch(this.session.poll(this.now));
    if (this.store) this.dispatch(this.store.give(this.session, this.now));
  }

  dispatch(events) {
    for (const event of events) {
      if (event.type === "requested") this.run(event);
      else if (event.type === "replied") this.answered.set(event.id, event.payload);
      else if (event.type === "item") this.items.set(event.id, (this.items.get(event.id) ?? 0) + 1);
      else if (event.type === "withdrawn") this.sent.length = event.number;
      else if (event.type === "confirmed") {
        assert.ok(event.number <= this.sent.length + 1, "confirms what was not sent");
      }
    }
  }

  run({ id, payload }) {
    this.servedHere.push(payload);
    this.session.reply(id, payload);
  }

  transmit() {
    if (this.store) this.dispatch(this.store.give(this.session, this.now));
    for (let data; this.link && (data = this.link.transmit(this.now)); ) this.up.push(data);
    if (this.store) this.dispatch(this.store.give(this.session, this.now));
  }

  /** Take one of the other side's messages; in half of the cases it is confirmed later. */
  take() {
    const { session } = this;
    if (!session.available) return;
    if (this.random() < 0.5) {
      const { number, payload } = session.deliver();
      this.took(number, payload);
      this.open.push(number);
    } else {
      const payload = session.take();
      this.took(session.handedUpto, payload);
    }
    this.here();
  }

  took(number, payload) {
    assert.equal(payload, this.sentThere[number - 1], `message ${number}`);
    // Only what a crash has forgotten comes again, and it says so (RESUME-7).
    if (this.takenHere.has(number)) assert.ok(number <= this.session.redeliveredUpto);
    this.takenHere.set(number, payload);
  }

  /** Confirm one of the deliveries, in any order. */
  confirm() {
    const [number] = this.open.splice(this.below(this.open.length), 1);
    if (number) this.session.confirm(number);
    this.here();
  }

  // ------------------------------------------------------------------ the wire

  async dial() {
    await this.cut();
    this.link = this.session.dial(this.now);
    await this.there("arrive");
    this.here();
  }

  async cut() {
    this.up = [];
    this.down = [];
    const { link } = this;
    this.link = null;
    if (link) this.here(this.session.lost(link, null, "", this.now));
    await this.there("cut");
  }

  async deliver() {
    this.transmit();
    if (this.up.length && this.random() < 0.6) {
      await this.there("receive", { data: hex(this.up.shift()) });
    } else if (this.down.length) {
      const data = this.down.shift();
      if (typeof data === "number") return this.cut(); // the other side has closed
      this.here(this.session.receive(this.link, data, this.now));
    }
  }

  /** This page dies; the next one goes on with what the store has. */
  async crash() {
    const stored = this.store.restart();
    if (!stored) return;
    this.link = null; // the dead page hears of nothing any more
    await this.cut();
    this.session = stored.revive(this.now, WALL + this.now, this.config);
    this.sent.length = this.session.sent; // the rest was never transmitted
    this.open = [];
    this.asked.clear();
    this.here();
  }

  async wait(ms) {
    this.now += ms;
    this.here(this.session.tick(this.now));
    await this.there("tick");
    // The driver drops a WebSocket whose link is over.
    if (this.link?.closeAction) {
      this.transmit();
      await this.cut();
    }
  }

  // ------------------------------------------------------------------ a life

  async step() {
    const { session } = this;
    const dice = this.random();
    if (!this.link) return dice < 0.7 ? this.dial() : this.wait(this.below(2000));
    if (dice < 0.15) this.send();
    else if (dice < 0.25) await this.sendThere();
    else if (dice < 0.33) this.take();
    else if (dice < 0.37) this.confirm();
    else if (dice < 0.43) await this.takeThere(1 + this.below(4));
    else if (dice < 0.47) this.ask();
    else if (dice < 0.49) await this.askThere();
    else if (dice < 0.5) session.want(session.sent);
    else if (dice < 0.52) await this.wait(this.below(300));
    else if (dice < 0.535) await this.cut();
    else if (dice < 0.545 && this.store) await this.crash();
    else if (dice < 0.56 && this.store) {
      this.dispatch(this.store.direct(session, this.random() < 0.5 ? "wait" : "keep", this.now));
    } else if (dice < 0.565 && this.store?.does === "wait") {
      this.dispatch(this.store.direct(session, "lack room", this.now));
    } else await this.deliver();
  }

  send() {
    const text = this.text("up ");
    try {
      assert.equal(this.session.send(text), this.sent.length + 1);
      this.sent.push(text);
    } catch (error) {
      assert.match(error.name, /OutboxFull|StoreFull/);
    }
    this.here();
  }

  async sendThere() {
    const text = this.text("down ");
    if (await this.there("send", { text })) this.sentThere.push(text);
  }

  async takeThere(count) {
    this.takenThere.push(...(await this.there("take", { count })));
  }

  ask() {
    const { session } = this;
    if (!session.hasRequestRoom) return;
    const text = this.text("ask ");
    const dice = this.random();
    const by = dice < 0.2 ? this.now + this.below(500) : null;
    const number = session.request("echo", text, by, dice > 0.7 ? 600 : 0);
    this.asked.set(number, text);
    if (dice > 0.7) session.grant(number, 60_000);
    if (dice < 0.1) session.cancel(number);
    this.here();
  }

  async askThere() {
    const text = this.text("asked ");
    if (await this.there("request", { text })) this.askedThere.push(text);
  }

  /** Let everything arrive, and compare what both sides know. */
  async finish() {
    this.store?.direct(this.session, "keep", this.now);
    const isDone = async () => {
      if (!this.link) await this.dial();
      this.transmit();
      await this.takeThere(1000);
      while (this.session.available) this.take();
      while (this.open.length) this.confirm();
      const { outbox } = this.session;
      return outbox.confirmed === this.sent.length && this.takenHere.size === this.sentThere.length;
    };
    for (let i = 0; !(await isDone()) || this.up.length || this.down.length; i++) {
      assert.ok(i < 5000, "both sides never fall silent");
      if (this.up.length || this.down.length) await this.deliver();
      else await this.wait(50);
    }
    assert.deepEqual(this.takenThere, this.sent);
    assert.deepEqual([...this.takenHere.values()], this.sentThere);
    const { runs, answers } = await this.there("report");
    assert.equal(new Set(runs).size, runs.length, "a request ran twice there");
    assert.equal(new Set(this.servedHere).size, this.servedHere.length, "a request ran twice here");
    for (const [number, payload] of this.answered) {
      const asked = this.asked.get(number);
      if (asked) assert.ok(payload === asked || payload === "end");
    }
    for (const [, text] of answers) assert.ok(this.askedThere.includes(text));
    if (!this.store) {
      assert.deepEqual(answers.map(([, text]) => text), this.askedThere);
      assert.equal(this.session.outgoingCalls.open.size, 0, "a request was not answered");
    }
    // Both close: the report is complete.
    this.here(this.session.close(this.now));
    await this.there("close");
    for (let i = 0; !this.session.ended; i++) {
      assert.ok(i < 500, "it never ends");
      if (!this.link) await this.dial();
      this.transmit();
      if (this.up.length || this.down.length) await this.deliver();
      else await this.wait(50);
    }
    assert.deepEqual(this.session.ended, { kind: "finished", code: 1000, reason: "" });
    const report = this.session.report();
    assert.deepEqual([report.sent, report.confirmed], [this.sent.length, this.sent.length]);
  }
}

/** The Python core in a child process. */
class Child {
  #waiting = [];

  constructor(config) {
    this.process = spawn(PYTHON, [`${ROOT}js/test/world/acceptor.py`], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, PYTHONPATH: ROOT },
    });
    this.process.stdin.write(`${JSON.stringify(config)}\n`);
    createInterface({ input: this.process.stdout }).on("line", (line) => {
      this.#waiting.shift()(JSON.parse(line));
    });
    this.process.on("close", () => this.#waiting.shift()?.({ result: null, said: [], over: null }));
  }

  step(step) {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      this.process.stdin.write(`${JSON.stringify(step)}\n`);
    });
  }
}

const CONFIG = {
  window_messages: 20,
  window_bytes: 3000,
  outbox_messages: 40,
  outbox_bytes: 9000,
  max_frame: 4096,
  max_requests: 8,
  max_message: 50_000,
  session_ttl: 100_000,
};

const FIRST = Number(process.env.FIRST ?? 1);
for (let seed = FIRST; seed < FIRST + WORLDS; seed++) {
  test(`world ${seed}`, async (t) => {
    const child = new Child(CONFIG);
    t.after(() => child.process.stdin.end());
    const world = new World(seed, child);
    for (let i = 0; i < STEPS; i++) await world.step();
    await world.finish();
  });
}
