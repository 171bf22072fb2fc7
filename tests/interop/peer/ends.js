'use strict';
// What opens and answers WebSockets: the initiator dials, the acceptor keeps sessions and
// tombstones.
const crypto = require('crypto');
const { connect, serve } = require('./websocket');
const { Session, DEFAULTS } = require('./session');
const { Violation, decode, encode } = require('./frames');

const SLACK = 1 << 16; // what the WebSocket takes above max_frame, so that 4422 is ours to say

function makeLink(ws, linger) {
  return {
    phase: 'new',
    since: performance.now(),
    heard: performance.now(),
    said: performance.now(),
    send: (data) => ws.send(data),
    close: (code) => ws.close(code),
    closeLater: (code) => { // CLOSE-19
      const timer = setTimeout(() => ws.close(code), linger);
      ws.once('close', () => clearTimeout(timer));
    },
    ws,
  };
}

class Initiator {
  constructor(uri, config) {
    this.uri = uri;
    this.tries = 0;
    this.session = new Session({
      initiator: true, id: crypto.randomBytes(16), key: crypto.randomBytes(32), config,
    });
    this.session.on('linked', () => { this.tries = 0; });
    this.session.on('ended', () => { clearTimeout(this.timer); });
    this.dial();
  }

  dial() {
    const { session } = this;
    const ws = connect(this.uri, session.config.max_frame + SLACK);
    const link = makeLink(ws, 0);
    this.ws = ws;
    session.attempt += 1;
    const opening = setTimeout(() => ws.terminate(), session.config.open_timeout * 1000);
    ws.on('open', () => {
      clearTimeout(opening);
      link.since = performance.now();
      if (session.over) ws.close(1000);
      else session.dial(link);
    });
    ws.on('message', (data, isText) => session.receive(link, data, isText));
    ws.on('close', (code) => {
      clearTimeout(opening);
      if (ws !== this.ws) return;
      const { refused } = link;
      session.detach(link, refused ? refused.code : code);
      if (session.over) return;
      const why = refused ? refused.code : code;
      if (why >= 4400 && why <= 4499) {
        session.end(why, 'the WebSocket was closed so');
        return;
      }
      const wait = Math.min(5000, 20 * 2 ** this.tries) * (0.5 + Math.random());
      this.tries += 1;
      const retry = refused ? refused.retry : 0;
      this.timer = setTimeout(() => this.dial(), Math.max(wait, retry));
    });
  }
}

class Acceptor {
  constructor(port, config, onSession) {
    this.config = { ...DEFAULTS, ...config };
    this.sessions = new Map(); // id: {session, hash}
    this.tombstones = new Map(); // id: {hash, incarnation, attempt, counters, until}
    this.onSession = onSession;
    if (port === null) return; // the vectors bring their own WebSockets
    this.server = serve(port, this.config.max_frame + SLACK, (ws) => this.onSocket(ws));
  }

  onSocket(ws) {
    const link = makeLink(ws, 2000);
    const patience = this.config.open_timeout * 1000;
    const timer = setTimeout(() => this.refuse(link, 4508, 'no Hello'), patience);
    ws.once('close', () => clearTimeout(timer));
    ws.on('message', (data, isText) => {
      if (link.session) { link.session.receive(link, data, isText); return; }
      if (link.phase !== 'new') return;
      clearTimeout(timer);
      try {
        if (isText) throw new Violation(4400, 'a text message');
        const frames = decode(data, this.config.max_frame);
        if (frames.length !== 1 || frames[0][0] !== 'H') throw new Violation(4400, 'not Hello, alone');
        this.onHello(link, frames[0]);
      } catch (error) {
        if (!(error instanceof Violation)) throw error;
        this.refuse(link, error.code, error.reason);
      }
    });
    ws.on('close', (code) => { if (link.session) link.session.detach(link, code); });
  }

  refuse(link, code, reason, counters = null, retry = 0) {
    link.phase = 'over';
    link.send(encode([['X', code, reason, retry, counters]]));
    link.closeLater(code);
  }

  onHello(link, hello) {
    const [, min, max, id, key, attempt, incarnation, position] = hello;
    const told = (counters) => (counters[1] < position[2] - 1 ? null : counters); // RESUME-13
    if (min > 1 || max < 1) return this.refuse(link, 4426, 'this side speaks version 1');
    const name = id.toString('hex');
    const hash = crypto.createHash('sha256').update(key).digest();
    const held = this.sessions.get(name);
    const grave = this.tombstones.get(name);
    const known = held || (grave && grave.until > performance.now() ? grave : null);
    const right = known && crypto.timingSafeEqual(known.hash, hash)
      && (incarnation === 0 || incarnation === known.incarnation);
    const no = (...why) => this.refuse(link, ...why);
    if (known ? !right : incarnation !== 0) return no(4404, 'no such session here');
    if (known && attempt <= known.attempt) return no(4409, 'a later attempt was seen');
    if (held?.session.open && !held.session.fits(position)) return no(4409, 'an old copy'); // RESUME-14
    if (known) known.attempt = attempt;
    if (known && !held) return no(4410, 'this session has ended', told(known.counters));
    const entry = held || this.make(name, id, hash, attempt);
    const { session } = entry;
    const older = session.link;
    if (older && older.phase !== 'over') { // RESUME-2
      older.phase = 'over';
      older.send(encode([['X', 4409, 'a later attempt took over', 0, null]]));
      older.close(4409);
    }
    link.session = session;
    try {
      session.accept(link, hello, Boolean(held));
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      session.link = null; // there is none: Refuse goes before the WebSocket is closed
      session.end(error.code, error.reason);
      return no(error.code, error.reason, told(session.counters()));
    }
    if (!held) this.onSession(session);
    return undefined;
  }

  make(name, id, hash, attempt) {
    const incarnation = this.incarnation || 1 + crypto.randomInt(2 ** 47);
    const { config, clock } = this;
    const session = new Session({ initiator: false, id, config, clock, incarnation });
    const entry = { session, hash, incarnation, attempt };
    this.sessions.set(name, entry);
    session.on('ended', () => { // TOMB-1
      this.sessions.delete(name);
      const theirs = session.limits ? Math.min(session.limits[6], 3600e3) : 0;
      const until = performance.now() + 2 * Math.max(this.config.session_ttl * 1000, theirs);
      const counters = session.counters();
      this.tombstones.set(name, { hash, incarnation, attempt: entry.attempt, counters, until });
      if (this.tombstones.size > 65536) this.tombstones.delete(this.tombstones.keys().next().value);
    });
    return entry;
  }
}

module.exports = { Initiator, Acceptor, makeLink };
