/**
 * Requests that we make, and the streams that we read (CALL-6 to CALL-10).
 *
 * A request's number is its id. It stays open until the peer has answered, also where nobody waits
 * for the answer any more: its place at the peer is taken until then. What bounds requests is the
 * number of open ones; what bounds the items of streams is a credit of their own (CALL-7).
 */

import { NumbersExhausted, violation } from "../errors.js";
import {
  CANCEL,
  type Entry,
  type Limits,
  LONGEST_NAME,
  type Payload,
  REQUEST,
  VOID,
} from "../frames.js";
import { weightOf } from "../payload.js";
import { utf8Length } from "../utf8.js";
import { Streams } from "./flow.js";
import {
  type CallQueue,
  LAST_REQUEST,
  type RequestEntry,
  REQUESTS_WINDOW,
  SMALL_ENTRY,
} from "./queue.js";

/** Most bytes of a Request besides its method's name and its payload. */
const REQUEST_HEADER = 32;

/** The open requests of one session, from the side that asks. */
export class OutgoingCalls {
  /** Most requests that we may have open there; 0: the peer takes no calls. */
  limit = 0;
  /** Bytes of open requests from which on no other one may be opened (CALL-44). */
  maxWeight = 0;
  /** Whether the peer takes no more calls: what it has not acked, it never got (CALL-37). */
  peerStopped = false;
  /** Requests without a final answer -> the weight of their parameters. */
  readonly open = new Map<number, number>();

  #weight = 0; // of these
  #abandoned = false;
  readonly #givenUp = new Set<number>(); // those for whose answers nobody waits any more
  readonly #never = new Set<number>(); // taken back by us, not by `cancel`
  readonly #streams = new Streams();
  readonly #queue: CallQueue;

  constructor(queue: CallQueue) {
    this.#queue = queue;
  }

  /** Whether another request may be opened (CALL-6, CALL-44). */
  get hasRoom(): boolean {
    const room = this.open.size < this.limit && this.#weight < this.maxWeight;
    return room && !this.#queue.finished && !this.peerStopped;
  }

  /** Keep to what the peer takes (LIMIT-2). */
  heed([, windowBytes, , maxMessage, maxRequests]: Limits): void {
    this.limit = maxRequests;
    this.maxWeight = REQUESTS_WINDOW * windowBytes;
    this.#queue.maxThere = maxMessage;
  }

  // ------------------------------------------------------------------ asked

  /**
   * Queue a request and return its number. Call it only while `hasRoom`.
   *
   * @throws MessageTooLarge The payload is larger than the peer's `maxMessage` (CALL-25).
   * @throws NumbersExhausted The session has made as many calls as there are numbers for.
   * @throws RangeError The name is too long, or is no text.
   */
  request(method: string, payload: Payload, by: number | null, credit: number): number {
    if (this.#queue.last >= LAST_REQUEST) throw new NumbersExhausted("numbers of calls");
    const length = utf8Length(method);
    if (length > LONGEST_NAME || !method.isWellFormed()) {
      throw new RangeError(`a method is named by text of at most ${LONGEST_NAME} bytes`);
    }
    const weight = weightOf(payload);
    const entry: Entry = [REQUEST, method, null, credit, payload];
    const number = this.#queue.put(entry, REQUEST_HEADER + length + weight, weight, by);
    this.open.set(number, weight);
    this.#weight += weight;
    if (credit) this.#streams.begin(number, credit);
    return number;
  }

  /** Allow the peer so many bytes of items in all (CALL-7). */
  grant(request: number, total: number): void {
    this.#streams.grant(request, total);
    this.#sendCredits();
  }

  #sendCredits(): void {
    this.#streams.send((credit) => this.#queue.put(credit, SMALL_ENTRY));
  }

  /** Wait no more. `true`: it was taken back before it went, and is never run (CALL-8). */
  cancel(request: number): boolean {
    if (this.#never.delete(request)) return true;
    if (!this.open.has(request) || this.#givenUp.has(request)) return false;
    if (request > this.#queue.transmitted) {
      this.#takeBack(request);
      return true;
    }
    this.#givenUp.add(request); // its place is free when the peer has answered (CALL-30)
    this.#queue.put([CANCEL, request], SMALL_ENTRY);
    return false;
  }

  /** Wait for no answer any more: none can come, or nobody could take it (CALL-10, CALL-38). */
  abandon(): void {
    this.#abandoned = true;
    for (const request of [...this.open.keys()]) {
      if (this.cancel(request)) this.#never.add(request); // CALL-35
    }
  }

  /**
   * Whether the peer got this request; `null` if nobody can say (CALL-39). Not for one that was
   * cancelled: what is known of it then is what `cancel` returned.
   */
  wasTaken(request: number): boolean | null {
    if (this.#never.has(request) || request > this.#queue.transmitted) return false;
    return request <= this.#queue.acked || null;
  }

  #takeBack(request: number): void {
    this.#queue.takeBack(request);
    this.#close(request);
  }

  /** Forget a request; whether somebody waits for it. */
  #close(request: number): boolean {
    this.#streams.end(request);
    const weight = this.open.get(request);
    if (weight === undefined) return false;
    this.open.delete(request);
    this.#weight -= weight;
    return !this.#givenUp.delete(request);
  }

  // ------------------------------------------------------------------ sent, and received there

  /**
   * Return a request as it is sent now, for the first time or because it got lost.
   *
   * Time goes on while it waits to be sent: what is left of it travels, and what has run out is
   * never run (CALL-9).
   */
  refresh(number: number, entry: RequestEntry, by: number | null, now: number): Entry {
    const isWaitedFor = !this.#givenUp.has(number);
    if (!isWaitedFor || (by !== null && now >= by)) {
      // Nobody waits: it need not be run (CALL-31). Somebody may ask what became of it.
      if (isWaitedFor || this.#abandoned) this.#never.add(number);
      this.#takeBack(number);
      return [VOID];
    }
    if (by === null) return entry;
    const [type, method, , credit, payload] = entry;
    return [type, method, Math.floor(by - now), credit, payload];
  }

  /** Forget what the peer has received (CALL-3); whether it is more than before. */
  ack(received: number): boolean {
    if (received <= this.#queue.acked || this.peerStopped) return false;
    this.#queue.release(received);
    this.#streams.release(received);
    this.#sendCredits();
    return true;
  }

  // ------------------------------------------------------------------ answered

  /** See that the peer can have received this request (CALL-19). */
  #check(request: number, sent: number): void {
    if (request > sent) {
      throw violation("an answer to what was never asked");
    }
  }

  /**
   * Close a request; whether somebody waits. Late answers are no mistake (CALL-32).
   *
   * @param sent The highest number of ours that the peer can have received.
   */
  answered(request: number, sent: number): boolean {
    this.#check(request, sent);
    this.ack(request); // an answer says that the request was received (CALL-18)
    return this.#close(request);
  }

  /** Count an item. Return whether a caller waits for it. */
  itemArrived(request: number, weight: number, sent: number): boolean {
    this.#check(request, sent);
    if (!this.open.has(request)) return false;
    if (!this.#streams.count(request, weight)) {
      throw violation("more items than the credit"); // CALL-28
    }
    return !this.#givenUp.has(request);
  }

  // ------------------------------------------------------------------ the end

  /**
   * Note that the peer takes nothing more: what it has not received, it never will (CALL-37).
   * Answers may still come to what it has.
   */
  stop(): void {
    if (this.peerStopped) return;
    for (const request of [...this.open.keys()]) {
      if (request > this.#queue.acked) {
        this.#takeBack(request);
        this.#never.add(request);
      }
    }
    this.peerStopped = true;
    this.#queue.eased ||= this.#queue.crowded;
    this.#forget();
  }

  /** Note that nothing will be sent any more: the session is over. */
  end(): void {
    this.#queue.finished = true;
    this.#forget();
  }

  #forget(): void {
    this.#queue.clear();
    this.#streams.stop();
  }

  // ------------------------------------------------------------------ a crash

  /** Return what must survive a crash: each open request, and whether somebody waits (CALL-12). */
  snapshot() {
    return {
      limit: this.limit,
      maxWeight: this.maxWeight,
      open: [...this.open.keys()],
      givenUp: [...this.#givenUp],
      room: this.#streams.room(),
    };
  }

  /** Go on after a crash. The callers died with it: the peer is told (CALL-40). */
  restore(values: ReturnType<OutgoingCalls["snapshot"]>): void {
    this.limit = values.limit;
    this.maxWeight = values.maxWeight;
    for (const [request, room] of values.room) this.#streams.begin(request, room);
    for (const request of values.open) this.open.set(request, 0);
    for (const request of values.givenUp) this.#givenUp.add(request);
    for (const request of values.open) this.cancel(request);
  }
}
