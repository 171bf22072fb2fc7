'use strict';
// The peer's direction of a session: numbers, windows, parts, what was handed over and confirmed.
const { Violation, payloadOf, weightOf } = require('./frames');

const violation = (what) => { throw new Violation(4422, what); };

class Receiving {
  constructor(session) {
    this.session = session;
    this.state = 'open'; // finishing, finished, stopped
    this.received = 0;
    this.confirmed = 0;
    this.handed = 0;
    this.peerFinish = null; // {number, code, reason}
    this.queue = []; // received and not handed over
    this.held = new Map(); // number: weight; received and not confirmed
    this.weight = 0; // of all that is held
    this.early = new Set(); // confirmed above `confirmed`
    this.partial = null; // {total, kind, slices, size}
  }

  get frozen() { return this.state === 'finished' || this.state === 'stopped'; }

  // ---- what comes

  expect(number) { // NUM-2; false if intake is frozen
    if (this.state === 'stopped') return false;
    if (this.peerFinish) violation('a number behind Finish');
    if (number !== this.received + 1) violation(`${number} after ${this.received}`);
    return true;
  }

  messages(first, payloads) {
    if (!this.expect(first)) return;
    if (this.partial) violation('Messages inside a message');
    this.admit(payloads.map((payload) => ({ payload, weight: weightOf(payload) })));
  }

  admit(messages) { // WINDOW-4, before anything is stored
    const { window_messages: most, window_bytes: heavy, max_message: large } = this.session.config;
    const weight = messages.reduce((sum, m) => sum + m.weight, this.weight);
    const count = this.received - this.confirmed + messages.length;
    if (count > most) violation('more messages than the window');
    if (count > 1 && weight > 2 * heavy + 64 * count) violation('more bytes than the window');
    if (messages.some((m) => m.weight - 6 > large)) violation('a message above the limit');
    for (const m of messages) {
      m.number = this.received += 1;
      this.held.set(m.number, m.weight);
      this.queue.push(m);
    }
    this.weight = weight;
    this.session.emit('received', messages.length);
    this.session.emit('readable');
  }

  part(number, offset, total, kind, slice) {
    if (!this.expect(number)) return;
    if (total > this.session.config.max_message) violation('a message above the announced limit');
    const p = this.partial || { total, kind, slices: [], size: 0 };
    if (p.total !== total || p.kind !== kind) violation('parts of different messages');
    if (p.size !== offset) violation('a part out of place');
    p.slices.push(slice);
    p.size += slice.length;
    this.partial = p;
    if (p.size < total) return;
    const payload = payloadOf(kind, Buffer.concat(p.slices));
    this.partial = null;
    this.admit([{ payload, weight: total + 6 }]);
  }

  finish(number, code, reason) {
    if (!this.expect(number)) return;
    if (this.partial) violation('Finish inside a message');
    this.received = number;
    this.peerFinish = { number, code, reason };
    this.state = 'finishing';
    this.takeFinish();
    this.session.emit('readable');
  }

  // ---- what the application does

  handOver() {
    if (!this.queue.length || this.state === 'stopped') return null;
    const message = this.queue.shift();
    this.handed = message.number;
    return message;
  }

  confirm(number) {
    if (this.state === 'stopped' || number > this.handed || !this.held.has(number)) return;
    this.early.add(number);
    while (this.early.delete(this.confirmed + 1)) {
      this.confirmed += 1;
      const weight = this.held.get(this.confirmed);
      this.weight -= weight;
      this.session.untold += weight;
      this.held.delete(this.confirmed);
    }
    this.takeFinish();
  }

  takeFinish() {
    if (this.state !== 'finishing' || this.confirmed !== this.peerFinish.number - 1) return;
    this.confirmed += 1;
    this.state = 'finished';
    this.session.emit('readable');
  }

  stop() { // CLOSE-3; false if there was nothing to stop
    if (this.frozen) return false;
    this.state = 'stopped';
    this.queue = [];
    this.partial = null;
    return true;
  }

  counters() {
    const ranges = [];
    for (const n of [...this.early].sort((a, b) => a - b)) {
      if (ranges.length && ranges.at(-1)[1] === n - 1) ranges.at(-1)[1] = n;
      else ranges.push([n, n]);
    }
    return [this.received, this.confirmed, this.handed, this.state === 'stopped', ranges.slice(0, 64)];
  }
}

module.exports = { Receiving };
