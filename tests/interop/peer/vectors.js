'use strict';
// node vectors.js DIR: runs the golden vectors. Conversations are played twice, with this peer on
// either side; a side that would have to say something forged is not played. This peer has no store:
// a side that has one is not played either. To its peer, a restart is a WebSocket that is lost.
const fs = require('fs');
const path = require('path');
const { EventEmitter } = require('events');
const { Session } = require('./session');
const { Acceptor, makeLink } = require('./ends');
const { Ext, Violation, decode, encode, weightOf } = require('./frames');

const hex = (text) => Buffer.from(text, 'hex');

function fromJson(v) {
  if (Array.isArray(v)) return v.map(fromJson);
  if (v && typeof v === 'object') return 'ext' in v ? new Ext(v.ext, hex(v.hex)) : hex(v.hex);
  return v;
}

function toJson(v) {
  if (Array.isArray(v)) return v.map(toJson);
  if (Buffer.isBuffer(v)) return { hex: v.toString('hex') };
  return v instanceof Ext ? { ext: v.code, hex: v.data.toString('hex') } : v;
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
function expect(ok, what) { if (!ok) throw new Error(what); }

// This peer takes no calls: it neither says nor looks at a position of them.
function withoutCalls(frames) {
  const fields = { H: 9, W: 6 };
  return frames.map((f) => (f[0] in fields ? f.slice(0, fields[f[0]]) : f));
}

function good({ hex: text, frames, canonical }) {
  const got = toJson(decode(hex(text), 1 << 20));
  expect(same(got, withoutCalls(frames)), `decoded as ${JSON.stringify(got)}`);
  if (canonical === false || !same(frames, withoutCalls(frames))) return;
  const bytes = encode(fromJson(frames)).toString('hex');
  expect(bytes === text, `encoded as ${bytes}`);
}

function bad({ hex: text, code, max_frame: maxFrame = 1 << 20 }) {
  try {
    decode(hex(text), maxFrame);
  } catch (error) {
    expect(error instanceof Violation && error.code === code, String(error.stack));
    return;
  }
  throw new Error('was understood');
}

function weight({ payload, weight: expected }) {
  expect(weightOf(fromJson(payload)) === expected, `weighs ${weightOf(fromJson(payload))}`);
}

class Clock {
  constructor() { this.time = 1; this.timers = new Set(); }

  now() { return this.time; }

  setTimeout(f, ms) { const t = { at: this.time + ms, f }; this.timers.add(t); return t; }

  clearTimeout(t) { this.timers.delete(t); }

  advance(ms) {
    const end = this.time + ms;
    for (;;) {
      const [next] = [...this.timers].filter((t) => t.at <= end).sort((a, b) => a.at - b.at);
      if (!next) break;
      this.time = Math.max(this.time, next.at);
      this.timers.delete(next);
      next.f();
    }
    this.time = end;
  }
}

// What was said, in a form that does not depend on how frames share envelopes.
function flatten(frames) {
  return toJson(frames).flatMap(([t, ...f]) => {
    if (t === 'M') return f[1].map((p, i) => ['M', f[0] + i, p]);
    if (t === 'X') return [['X', f[0], f[2], f[3]]];
    return [[t, ...f]];
  });
}

class Player {
  constructor(role, config, hello) {
    Object.assign(this, { role, config, clock: new Clock(), said: [], told: [0, 0] });
    if (role === 'initiator') {
      const [id, key] = hello.slice(3);
      this.session = new Session({ initiator: true, id, key, config, clock: this.clock });
    } else this.forget();
  }

  forget() {
    this.acceptor = new Acceptor(null, this.config, (session) => { this.session = session; });
    this.acceptor.incarnation = 42;
    this.acceptor.clock = this.clock;
  }

  dial() {
    const ws = new EventEmitter();
    ws.send = (data) => this.said.push(...flatten(decode(data, this.config.max_frame || 1 << 20)));
    ws.close = () => {};
    this.ws = ws;
    if (this.role === 'acceptor') { this.acceptor.onSocket(ws); return; }
    const { session } = this;
    const link = { ...makeLink(ws, 0), since: this.clock.now(), heard: this.clock.now() };
    ws.on('message', (data, text) => session.receive(link, data, text));
    ws.on('close', (code) => session.detach(link, code));
    session.attempt += 1;
    session.dial(link);
  }

  act(step) {
    const { session } = this;
    const times = (f) => { for (let i = 0; i < step.count; i++) f(); };
    switch (step.do) {
      case 'send': weight(step); session.send(fromJson(step.payload)); break;
      case 'want': session.want(step.number); break;
      case 'take': times(() => expect(session.take(), 'nothing to take')); break;
      case 'hand over': times(() => expect(session.handOver(), 'nothing to hand over')); break;
      case 'confirm': session.confirm(step.number); break;
      case 'finish': session.finish(step.code, step.reason); break;
      case 'close': session.close(step.code, step.reason); break;
      case 'abort': session.abort(step.reason); break;
      default: throw new Error(`step ${step.do}`);
    }
  }

  wait(ms) { this.session.flush(); this.clock.advance(ms); }

  says(frames) { // Acks that nobody asked for are free, and so are repeated ones
    for (const frame of flatten(fromJson(withoutCalls(frames)))) {
      for (;;) {
        if (!this.said.length) this.session?.flush(undefined, 1);
        const told = this.said[0];
        if (frame[0] === 'A' && this.acks && frame[1] <= this.acks[1] && frame[2] <= this.acks[2]
          && (!told || told[0] !== 'A')) break;
        expect(told, `did not say ${JSON.stringify(frame).slice(0, 200)}`);
        this.said.shift();
        if (told[0] === 'A') this.acks = told;
        if (same(told, frame)) break;
        const short = (v) => JSON.stringify(v).slice(0, 200);
        expect(told[0] === 'A', `said ${short(told)}, not ${short(frame)}`);
      }
    }
  }
}

function play(role, { config, steps, outcome }) {
  const hello = steps.find((s) => s.frames && s.frames[0][0] === 'H');
  const player = new Player(role, config, hello ? fromJson(hello.frames[0]) : null);
  let forgotten = false;
  for (const step of steps) {
    if (step.from === role) player.says(step.frames);
    else if (step.from) { if (!step.lost) player.ws.emit('message', hex(step.hex), false); }
    else if (step.do === 'dial') { player.dial(); player.acks = null; }
    else if (step.do === 'cut' || step.do === 'restart') { player.ws.emit('close', 1006); player.said = []; }
    else if (step.do === 'wait') player.wait(step.seconds * 1000);
    else if (step.do === 'forget') { forgotten = role === 'acceptor'; if (forgotten) player.forget(); }
    else if (step.at === role) player.act(step);
  }
  player.session?.flush();
  const rest = player.said.filter(([t]) => t !== 'A');
  expect(!rest.length, `said as well ${JSON.stringify(rest)}`);
  const expected = outcome[role];
  if (expected === null || forgotten) return;
  const { over, out } = player.session;
  const got = { end: over ? over.code : null, ...out.outcomes() };
  expect(same(got, expected), `outcome ${JSON.stringify(got)}, not ${JSON.stringify(expected)}`);
}

function main(dir) {
  let failed = 0;
  let passed = 0;
  const run = (file, name, test) => {
    try {
      test();
      passed += 1;
    } catch (error) {
      failed += 1;
      console.log(JSON.stringify({ file, name, error: error.message }));
    }
  };
  const load = (file) => JSON.parse(fs.readFileSync(path.join(dir, file), 'utf8'))
    .filter((v) => !v.calls);
  for (const v of load('good.json')) run('good', v.name, () => good(v));
  for (const v of load('bad.json')) run('bad', v.name, () => bad(v));
  for (const v of load('weights.json')) run('weights', v.weight, () => weight(v));
  let skipped = 0;
  let stored = 0;
  for (const v of load('conversations.json')) {
    for (const role of ['initiator', 'acceptor']) {
      if (v.steps.some((s) => s.from === role && s.forged)) skipped += 1;
      else if (v.stores && v.stores.includes(role)) stored += 1;
      else run(`conversations, ${role}`, v.name, () => play(role, v));
    }
  }
  const result = failed ? 'failed' : 'ok';
  console.log(JSON.stringify({ result, passed, failed, 'not played': skipped, 'with a store': stored }));
  process.exit(failed ? 1 : 0);
}

main(process.argv[2]);
