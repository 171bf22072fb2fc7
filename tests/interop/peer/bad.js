'use strict';
// Peers that are not honest or not correct: each sends one bad thing and reports what came back.
const crypto = require('crypto');
const { connect: dial, serve: listen } = require('./websocket');
const { decode, encode } = require('./frames');

const NOTHING = [[0, 0, 0, false, []], 0, 1, 0];
const LIMITS = [32768, 4 << 20, 1 << 20, 64 << 20, 1024, 20000, 120000];
const hello = (id, key, attempt, incarnation) => [
  'H', 1, 1, id, key, attempt, incarnation, NOTHING, LIMITS,
];
const welcome = (incarnation, resumed = false) => ['W', 1, resumed, incarnation, NOTHING, LIMITS];

const AFTER = { // sent on an open link: bytes, and the code expected
  gap: [encode([['M', 2, ['x']]]), 4422],
  'ack-never-sent': [encode([['A', 1, 1]]), 4422],
  'unknown-critical-type': [Buffer.from('91915a', 'hex'), 4400],
  truncated: [Buffer.from('91934105', 'hex'), 4400],
};

// Frames of a WebSocket, one at a time; null when it has closed.
class Inbox {
  constructor(ws, say) {
    this.frames = [];
    this.ws = ws;
    const tell = () => { if (this.waiting) this.waiting(); };
    ws.on('message', (data) => {
      const frames = decode(data, 1 << 20);
      for (const [type, ...rest] of frames) {
        say({ event: 'frame', type, fields: type === 'X' || type === 'A' ? rest : undefined });
      }
      this.frames.push(...frames);
      tell();
    });
    ws.on('close', (code) => { say({ event: 'closed', code }); this.frames.push(null); tell(); });
  }

  async next(...types) { // the next frame of these types; others are passed over
    for (;;) {
      while (!this.frames.length) await new Promise((resolve) => { this.waiting = resolve; });
      if (this.frames[0] === null) return null;
      const frame = this.frames.shift();
      if (!types.length || types.includes(frame[0])) return frame;
    }
  }
}

const isRefuse = (frame, code) => Boolean(frame && frame[0] === 'X' && frame[1] === code);
const isFinal = (frame, code) => isRefuse(frame, code) && Array.isArray(frame[4]);

async function connect(uri, name, config, say) {
  const id = crypto.randomBytes(16);
  const key = crypto.randomBytes(32);
  const open = async (...envelopes) => {
    const ws = dial(uri, 2 << 20);
    const inbox = new Inbox(ws, say);
    await new Promise((resolve) => { ws.once('open', resolve); ws.once('close', resolve); });
    envelopes.forEach((frames) => ws.send(encode(frames)));
    return inbox;
  };
  if (name === 'data-before-welcome') { // in the Hello's own envelope; then as the first envelope
    const inbox = await open([hello(id, key, 1, 0), ['M', 1, ['x']]]);
    const other = await open([['M', 1, ['x']]]);
    return isRefuse(await inbox.next(), 4400) && isRefuse(await other.next(), 4400);
  }
  const inbox = await open([hello(id, key, 5, 0)]);
  const answer = await inbox.next();
  if (!answer || answer[0] !== 'W') return false;
  if (AFTER[name]) {
    inbox.ws.send(AFTER[name][0]);
    return isFinal(await inbox.next('X'), AFTER[name][1]);
  }
  if (name !== 'wrong-key' && name !== 'stale-attempt') throw new Error(`no such name: ${name}`);
  const second = name === 'wrong-key' ? hello(id, crypto.randomBytes(32), 6, answer[3])
    : hello(id, key, 5, answer[3]);
  const refused = await (await open([second])).next();
  if (!isRefuse(refused, name === 'wrong-key' ? 4404 : 4409)) return false;
  // And the true holder's link is untouched: it answers a gap.
  inbox.ws.send(AFTER.gap[0]);
  return isFinal(await inbox.next('X'), 4422);
}

async function serve(port, name, config, say) {
  const sockets = [];
  let arrived;
  const server = listen(Number(port), 2 << 20, (ws) => {
    sockets.push(new Inbox(ws, say));
    if (arrived) arrived();
  });
  server.on('listening', () => say({ event: 'listening', port: server.address().port }));
  const accept = async () => {
    while (!sockets.length) await new Promise((resolve) => { arrived = resolve; });
    const inbox = sockets.shift();
    const frame = await inbox.next();
    if (!frame || frame[0] !== 'H') throw new Error('no Hello');
    return inbox;
  };
  const inbox = await accept();
  if (name === 'data-before-welcome') { // HELLO-8: a first link is dropped, and nothing is said
    inbox.ws.send(encode([['M', 1, ['x']]]));
    return (await inbox.next()) === null;
  }
  if (name === 'stale-attempt') { // RESUME-6: who is told 4409 does not come back
    inbox.ws.send(encode([['X', 4409, 'a later attempt', 0, null]]));
    const gone = (await inbox.next()) === null;
    await new Promise((resolve) => { setTimeout(resolve, 500); });
    return gone && !sockets.length;
  }
  inbox.ws.send(encode([welcome(7)]));
  if (name === 'wrong-key') { // the acceptor's counterpart: another incarnation (HELLO-15)
    inbox.ws.terminate();
    const again = await accept();
    again.ws.send(encode([welcome(8, true)]));
    const frame = await again.next('X');
    return frame === null || isRefuse(frame, 4422);
  }
  if (!AFTER[name]) throw new Error(`no such name: ${name}`);
  inbox.ws.send(AFTER[name][0]);
  return isFinal(await inbox.next('X'), AFTER[name][1]);
}

module.exports = { connect, serve };
