/**
 * Our entries of calls that the peer has not received: kept by number, sent again when lost.
 *
 * Calls have numbers of their own beside the messages, because they are confirmed by arriving: an
 * unread message holds back no reply, no reply holds back a message, and a full window can deadlock
 * nothing (CALL-1, CALL-13). What we ask and what we answer share one numbering, hence one queue.
 * `acked <= transmitted <= last`, as in the outbox of messages.
 */

import type { Config } from "../config.js";
import { MessageTooLarge } from "../errors.js";
import {
  CANCEL,
  CREDIT,
  type Entry,
  FAULT,
  MAX_NUMBER,
  OVERHEAD,
  PIECE,
  type Payload,
  REPLY,
  REQUEST,
  VOID,
} from "../frames.js";
import { pack } from "../pack.js";
import { cut, LARGEST_ENTRY, PIECE_HEADER } from "./fragments.js";

/** Bytes of an entry without text or payload, at most. */
export const SMALL_ENTRY = 24;

/** Bytes of entries that there is always room for. */
const LEAST_ANSWERS = 64 * 1024;

/** Bytes of open requests that the side which runs them takes, in windows of messages (CALL-44). */
export const REQUESTS_WINDOW = 16;

/**
 * Highest number of a request. The numbers above it are left for what is said of the requests that
 * are open; no session reaches them (CALL-43).
 */
export const LAST_REQUEST = MAX_NUMBER - 2 ** 32;

/** A side that has finished may still read a stream, or leave it (CALL-34). */
export const isBehindFinish = ([type]: Entry) => type === CANCEL || type === CREDIT;

const isAnswer = ([type]: Entry) => type === REPLY || type === FAULT;

export type RequestEntry = Entry & { 0: typeof REQUEST };

interface Kept {
  entry: Entry;
  /** Its bytes, at most. */
  size: number;
  /** When a request's time is up. */
  by: number | null;
}

/** Says what goes for the request of this number, whose time is up `by`. */
export type Refresh = (number: number, entry: RequestEntry, by: number | null) => Entry;

/** Entries in order of their numbers, each until the peer has received it. */
export class CallQueue {
  /** Bytes of all entries. */
  weight = 0;
  /** Highest number accepted. */
  last = 0;
  /** Highest number ever handed to a link. */
  transmitted = 0;
  /** With a store: entries up to here are kept, and no others are transmitted (CALL-12). */
  stored = Infinity;
  /** With a store: entries up to here are what they were when the last change was taken. */
  takenBack = Infinity;
  /** Highest number that the peer has received, as far as it told. */
  acked = 0;
  /** How many replies and faults the peer has not received. */
  answers = 0;
  /** Longest payload that the peer takes; until the first greeting, a guess from ours. */
  maxThere: number;
  /** Whether our Finish has been transmitted: what may come behind it is little. */
  finished = false;
  /** Whether nothing can be sent any more. */
  blocked = false;
  /** Set when there is room for items again (see `crowded`). */
  eased = false;

  readonly #kept = new Map<number, Kept>();
  readonly #mostHeld: number;

  constructor(config: Config) {
    this.#mostHeld = config.outboxBytes;
    this.maxThere = config.maxMessage;
  }

  /** Whether so much waits to be received that items of streams, and new handlers, wait too
   * (CALL-29, CALL-45). */
  get crowded(): boolean {
    return this.weight >= this.#mostHeld;
  }

  /** Whether there is no room for an answer at all (CALL-45). */
  get overloaded(): boolean {
    const most = Math.max(2 * REQUESTS_WINDOW * this.#mostHeld, LEAST_ANSWERS);
    return this.crowded && this.weight >= most;
  }

  // ------------------------------------------------------------------ accepted

  /**
   * Queue an entry and return its number; 0 if the peer could not take it any more.
   *
   * @param size Its bytes, at most.
   * @param weight Those of its payload, if it has any.
   * @param by When a request's time is up.
   * @throws MessageTooLarge The payload is larger than the peer's `maxMessage`.
   */
  put(entry: Entry, size: number, weight = 0, by: number | null = null): number {
    if (weight - OVERHEAD > this.maxThere) {
      throw new MessageTooLarge(weight - OVERHEAD, this.maxThere);
    }
    if (this.blocked || (this.finished && !isBehindFinish(entry))) return 0;
    if (size > LARGEST_ENTRY) {
      // Its payload goes before it, in pieces.
      for (const piece of cut(entry.at(-1) as Payload)) {
        this.#append(piece, (piece[1] as Uint8Array).length + PIECE_HEADER, null);
      }
      entry = [...entry.slice(0, -1), null] as Entry;
      size -= weight;
    }
    return this.#append(entry, size, by);
  }

  #append(entry: Entry, size: number, by: number | null): number {
    this.#kept.set(++this.last, { entry, size, by });
    this.weight += size;
    if (isAnswer(entry)) this.answers++;
    return this.last;
  }

  /** Put nothing in a request's place, and in that of the pieces before it (CALL-8). */
  takeBack(request: number): void {
    const { crowded } = this;
    let number = request;
    let kept = this.#kept.get(number);
    while (kept && (number === request || kept.entry[0] === PIECE)) {
      this.weight -= kept.size;
      this.#kept.set(number, { entry: [VOID], size: 0, by: null });
      kept = this.#kept.get(--number);
    }
    // Nor is it said that they were taken back, before that is kept.
    this.takenBack = Math.min(this.takenBack, number);
    if (this.stored < Infinity) this.stored = Math.min(this.stored, number);
    this.eased ||= crowded && !this.crowded;
  }

  // ------------------------------------------------------------------ sent, and received there

  /**
   * Return entries from `number` on, at most so many in so many bytes, and their size.
   *
   * The first one goes in any case, but for one that has just been taken back, where a store has to
   * keep that before. `refresh` says what goes in the place of a request that has a time, or went
   * before.
   */
  run(number: number, count: number, room: number, refresh: Refresh) {
    const before = this.transmitted;
    const entries: Entry[] = [];
    let used = 0;
    for (; number <= Math.min(this.last, this.stored) && entries.length < count; number++) {
      const kept = this.#kept.get(number)!;
      let { entry } = kept;
      if (entry[0] === REQUEST && (kept.by !== null || number <= before)) {
        entry = refresh(number, entry, kept.by);
        if (number > this.stored) break; // it was taken back just now, which is not kept
      }
      const size = this.#kept.get(number)!.size || SMALL_ENTRY;
      if (used + size > room && entries.length) break;
      entries.push(entry);
      used += size;
    }
    this.transmitted = Math.max(before, number - 1);
    return { entries, used };
  }

  /** Forget what the peer has received (CALL-3). `received` is above `acked`. */
  release(received: number): void {
    const { crowded } = this;
    while (this.acked < received) {
      const kept = this.#kept.get(++this.acked);
      this.#kept.delete(this.acked);
      if (!kept) continue;
      this.weight -= kept.size;
      if (isAnswer(kept.entry)) this.answers--;
    }
    this.eased ||= crowded && !this.crowded;
  }

  /** Forget everything: nothing is sent any more. */
  clear(): void {
    this.blocked = true;
    this.#kept.clear();
    this.weight = this.answers = 0;
  }

  // ------------------------------------------------------------------ a crash

  /** Return the entries from a number on, packed, each with its size (CALL-12). */
  packed(first: number): Uint8Array | null {
    if (!this.#kept.size || first > this.last) return null;
    const items = [];
    for (; first <= this.last; first++) {
      const { entry, size } = this.#kept.get(first)!;
      items.push([entry, size]);
    }
    return pack(items);
  }

  /**
   * Go on with what a store had. All of it counts as transmitted. What was taken back after it had
   * been kept does not go.
   *
   * @param open Our requests that were open.
   */
  restore(
    acked: number,
    last: number,
    entries: readonly (readonly [Entry, number])[],
    open: ReadonlySet<number>,
  ): void {
    this.acked = this.last = acked;
    for (const [entry, size] of entries) {
      const number = this.#append(entry, size, null);
      if (entry[0] === REQUEST && !open.has(number)) this.takeBack(number);
    }
    this.last = this.transmitted = last; // no entries are left where all was cleared
  }
}
