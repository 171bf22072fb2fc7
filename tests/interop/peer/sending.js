'use strict';
// Our own direction of a session: the outbox, the peer's windows, runs and parts, outcomes.
const { Violation, contentOf, weightOf } = require('./frames');

const violation = (what) => { throw new Violation(4422, what); };

class Sending {
  constructor(session) {
    this.session = session;
    this.outbox = new Map(); // number: {payload, weight}, until confirmed
    this.last = 0; // the number given out last
    this.sent = 0; // the highest ever transmitted whole
    this.received = 0; // what the peer said on this link
    this.confirmed = 0; // the highest the peer ever said
    this.cursor = 1; // the next to be sent on this link
    this.offset = 0; // and where in it
    this.flying = 0; // weight of what is below cursor (or begun) and not confirmed
    this.state = 'open';
    this.finishing = null; // {number, code, reason}
    this.final = null; // the peer's final counters
    this.want = 0;
    this.wantSaid = 0;
    this.frameLimit = Infinity; // PART-6
  }

  get finished() { return this.finishing !== null && this.confirmed >= this.finishing.number; }

  get limit() { return Math.min(this.session.limits[2], this.frameLimit); }

  add(payload) {
    if (this.state !== 'open') throw new Error('nothing can be sent any more');
    const limits = this.session.limits;
    const weight = weightOf(payload);
    if (limits && weight - 6 > limits[3]) throw new Error('above the max_message of the peer');
    this.last += 1;
    this.outbox.set(this.last, { payload, weight });
    return this.last;
  }

  finish(code, reason) {
    this.state = 'finishing';
    this.finishing = { number: this.last + 1, code, reason };
  }

  release(confirmed) {
    if (confirmed <= this.confirmed) return false;
    for (let n = this.confirmed + 1; n <= confirmed; n++) {
      const message = this.outbox.get(n);
      if (message) this.flying -= message.weight;
      this.outbox.delete(n);
    }
    this.confirmed = confirmed;
    this.session.emit('confirmed', confirmed);
    return true;
  }

  acked(received, confirmed) { // true if something moved
    if (received >= this.cursor) violation('an ack of what was never sent');
    const moved = received > this.received;
    this.received = Math.max(this.received, received);
    return this.final ? moved : this.release(confirmed) || moved;
  }

  resume(counters, partial) {
    const [received, confirmed] = counters;
    this.release(confirmed);
    this.received = received;
    this.cursor = received + 1;
    this.wantSaid = 0;
    this.offset = 0;
    this.flying = 0;
    for (let n = this.confirmed + 1; n < this.cursor; n++) {
      const message = this.outbox.get(n);
      if (message) this.flying += message.weight;
    }
    if (!partial || counters[3] || this.final) return;
    const message = this.outbox.get(this.cursor);
    if (!message || partial >= message.weight - 6) violation('a partial that cannot be');
    this.offset = partial;
    this.flying += message.weight;
  }

  tellFinal(counters, open) { // CLOSE-4; `open`: said on an open link, not in a greeting
    const [received, confirmed] = counters;
    if (received > (open ? this.cursor - 1 : this.sent)) violation('counters of what was never sent');
    if (confirmed < this.confirmed || (open && received < this.received)) violation('counters go back');
    if (this.final) return;
    this.final = counters;
    this.release(confirmed);
    this.state = this.finished ? 'finished' : 'stopped';
  }

  halve() {
    const now = this.session.limits ? this.limit : 1 << 20;
    this.frameLimit = Math.floor(now / 2);
    return this.frameLimit >= 4096;
  }

  // The window: may the message at the cursor go? (One that was begun has its credit.)
  allowed(message) {
    if (this.offset) return true;
    const [most, heavy] = this.session.limits;
    const count = this.cursor - 1 - this.confirmed;
    if (count === 0) return true;
    return count + 1 <= most && this.flying + message.weight <= heavy;
  }

  // The sequenced frames of one envelope, Want before them; [] if nothing may go.
  next() {
    if (this.final || this.session.over) return [];
    const { batch_messages: most, batch_bytes: bytes } = this.session.config;
    const room = this.limit - 512;
    const run = [];
    const frames = [];
    let size = 0;
    const first = this.cursor;
    for (;;) {
      const message = this.outbox.get(this.cursor);
      if (!message || !this.allowed(message)) break;
      if (this.offset || message.weight > room) {
        if (!run.length) frames.push(this.part(message));
        break;
      }
      size += message.weight;
      if (run.length && (run.length >= Math.min(most, 4096) || size > Math.min(bytes, room))) break;
      run.push(message.payload);
      this.flying += message.weight;
      this.sent = Math.max(this.sent, this.cursor);
      this.cursor += 1;
    }
    if (run.length) frames.push(['M', first, run]);
    const f = this.finishing;
    if (f && this.cursor === f.number) {
      frames.push(['F', f.number, f.code, f.reason]);
      this.sent = Math.max(this.sent, f.number);
      this.cursor += 1;
    }
    if (this.want > this.wantSaid && this.want > this.confirmed && this.want < this.cursor) {
      frames.unshift(['N', this.want]);
      this.wantSaid = this.want;
    }
    return frames;
  }

  part(message) {
    const [kind, content] = contentOf(message.payload);
    if (!this.offset) this.flying += message.weight;
    const end = Math.min(content.length, this.offset + Math.min(262144, this.limit - 256));
    const slice = content.subarray(this.offset, end);
    const frame = ['P', this.cursor, this.offset, content.length, kind, slice];
    this.session.moved = this.session.clock.now();
    this.offset = end;
    if (end === content.length) {
      this.sent = Math.max(this.sent, this.cursor);
      this.cursor += 1;
      this.offset = 0;
    }
    return frame;
  }

  // Each own message by number: confirmed, not taken, unknown or pending (CLOSE-4, END-3).
  outcomes() {
    const result = { confirmed: [], 'not taken': [], unknown: [], pending: [] };
    const ranges = this.final ? this.final[4] : [];
    for (let n = 1; n <= this.last; n++) {
      let outcome = 'pending';
      if (n <= this.confirmed || ranges.some(([a, b]) => n >= a && n <= b)) outcome = 'confirmed';
      else if (this.final) outcome = n <= this.final[2] ? 'unknown' : 'not taken';
      else if (this.session.over) outcome = n <= this.sent ? 'unknown' : 'not taken';
      result[outcome].push(n);
    }
    return result;
  }
}

module.exports = { Sending };
