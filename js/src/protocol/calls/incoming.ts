/**
 * Requests that the peer makes, what we answer, and everything that its entries bring (CALL-2).
 *
 * An entry of the peer is either about a request of its own, which is kept here until it is
 * answered, or about one of ours, which `OutgoingCalls` knows. Every guard against a peer that
 * miscounts calls is here or there.
 */

import type { Config } from "../config.js";
import { violation } from "../errors.js";
import type { CallEvent } from "../events.js";
import {
  CANCEL,
  CREDIT,
  type Entry,
  FAULT,
  ITEM,
  LONGEST_NAME,
  LONGEST_WORDS,
  PIECE,
  type Payload,
  REPLY,
  REQUEST,
  VOID,
} from "../frames.js";
import { weightOf } from "../payload.js";
import { clipped, utf8Length } from "../utf8.js";
import { Pieces, whole } from "./fragments.js";
import type { OutgoingCalls } from "./outgoing.js";
import { type CallQueue, REQUESTS_WINDOW } from "./queue.js";

/** Most bytes of an entry besides its texts and its payload. */
const HEADER = 32;

/** Code of the fault of a request, or in place of an answer, for which there is no memory. */
const OVERLOADED = "overloaded";

/** What a fault carries that is the protocol's own (CALL-11). */
const NOTHING = new Uint8Array();

/** The peer's entries, and its requests until they are answered (CALL-27). */
export class IncomingCalls {
  /** Those of the peer's next entry, while any are held. */
  pieces: Pieces | null = null;
  /** Highest number that arrived. */
  received = 0;
  /** With a store: the part of `received` that is kept. The peer is told no more (CALL-12). */
  stored = Infinity;
  /** The peer's requests that we owe an answer (CALL-26) -> their weight. */
  readonly served = new Map<number, number>();

  #weight = 0; // of them
  readonly #config: Config;
  readonly #queue: CallQueue;
  readonly #outgoing: OutgoingCalls;

  constructor(config: Config, queue: CallQueue, outgoing: OutgoingCalls) {
    this.#config = config;
    this.#queue = queue;
    this.#outgoing = outgoing;
  }

  /** The part of `received` that the peer may be told. */
  get tellable(): number {
    return Math.min(this.received, this.stored);
  }

  // ------------------------------------------------------------------ arrived

  /**
   * Take in a run of entries; return what happened.
   *
   * @param sent The highest number of ours that the peer can have received.
   */
  arrived(first: number, entries: readonly Entry[], now: number, sent: number): CallEvent[] {
    if (first !== this.received + 1) {
      throw violation(`call ${first} after ${this.received}`);
    }
    const events: CallEvent[] = [];
    for (const entry of entries) {
      const id = ++this.received;
      const event = this.#arrived(id, entry, now, sent);
      if (event) events.push(event);
    }
    return events;
  }

  #arrived(id: number, entry: Entry, now: number, sent: number): CallEvent | null {
    if (entry[0] === PIECE) {
      this.pieces ??= new Pieces(this.#config.maxMessage);
      this.pieces.add(entry[1]);
      return null;
    }
    const { pieces } = this;
    this.pieces = null;
    if (entry[0] === VOID) return null; // what came before it is dropped (CALL-8)
    const outgoing = this.#outgoing;
    switch (entry[0]) {
      case REQUEST: {
        const [, method, timeout, credit] = entry;
        const payload = whole(entry[4], pieces);
        const by = timeout === null ? null : now + timeout; // CALL-33
        return this.#requested(id, method, payload, by, credit);
      }
      case REPLY: {
        const [, id] = entry;
        const payload = whole(entry[2], pieces);
        return outgoing.answered(id, sent) ? { type: "replied", id, payload } : null;
      }
      case FAULT: {
        const [, id, code, message] = entry;
        const payload = whole(entry[4], pieces);
        return outgoing.answered(id, sent) ? { type: "faulted", id, code, message, payload } : null;
      }
      case ITEM: {
        const payload = whole(entry[2], pieces);
        const isWaitedFor = outgoing.itemArrived(entry[1], weightOf(payload), sent);
        return isWaitedFor ? { type: "item", id: entry[1], payload } : null;
      }
      case CANCEL:
      case CREDIT:
        whole(NOTHING, pieces);
        if (!this.served.has(entry[1])) return null; // too late, and ignored (CALL-32)
        return entry[0] === CANCEL
          ? { type: "cancelled", id: entry[1] }
          : { type: "granted", id: entry[1], total: entry[2] };
    }
  }

  /** Take in a request: it is owed an answer from now on. */
  #requested(
    id: number,
    method: string,
    payload: Payload,
    by: number | null,
    credit: number,
  ): CallEvent | null {
    if (this.served.size + this.#queue.answers >= this.#config.maxRequests) {
      throw violation("more open requests than announced"); // CALL-6
    }
    if (this.#weight >= REQUESTS_WINDOW * this.#config.windowBytes) {
      this.served.set(id, 0);
      this.fault(id, OVERLOADED, "the open requests take too much memory"); // CALL-44
      return null;
    }
    const weight = weightOf(payload);
    this.served.set(id, weight);
    this.#weight += weight;
    return { type: "requested", id, method, payload, by, credit };
  }

  /** Keep no part of what will not become whole any more (CALL-10). */
  abandon(): void {
    this.pieces = null;
  }

  // ------------------------------------------------------------------ answered

  /** Queue the answer to a request of the peer. It is dropped if it is too late (CALL-16). */
  reply(request: number, payload: Payload): void {
    if (!this.served.has(request)) return;
    if (this.#queue.overloaded) {
      this.fault(request, OVERLOADED, "too much waits for the peer to receive it"); // CALL-45
      return;
    }
    const weight = weightOf(payload);
    this.#queue.put([REPLY, request, payload], HEADER + weight, weight);
    this.#answered(request);
  }

  /** Queue why there is no answer, cut to what may be sent. If it is too late, drop it. */
  fault(request: number, code: string, message: string, payload: Payload = NOTHING): void {
    if (!this.served.has(request)) return;
    code = clipped(code, LONGEST_NAME);
    message = clipped(message, LONGEST_WORDS);
    const weight = weightOf(payload);
    const size = HEADER + utf8Length(code) + utf8Length(message) + weight;
    this.#queue.put([FAULT, request, code, message, payload], size, weight);
    this.#answered(request);
  }

  #answered(request: number): void {
    this.#weight -= this.served.get(request)!;
    this.served.delete(request);
  }

  /**
   * Queue an item of a stream, and return its weight; if it is too late, drop it. The driver keeps
   * to the credit.
   */
  item(request: number, payload: Payload): number {
    const weight = weightOf(payload);
    if (this.served.has(request)) {
      this.#queue.put([ITEM, request, payload], HEADER + weight, weight);
    }
    return weight;
  }

  // ------------------------------------------------------------------ a crash

  /**
   * Return what must survive a crash (CALL-12).
   *
   * @param finishing Whether Finish is queued; if nothing is owed, it may go before the next one.
   */
  snapshot(finishing: boolean) {
    return {
      received: this.received,
      pieces: this.pieces?.data ?? NOTHING,
      served: [...this.served.keys()],
      finished: this.#queue.finished || (finishing && !this.served.size),
    };
  }

  /** Go on after a crash. The handlers died with it: the peer is told (CALL-40). */
  restore(values: ReturnType<IncomingCalls["snapshot"]>): void {
    this.received = values.received;
    if (values.pieces.length) {
      this.pieces = new Pieces(this.#config.maxMessage);
      this.pieces.add(values.pieces);
    }
    for (const request of values.served) {
      this.served.set(request, 0);
      this.fault(request, "cancelled", "the page or process was restarted");
    }
  }
}
