/**
 * What one link has told the peer of our inbox, and when it tells more (protocol.md, section 7).
 *
 * Theory of operation. There is *news* when the inbox's counters are higher than what this link has
 * told. News rides in front of any other frame. Without other frames it goes in two cases:
 *
 * - `confirmed` has reached `dueAt()`: a quarter of the window (in messages or in bytes), a number
 *   that the peer asked for with Want, or the peer's Finish (ACK-3).
 * - `now` is set: a heartbeat is due, or `by` has passed, because the news is older than
 *   `config.ackDelay` (ACK-4).
 *
 * Taking a message must be cheap. So `watch` sets a mark in the inbox, and taking compares
 * `confirmed` with the mark and does no more. After an ack the mark is the next number: it is news,
 * and starts the delay. While the delay runs, the mark is `dueAt()`.
 *
 * It looks at our inbox only, which an Ack of the peer's does not move (ACK-8).
 */

import type { Config } from "./config.js";
import { ACK, type Counters, PARTIAL } from "./frames.js";
import type { Inbox } from "./inbox.js";

export class Acks {
  /** The last `received` told on this link. */
  received = 0;
  /** The last `confirmed` told on this link. Never above `inbox.confirmed`. */
  confirmed = 0;
  /** The peer waits for the confirmation of this number (ACK-5). */
  wanted = 0;
  /** Whether an Ack goes whatever it says: a heartbeat, or a delay that has passed. */
  now = false;
  /** Whether more of a message in parts has arrived than was told on this link (PART-16). */
  partialNews = false;
  /** When news that nobody waits for is told (ACK-4). `Infinity` while there is no news. */
  by = Infinity;

  readonly #quarter: number;
  readonly #delay: number;

  constructor(
    readonly inbox: Inbox,
    config: Config,
  ) {
    this.#quarter = Math.max(1, Math.floor(config.windowMessages / 4));
    this.#delay = config.ackDelay;
  }

  /** Note that the peer is being told these. */
  tell([received, confirmed]: Counters): void {
    this.received = received;
    this.confirmed = confirmed;
    this.by = Infinity;
    this.inbox.watch(confirmed + 1); // the next one is news
  }

  /** Number whose confirmation is told at once (ACK-3). */
  dueAt(): number {
    const { inbox, confirmed: told } = this;
    if (inbox.stopped) return Infinity;
    // The first of these: a quarter of the window in messages, what the peer waits for,
    let at = told + this.#quarter;
    if (told < this.wanted && this.wanted < at) at = this.wanted;
    // a quarter of the window in bytes,
    const marks = inbox.byteMarks;
    while (marks.first! <= told) marks.shift();
    if (marks.first! < at) at = marks.first!;
    // the peer's Finish.
    const finish = inbox.finish?.[1] ?? 0;
    return told < finish && finish < at ? finish : at;
  }

  /** If there is news: arm the delay, unless it is armed, and watch for what cannot wait. */
  note(now: number): void {
    const { inbox } = this;
    const isReceiptNews = inbox.received !== this.received;
    if (inbox.confirmed > inbox.storedConfirmed) {
      // The store has it, or gets it behind this step. When it is kept, it is told at once
      // (STORE-3). What is confirmed meanwhile goes to the store then: nothing to watch for.
      if (this.by === Infinity && isReceiptNews) this.by = now + this.#delay;
      inbox.watch(Infinity);
      return;
    }
    if (this.by === Infinity) {
      if (!isReceiptNews && inbox.confirmed <= this.confirmed) return;
      this.by = now + this.#delay;
    } else if (inbox.due) {
      this.now = true; // while the delay runs, the mark is what cannot wait
      return;
    }
    inbox.watch(this.dueAt());
  }

  /** Return the Ack that goes now, or `null` if there is no news, or it can wait (ACK-2, ACK-3). */
  take(now: number, riding: boolean): unknown[] | null {
    const { inbox } = this;
    const { received, tellable } = inbox;
    if (!this.now) {
      if (received === this.received && tellable === this.confirmed) return null;
      if (!riding && tellable < this.dueAt()) {
        this.note(now);
        return null;
      }
    }
    this.received = received;
    this.confirmed = tellable;
    this.now = false;
    this.by = Infinity;
    inbox.watch(tellable + 1);
    return [ACK, received, tellable];
  }

  /** Return what the envelope that goes now says of a message in parts (PART-16). */
  takePartial(): unknown[] | null {
    this.partialNews = false;
    const { partial, received } = this.inbox;
    return partial ? [PARTIAL, received + 1, partial] : null;
  }

  /** Do what is due. */
  tick(now: number): void {
    if (now >= this.by) {
      this.now = true;
      this.by = Infinity;
    }
  }
}
