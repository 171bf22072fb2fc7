'use strict';
// node peer.js connect URI SCENARIO | serve PORT SCENARIO. One JSON object per line; the last has
// "result"; exit code 0 if it is "ok". PEER_CONFIG in the environment: fields of the configuration.
// Scenarios: echo, send N, large BYTES, cut K [PARTS], late, stop, bad NAME (see bad.js).
const crypto = require('crypto');
const { Initiator, Acceptor } = require('./ends');
const { contentOf, toPayload } = require('./frames');
const bad = require('./bad');

const say = (object) => process.stdout.write(`${JSON.stringify(object)}\n`);
const sha = (data) => crypto.createHash('sha256').update(data).digest('hex');

// A digest of messages in order: of each its kind, its length (8 bytes) and its content.
class Digest {
  constructor() { this.hash = crypto.createHash('sha256'); this.count = 0; }

  add(value) {
    const [kind, content] = contentOf(toPayload(value));
    const head = Buffer.alloc(9);
    head[0] = kind;
    head.writeBigUInt64BE(BigInt(content.length), 1);
    this.hash.update(head).update(content);
    this.count += 1;
  }

  get hex() { return this.hash.copy().digest('hex'); }
}

function sample(i) { // the i-th message of `send`: text, binary, value
  if (i % 3 === 1) return `message ${i} é😀`;
  if (i % 3 === 2) return Buffer.from([0, 255, ...Buffer.from(`bytes ${i}`)]);
  return { n: i, list: [null, true, -i, 2.5], text: 'wert' };
}

const until = (session, test) => new Promise((resolve) => {
  const events = ['readable', 'confirmed', 'final', 'ended', 'received'];
  const look = () => {
    if (!test()) return;
    events.forEach((e) => session.off(e, look));
    resolve();
  };
  events.forEach((e) => session.on(e, look));
  look();
});
const ended = (session) => until(session, () => session.over);
const settled = (session, number) => until(session, () => session.out.confirmed >= number
  || session.out.final || session.over);

async function* messages(session, digest) { // until the peer's Finish or the end of the session
  for (;;) {
    await until(session, () => session.in.queue.length || session.in.frozen);
    const message = session.take();
    if (!message) return;
    digest.add(message.payload);
    yield message;
  }
}

const scenarios = {
  async echo(session, report) {
    for await (const { number, payload, weight } of messages(session, report.digest)) {
      if (weight > 65536) {
        say({ event: 'message', number, bytes: weight - 6, sha256: sha(contentOf(payload)[1]) });
      }
      if (session.out.state === 'open') session.send(payload);
    }
    session.close();
    await ended(session);
    return session.over.code === 1000;
  },

  async send(session, report, n = '10') {
    const digest = new Digest();
    for (let i = 1; i <= Number(n); i++) {
      digest.add(sample(i));
      session.send(sample(i));
    }
    session.want(Number(n));
    const reading = (async () => { for await (const m of messages(session, report.digest)) void m; })();
    await settled(session, Number(n));
    say({ event: 'settled', confirmed: session.out.confirmed, sent: digest.hex });
    session.close();
    await ended(session);
    await reading;
    return session.over.code === 1000 && !session.out.outcomes().unknown.length;
  },

  async large(session, report, size = '1000000') {
    const data = Buffer.alloc(Number(size));
    for (let i = 0; i < data.length; i++) data[i] = (i * 31 + (i >> 8)) & 255;
    session.send(data);
    session.want(1);
    say({ event: 'sending', bytes: data.length, sha256: sha(data) });
    await settled(session, 1);
    say({ event: 'settled', confirmed: session.out.confirmed });
    session.finish();
    for await (const { number, payload } of messages(session, report.digest)) {
      const content = contentOf(payload)[1];
      say({ event: 'message', number, bytes: content.length, sha256: sha(content) });
    }
    session.close();
    await ended(session);
    return session.over.code === 1000 && session.out.outcomes().confirmed.length === 1;
  },

  async cut(session, report, k = '5', parts = 'Infinity') { // an echo that loses its links
    let since = 0;
    let slices = 0;
    report.cuts = 0;
    const cut = () => {
      if (!session.link) return;
      since = slices = 0;
      report.cuts += 1;
      session.link.ws.terminate();
    };
    session.on('received', (count) => { since += count; if (since >= Number(k)) cut(); });
    session.on('frame', (type) => {
      slices += type === 'P' ? 1 : 0;
      if (slices > Number(parts)) cut();
    });
    let next = 1;
    let inOrder = true;
    for await (const { number, payload } of messages(session, report.digest)) {
      inOrder = inOrder && number === next;
      next += 1;
      if (session.out.state === 'open') session.send(payload);
    }
    report.inOrder = inOrder;
    session.close();
    await ended(session);
    return session.over.code === 1000 && inOrder;
  },

  async late(session, report) {
    await new Promise((resolve) => { setTimeout(resolve, 500); });
    say({ event: 'waking', received: session.in.received, confirmed: session.in.confirmed });
    return scenarios.echo(session, report);
  },

  async stop(session, report) { // takes one of at least three
    await until(session, () => session.in.received >= 3 || session.over);
    const message = session.take();
    if (message) report.digest.add(message.payload);
    session.close(3001, 'enough');
    say({ event: 'stopped', counters: session.counters() });
    await ended(session);
    return session.over.code === 1000;
  },
};

async function run(session, name, args, finished) {
  const report = { digest: new Digest() };
  const count = { links: 0 };
  session.on('linked', () => { count.links += 1; });
  if (session.open) count.links = 1;
  session.on('lost', (code) => say({ event: 'lost', code }));
  session.on('refused', (code, reason, retry, counters) => {
    say({ event: 'refused', code, reason, retry, counters });
  });
  session.on('final', (counters) => say({ event: 'final', counters }));
  if (process.env.PEER_TRACE) {
    const trace = (...what) => process.stderr.write(`${JSON.stringify(what).slice(0, 160)}\n`);
    session.on('frame', (type, fields) => trace('<', type, fields));
    session.on('said', (frames) => trace('>', frames));
  }
  const good = await scenarios[name](session, report, ...args);
  const outcomes = session.out.outcomes();
  await finished();
  say({
    result: good ? 'ok' : 'failed', end: session.over.code, reason: session.over.reason,
    links: count.links, messages: report.digest.count, digest: report.digest.hex,
    cuts: report.cuts, inOrder: report.inOrder,
    finish: session.in.peerFinish, counters: session.counters(), final: session.out.final,
    confirmed: outcomes.confirmed.length, 'not taken': outcomes['not taken'], unknown: outcomes.unknown,
  });
  process.exit(good ? 0 : 1);
}

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const closed = (ws, ms) => Promise.race([pause(ms),
  new Promise((resolve) => { if (ws.state === 'closed') resolve(); else ws.once('close', resolve); })]);

function main([role, where, name, ...args]) {
  const config = JSON.parse(process.env.PEER_CONFIG || '{}');
  if (name === 'bad') {
    bad[role](where, args[0], config, say).then((ok) => {
      say({ result: ok ? 'ok' : 'failed' });
      process.exit(ok ? 0 : 1);
    });
  } else if (!scenarios[name] || (role !== 'connect' && role !== 'serve')) {
    say({ result: 'failed', reason: 'usage: peer.js connect URI SCENARIO | serve PORT SCENARIO' });
    process.exit(2);
  } else if (role === 'connect') {
    const initiator = new Initiator(where, config);
    run(initiator.session, name, args, () => closed(initiator.ws, 5000));
  } else {
    let first = true;
    const acceptor = new Acceptor(Number(where), config, (session) => {
      if (!first) { session.abort('one session only'); return; }
      first = false;
      run(session, name, args, async () => { // stay for an initiator that asks the tombstone
        if (session.link) await closed(session.link.ws, 5000);
        while (Date.now() - acceptor.lastSocket < 300) await pause(50);
      });
    });
    acceptor.server.on('connection', () => { acceptor.lastSocket = Date.now(); });
    const { server } = acceptor;
    server.on('listening', () => say({ event: 'listening', port: server.address().port }));
  }
}

main(process.argv.slice(2));
