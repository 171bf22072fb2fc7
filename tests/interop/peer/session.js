'use strict';
// One session, sans I/O: a link is {send(Buffer), close(code), closeLater(code)}; ends.js dials and
// accepts. Tags such as NUM-2 are rules of protocol.md.
const { EventEmitter } = require('events');
const { Violation, decode, encode, toPayload } = require('./frames');
const { Sending } = require('./sending');
const { Receiving } = require('./receiving');

const DEFAULTS = {
  window_messages: 32768, window_bytes: 4 << 20, max_frame: 1 << 20, max_message: 64 << 20,
  max_requests: 1024, idle_timeout: 20, session_ttl: 120, ack_delay: 0.025, open_timeout: 10,
  batch_messages: 1024, batch_bytes: 64 << 10, close_progress_timeout: 30, close_timeout: 300,
};
const realClock = {
  now: () => performance.now(),
  setTimeout: (f, ms) => setTimeout(f, ms),
  clearTimeout: (t) => clearTimeout(t),
};
const lost = (what) => { throw new Violation(4422, `state lost: ${what}`); };
const violation = (what) => { throw new Violation(4422, what); };

// Events: readable, confirmed, final, linked, lost (code), ended (code, reason).
class Session extends EventEmitter {
  constructor({ initiator, id, key, config, clock = realClock, incarnation = 0 }) {
    super();
    this.config = { ...DEFAULTS, ...config };
    Object.assign(this, { initiator, id, key, clock, incarnation, attempt: 0 });
    this.link = null;
    this.over = null; // {code, reason} once the session has ended
    this.limits = null; // the peer's
    this.out = new Sending(this);
    this.in = new Receiving(this);
    this.told = { received: 0, confirmed: 0 }; // on this link
    Object.assign(this, { untold: 0, ackAt: null, wanted: 0 });
    this.stopToSay = false;
    this.heard = this.moved = clock.now();
    this.grace = 0;
    this.rearm();
  }

  get open() { return Boolean(this.link && this.link.phase === 'open'); }

  get done() { return (this.out.finished || this.out.final !== null) && this.in.frozen; }

  // ---- what the application does

  send(value) {
    const number = this.out.add(toPayload(value));
    this.later();
    return number;
  }

  want(number) { this.out.want = Math.max(this.out.want, number); this.later(); }

  handOver() { return this.in.handOver(); }

  confirm(number) {
    this.in.confirm(number);
    this.settle();
  }

  take() {
    const message = this.handOver();
    if (message) this.confirm(message.number);
    return message;
  }

  finish(code = 1000, reason = '') {
    if (this.out.state !== 'open') return;
    this.out.finish(code, reason);
    this.settle();
  }

  close(code = 1000, reason = '') {
    if (this.over) return;
    this.closing = this.moved = this.clock.now();
    this.stop();
    this.finish(code, reason);
    this.settle();
    this.rearm();
  }

  abort(reason = '') { this.end(4499, reason); }

  // ---- links

  greeting(link) {
    const { config: c, in: { received, confirmed, partial } } = this;
    this.told = { received, confirmed };
    Object.assign(this, { untold: 0, ackAt: null, wanted: 0, stopToSay: false });
    const counters = this.counters();
    link.stopped = counters[3];
    const position = [counters, this.out.sent, this.out.confirmed + 1, partial ? partial.size : 0];
    const limits = [c.window_messages, c.window_bytes, c.max_frame, c.max_message, c.max_requests,
      c.idle_timeout * 1000, c.session_ttl * 1000];
    return [position, limits];
  }

  dial(link) {
    this.link = link;
    link.phase = 'dialing';
    const [position, limits] = this.greeting(link);
    this.say([['H', 1, 1, this.id, this.key, this.attempt, this.incarnation, position, limits]]);
  }

  // The acceptor, when a Hello was found good; throws if state is lost or nothing is left to do.
  accept(link, hello, resumed) {
    this.heard = this.clock.now();
    const [position, limits] = hello.slice(-2);
    this.link = link;
    this.meet(position, limits);
    if (this.done) throw new Violation(4410, 'this session has ended'); // CLOSE-18
    const mine = this.greeting(link);
    this.say([['W', 1, resumed, this.incarnation, ...mine]]);
    this.opened();
  }

  opened() {
    this.link.phase = 'open';
    if (this.in.state === 'stopped' && !this.link.stopped) this.stopToSay = true;
    this.emit('linked');
    this.settle();
  }

  compare([counters, sent, first]) { // RESUME-3
    if (counters[1] < this.out.confirmed) lost('confirmed goes back');
    if (counters[0] > this.out.sent) lost('received what was never sent');
    if (this.in.state !== 'stopped') {
      if (first > this.in.received + 1) lost('messages are not available any more');
      if (sent < this.in.received) lost('sent goes back');
    }
  }

  fits(position) {
    try { this.compare(position); } catch { return false; }
    return true;
  }

  meet(position, limits) {
    this.compare(position);
    const [counters, , , partial] = position;
    if (!this.limits) this.limits = limits.slice(0, 7);
    this.limits[2] = Math.min(this.limits[2], limits[2]);
    this.out.resume(counters, partial);
    if (counters[3]) this.tellFinal(counters, false);
  }

  detach(link, code) {
    if (link !== this.link) return; // LINK-4
    link.phase = 'over';
    this.link = null;
    if (code === 1009 && !this.out.halve()) this.end(1009, 'no envelope is small enough');
    this.emit('lost', code);
  }

  // ---- what comes

  receive(link, data, isText) {
    if (link !== this.link || link.phase === 'over') return;
    link.heard = this.clock.now();
    if (link.phase === 'open') {
      this.heard = link.heard;
      this.occasion = link.heard - link.said >= 0.9 * this.silence; // LIVE-9
    }
    try {
      if (isText) throw new Violation(4400, 'a text message');
      for (const frame of decode(data, this.config.max_frame)) {
        if (link !== this.link || link.phase === 'over') break; // LINK-5
        this.frame(link, frame);
      }
      this.settle();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      if (link.phase === 'dialing') this.strange(link, error);
      else this.end(error.code, error.reason);
    }
  }

  strange(link, error) { // HELLO-8, HELLO-13
    link.phase = 'over';
    this.emit('strange', error);
    link.close(1002);
    if (!this.limits) this.end(error.code, 'the peer does not speak this protocol');
  }

  frame(link, [type, ...f]) {
    this.emit('frame', type, f);
    if (type === 'X') return this.refused(link, ...f);
    if (link.phase === 'dialing') {
      if (type !== 'W') throw new Violation(4422, `${type} before Welcome`);
      return this.welcomed(...f);
    }
    switch (type) {
      case 'M': return this.in.messages(...f);
      case 'P': return this.in.part(...f);
      case 'F': return this.in.finish(...f);
      case 'A': if (this.out.acked(...f)) this.moved = this.clock.now(); return undefined;
      case 'N':
        if (f[0] > this.in.received + this.config.window_messages + 1) violation('Want too far');
        this.wanted = Math.max(this.wanted, f[0]);
        return undefined;
      case 'S': return this.tellFinal(f[0], true);
      case 'D':
        if (!this.initiator) violation('Done to an acceptor');
        if (!this.in.frozen) violation('Done too early');
        this.tellFinal(f[0], true);
        return this.heardTheEnd(1000, '');
      default: return violation(`${type} on an open link`);
    }
  }

  welcomed(version, resumed, incarnation, position, limits) {
    this.heard = this.clock.now();
    this.link.phase = 'open'; // so that a violation is answered with Refuse
    if (version !== 1) throw new Violation(4426, 'a version that was not offered');
    if (this.incarnation && incarnation !== this.incarnation) violation('another incarnation');
    this.incarnation = incarnation;
    this.meet(position, limits);
    this.opened();
  }

  refused(link, code, reason, retry, counters) {
    const open = link.phase === 'open';
    link.phase = 'over';
    link.refused = { code, retry };
    this.emit('refused', code, reason, retry, counters);
    if (counters) this.tellFinal(counters, open);
    if (counters || (code >= 4400 && code <= 4499)) return this.heardTheEnd(code, reason);
    link.close(1000);
    return undefined;
  }

  heardTheEnd(code, reason) {
    const link = this.link;
    link.phase = 'over';
    link.close(1000);
    this.end(code, reason);
  }

  tellFinal(counters, open) {
    this.out.tellFinal(counters, open);
    this.emit('final', counters);
  }

  counters() { return this.in.counters(); }

  stop() { if (this.in.stop()) this.stopToSay = this.open; }

  // ---- the end

  settle() { // after everything that may have changed something
    if (!this.over && this.done && !this.initiator) this.end(1000, '');
    this.later();
  }

  end(code, reason) {
    if (this.over) return;
    const agreed = this.done;
    this.stop(); // END-1
    this.over = { code: agreed ? 1000 : code, reason };
    const link = this.link;
    if (this.open && agreed && !this.initiator) { // END-2
      this.say([['D', this.counters()]]);
      link.closeLater(1000);
    } else if (this.open) {
      this.say([['X', agreed ? 4410 : code, reason.slice(0, 40).toWellFormed(), 0, this.counters()]]);
      link.close(agreed ? 1000 : code);
    } else if (link) link.close(1000);
    if (link) link.phase = 'over';
    this.clock.clearTimeout(this.timer);
    this.emit('readable');
    this.emit('ended', this.over.code, reason);
  }

  // ---- saying

  say(frames) {
    this.link.said = this.clock.now();
    this.link.send(encode(frames));
    this.emit('said', frames);
  }

  later() {
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => { this.scheduled = false; this.flush(); });
  }

  get ackIsNew() {
    return this.in.received !== this.told.received || this.in.confirmed !== this.told.confirmed;
  }

  get ackIsDue() { // ACK-3
    const { told, wanted, config: c, in: { confirmed, state } } = this;
    if (confirmed === told.confirmed) return false;
    return confirmed - told.confirmed >= c.window_messages / 4 || this.untold >= c.window_bytes / 4
      || (wanted > told.confirmed && confirmed >= wanted) || state === 'finished';
  }

  ack() {
    this.told = { received: this.in.received, confirmed: this.in.confirmed };
    this.untold = 0;
    this.ackAt = null;
    return ['A', this.in.received, this.in.confirmed];
  }

  flush(beat = this.occasion, envelopes = Infinity) {
    this.occasion = false;
    for (let i = 0; this.open && i < envelopes; i++) {
      const frames = this.stopToSay ? [['S', this.counters()]] : this.out.next();
      this.stopToSay = false;
      const fresh = this.ackIsNew;
      const now = this.clock.now();
      if (fresh && this.ackAt === null) this.ackAt = now + this.config.ack_delay * 1000;
      const rides = fresh && (frames.length || this.ackIsDue || now >= this.ackAt);
      if (rides || (beat && !frames.length)) frames.unshift(this.ack());
      beat = false;
      if (!frames.length) break;
      this.say(frames);
    }
    this.rearm();
  }

  // ---- time: one timer, set to the earliest of what may become due

  get silence() { return Math.max(100, this.limits[5]) / 3; } // LIVE-2

  deadlines() {
    const { config: c, link } = this;
    const patient = (at) => Math.max(at, this.grace); // LIVE-4
    const all = [[patient(this.heard + c.session_ttl * 1000), () => this.end(4410, 'no contact')]];
    if (this.closing) {
      const until = Math.min(this.moved + c.close_progress_timeout * 1000,
        this.closing + c.close_timeout * 1000);
      all.push([patient(until), () => this.end(4499, 'the close came to nothing')]);
    }
    const drop = (code) => () => { link.phase = 'over'; link.close(code); };
    if (this.open) {
      all.push([link.said + this.silence, () => this.flush(true)]);
      all.push([patient(link.heard + c.idle_timeout * 1000), drop(4509)]);
      if (this.ackAt !== null) all.push([this.ackAt, () => this.flush()]);
    } else if (link && link.phase === 'dialing') {
      all.push([patient(link.since + c.open_timeout * 1000), drop(1002)]);
    }
    return all;
  }

  rearm() {
    if (this.over) return;
    const next = Math.min(...this.deadlines().map(([at]) => at));
    if (this.timer && this.timerAt <= next) return;
    this.clock.clearTimeout(this.timer);
    this.timerAt = next;
    this.timer = this.clock.setTimeout(() => this.tick(), Math.max(0, next - this.clock.now()) + 1);
  }

  tick() {
    const now = this.clock.now();
    if (now - this.timerAt > 1000) this.grace = now + 1000;
    this.timer = null;
    for (const [at, act] of this.deadlines()) if (!this.over && now >= at) act();
    this.rearm();
  }
}

module.exports = { Session, DEFAULTS };
