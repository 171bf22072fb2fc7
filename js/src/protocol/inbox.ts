/**
 * The peer's direction of a session: what arrived, what was handed over, what is confirmed.
 *
 * Theory of operation. `confirmed <= handed <= received`: three positions in the peer's numbers.
 * *received* grows when messages arrive, *handed* when the application takes one, *confirmed* when
 * it has confirmed everything up to there. Usually taking confirms. A delivery confirms later and
 * in any order: `#ahead` remembers the numbers between `confirmed` and `handed`.
 *
 * Taking in never waits: the window that we announced bounds what is held (WINDOW-6). Every guard
 * against a peer that miscounts is here.
 *
 * `mark` is the number whose confirmation somebody waits for. Confirming it is news: the session
 * notes that, and draws its conclusions at the end of the step.
 */

import { MAX_RANGES } from "./codec.js";
import type { Config } from "./config.js";
import { ConfirmTooLate, Violation, violation } from "./errors.js";
import {
  CODE,
  type Counters,
  type Finish,
  KIND_TEXT,
  KIND_VALUE,
  MAX_NUMBER,
  Packed,
  type Part,
  type Payload,
  type Range,
} from "./frames.js";
import { Fifo } from "./fifo.js";
import type { Receiving } from "./state.js";
import { decodeText } from "./utf8.js";

/** Bytes that an envelope may add to the messages in it (WINDOW-7). */
const ENVELOPE_BYTES = 64;

/** The share of the window from which on it counts as full: the next message may be large. */
const FULL = 0.75;

export class Inbox {
  /** Highest number that arrived with everything before it. */
  received = 0;
  /** Highest number that the application has confirmed with everything before it. */
  confirmed = 0;
  /** Highest number handed over. Finish is never handed over. */
  handed = 0;
  /** The number of the message that the application got last. */
  given = 0;
  /** Messages that can be taken. */
  available = 0;
  /** With a store: the part of `confirmed` that is kept. The peer is told no more (STORE-3). */
  storedConfirmed = Infinity;
  /** Whether the peer may be told that intake is frozen. With a store: once that is kept. */
  isStopKept = true;
  /** Above `confirmed`: confirmed before a crash of ours, so not handed over again (STORE-8). */
  applied = new Set<number>();
  /** How often a number was confirmed before one below it. */
  outOfOrder = 0;
  /** Up to here a message may have been handed over before a crash of ours (RESUME-7). */
  redeliveredUpto = 0;
  state: Receiving = "open";
  /** The peer's Finish, once it has arrived. Its number is `received`. */
  finish: Finish | null = null;
  /** Whether intake is frozen for good (CLOSE-3). */
  stopped = false;
  /** Whether the marked number has been confirmed since the session looked. */
  due = false;
  /** Confirming this number is news that somebody waits for. */
  mark = Infinity;
  /** Numbers whose confirmation frees a quarter of the byte window (ACK-3). */
  readonly byteMarks = new Fifo<number>();

  readonly #config: Config;
  readonly #runs = new Fifo<readonly Payload[]>();
  #taken = 0; // how many of the first run
  readonly #sizes = new Fifo<[last: number, size: number]>();
  #arrivals = 0; // how many of these
  #held = 0; // bytes of these
  #unmarked = 0;
  // Handed over above `confirmed` -> whether confirmed; the numbers ascend.
  readonly #ahead = new Map<number, boolean>();
  #partial: Uint8Array | null = null; // room for the next message
  #partialSize = 0; // how much of it is here
  #partialTotal = 0;
  #partialKind = 0;

  constructor(config: Config) {
    this.#config = config;
  }

  /** Whether the peer can send next to nothing, since the application has taken too little. */
  get isFull(): boolean {
    const { windowMessages, windowBytes } = this.#config;
    const waiting = this.received - this.confirmed;
    return waiting >= FULL * windowMessages || this.#held >= FULL * windowBytes;
  }

  /** Bytes held of message `received + 1` (PART-4). */
  get partial(): number {
    return this.#partialSize;
  }

  /** The part of `confirmed` that the peer may be told (STORE-3). */
  get tellable(): number {
    return Math.min(this.storedConfirmed, this.confirmed);
  }

  /** Whether nothing more will be taken (CLOSE-6). */
  get done(): boolean {
    return this.state === "finished" || this.state === "stopped";
  }

  // ------------------------------------------------------------------ from the peer

  /** Take in a run of messages that took `size` bytes on the wire. */
  arrived(first: number, payloads: readonly Payload[], size: number): void {
    this.#expect(first);
    if (this.#partial) throw violation("a message inside another"); // PART-8
    this.#checkHeld(size);
    this.#add(first + payloads.length - 1, payloads, size);
  }

  /** Take in a slice; return whether it completed its message (PART-3). */
  arrivedPart([, number, offset, total, kind, data]: Part): boolean {
    this.#expect(number);
    if (total > this.#config.maxMessage) {
      throw violation("a message above the announced limit"); // PART-13
    }
    if (offset !== this.#partialSize) throw violation("a part out of place"); // PART-1
    if (!this.#partial) {
      this.#checkWindow(number);
      this.#checkHeld(total); // whole, from its first part on (WINDOW-8)
      this.#partial = new Uint8Array(Math.min(total, 2 * data.length));
      this.#partialTotal = total;
      this.#partialKind = kind;
    } else if (total !== this.#partialTotal || kind !== this.#partialKind) {
      throw violation("parts of different messages under one number"); // PART-2
    }
    // Room grows with what has come: an announced total costs nothing.
    const size = offset + data.length;
    if (size > this.#partial.length) {
      const larger = new Uint8Array(Math.min(total, 2 * size));
      larger.set(this.#partial.subarray(0, offset));
      this.#partial = larger;
    }
    this.#partial.set(data, offset);
    this.#partialSize = size;
    if (size < total) return false;
    const content = this.#partial;
    this.dropPartial();
    this.#add(number, [whole(content.subarray(0, total), kind)], total);
    return true;
  }

  /** Drop what is held of a message in parts: the next link brings it from its beginning. */
  dropPartial(): void {
    this.#partial = null;
    this.#partialSize = 0;
  }

  /** Take in the peer's Finish (CLOSE-1). */
  arrivedFinish(finish: Finish): void {
    this.#expect(finish[1]);
    if (this.#partial) throw violation("Finish inside a message"); // PART-8
    this.received = finish[1];
    this.finish = finish;
    this.mark = Math.min(this.mark, finish[1] - 1);
    this.state = "finishing";
  }

  /** Check that it is the next number, and not behind Finish (NUM-2). */
  #expect(number: number): void {
    if (this.finish) throw violation("a number behind Finish");
    if (number !== this.received + 1) {
      const word = number > this.received ? "a gap in" : "a repeat of";
      throw violation(`${word} the numbers: ${number} after ${this.received}`);
    }
  }

  #checkWindow(last: number): void {
    if (last - this.confirmed > this.#config.windowMessages) {
      throw violation("more messages than the window"); // WINDOW-4
    }
  }

  /** Refuse what no sender within the window would send (WINDOW-7). */
  #checkHeld(size: number): void {
    for (let next; (next = this.#sizes.first) && next[0] <= this.confirmed; this.#sizes.shift()) {
      this.#held -= next[1];
      this.#arrivals--;
    }
    const most = 2 * this.#config.windowBytes + ENVELOPE_BYTES * (this.#arrivals + 1);
    if (this.#held && this.#held + size > most) throw violation("more bytes than the window");
  }

  /** Keep messages, count what is held, and mark each quarter of the window (ACK-3). */
  #add(last: number, payloads: readonly Payload[], size: number): void {
    this.#checkWindow(last);
    this.#runs.push(payloads);
    this.available += payloads.length;
    this.received = last;
    this.#sizes.push([last, size]);
    this.#arrivals++;
    this.#held += size;
    this.#unmarked += size;
    if (this.#unmarked >= this.#config.windowBytes / 4) {
      this.#unmarked = 0;
      this.byteMarks.push(last);
    }
    this.#leaveOut();
  }

  // ------------------------------------------------------------------ to the application

  /** Hand over the next message and confirm it, in one step; `undefined` if there is none. */
  take(): Payload | undefined {
    const payload = this.#next();
    if (payload === undefined) return payload;
    const number = (this.given = this.handed);
    if (this.confirmed === number - 1) {
      this.confirmed = number;
      if (number >= this.mark) this.due = true;
    } else {
      // Deliveries before it are still open.
      this.#ahead.set(number, true);
      this.outOfOrder++;
    }
    this.#leaveOut();
    return payload;
  }

  /** Hand over the next message without confirming it; `undefined` if there is none. */
  deliver(): { number: number; payload: Payload } | undefined {
    const payload = this.#next();
    if (payload === undefined) return payload;
    const number = (this.given = this.handed);
    this.#ahead.set(number, false);
    this.#leaveOut();
    return { number, payload };
  }

  #next(): Payload | undefined {
    const run = this.#runs.first;
    if (!run) return undefined;
    const payload = run[this.#taken++]!;
    if (this.#taken === run.length) {
      this.#runs.shift();
      this.#taken = 0;
    }
    this.available--;
    this.handed++;
    return payload;
  }

  /**
   * Hand over to nobody what was confirmed before a crash of ours, once it is next (STORE-8). So
   * whatever is next can be taken.
   */
  #leaveOut(): void {
    while (this.applied.size && this.available && this.applied.delete(this.handed + 1)) {
      this.#next();
      this.#ahead.set(this.handed, false);
      this.confirm(this.handed);
    }
  }

  /**
   * Confirm one delivery. Return `false` if it was confirmed before.
   *
   * @throws RangeError It was never handed over.
   * @throws ConfirmTooLate The counters are final.
   */
  confirm(number: number): boolean {
    const ahead = this.#ahead;
    if (ahead.get(number) !== false) {
      if (!(number <= this.handed)) throw new RangeError(`message ${number} was not handed over`);
      return false;
    }
    if (this.stopped) throw new ConfirmTooLate(number);
    if (number !== this.confirmed + 1) {
      ahead.set(number, true);
      this.outOfOrder++;
      return true;
    }
    ahead.delete(number);
    while (ahead.get(number + 1)) ahead.delete(++number);
    this.confirmed = number;
    if (number >= this.mark) this.due = true;
    return true;
  }

  /** Set the mark at `number`, or at the last message before Finish. */
  watch(number: number): void {
    this.mark = this.finish ? Math.min(number, this.finish[1] - 1) : number;
  }

  // ------------------------------------------------------------------ its end

  /** Confirm the peer's Finish if everything before it is confirmed (CLOSE-2). */
  conclude(): void {
    const { finish } = this;
    if (finish && !this.stopped && this.confirmed === finish[1] - 1) {
      this.confirmed = finish[1]; // and it is not handed over (COUNT-4)
      this.state = "finished";
    }
  }

  /** Freeze intake in the step that reads its counters (CLOSE-3). */
  stop(): void {
    this.conclude();
    if (this.state !== "finished") this.#freeze();
  }

  /** Hand over nothing more, ever. */
  #freeze(): void {
    this.state = "stopped";
    this.stopped = true;
    this.#runs.clear();
    this.#taken = this.available = 0;
    this.dropPartial(); // hence `partial` is 0 (PART-12)
    this.mark = Infinity;
  }

  /** Return what a greeting says of this direction: with a store, only what is kept. */
  told(): Counters {
    if (this.storedConfirmed === Infinity || (this.stopped && this.isStopKept)) {
      return this.counters();
    }
    return [this.received, this.tellable, this.handed, false, []];
  }

  /** Return what is so of this direction (COUNT-1). */
  counters(): Counters {
    const ranges: Range[] = [];
    // In order, as they were handed over.
    for (const [number, confirmed] of this.#ahead) {
      if (!confirmed) continue;
      const last = ranges.at(-1);
      if (last?.[1] === number - 1) last[1] = number;
      else if (ranges.length === MAX_RANGES) break; // the rest are unknown: no lie (COUNT-6)
      else ranges.push([number, number]);
    }
    // What came before a crash of ours may have been handed over (COUNT-5).
    const handed = this.stopped ? Math.max(this.handed, this.redeliveredUpto) : this.handed;
    return [this.received, this.confirmed, handed, this.stopped, ranges];
  }

  // ------------------------------------------------------------------ after a crash

  /**
   * Begin where a store left off: what was not confirmed comes again (RESUME-7).
   *
   * @param finish The peer's last word, if that was confirmed too.
   * @param stopped The counters that may have been told before, if intake was frozen.
   */
  restore(confirmed: number, finish: Finish | null, stopped: Counters | null): void {
    this.received = this.confirmed = this.handed = confirmed;
    this.redeliveredUpto = MAX_NUMBER; // until the peer says how much it had sent
    if (finish) {
      this.finish = finish;
      this.handed = this.redeliveredUpto = confirmed - 1;
      this.state = "finished";
    }
    if (stopped) {
      [this.received, this.confirmed, this.redeliveredUpto] = stopped;
      this.handed = Math.min(this.received, this.redeliveredUpto);
      for (let [first, last] of stopped[4]) {
        for (; first <= last; first++) this.#ahead.set(first, true);
      }
      this.#freeze();
    }
  }
}

/** Return the payload that a message's parts make. */
function whole(data: Uint8Array, kind: number): Payload {
  if (kind === KIND_VALUE) return new Packed(data);
  if (kind !== KIND_TEXT) return data;
  try {
    return decodeText(data);
  } catch {
    throw new Violation(CODE.MALFORMED, "text that is not UTF-8"); // PART-10
  }
}
