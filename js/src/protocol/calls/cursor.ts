/** How far one link has come through the calls, both ways. */

import type { Config } from "../config.js";
import { HEADROOM } from "../frameSize.js";
import { CALL_ACK, CALLS, type Entry } from "../frames.js";
import { StallTimer } from "../stall.js";
import type { Pieces } from "./fragments.js";
import type { IncomingCalls } from "./incoming.js";
import type { OutgoingCalls } from "./outgoing.js";
import type { CallQueue } from "./queue.js";

/**
 * Most entries of one frame. Six elements each, and the messages of a run, leave 256 of the
 * elements of an envelope for the other frames in it (FRAME-16).
 */
const MAX_ENTRIES = 640;

/** Entries that are acked at once, so that the peer can forget them (CALL-17). */
const ACK_AT_ONCE = 256;

/** A position in the calls: dropped with its link. */
export class CallCursor {
  /** Number of the next entry to transmit. */
  number = 1;
  /** The last ack of calls on this link, or what the greeting said. */
  told: number;
  /** Whether an ack goes at once. */
  now = false;
  /** When an ack that could not ride is sent. */
  by = Infinity;
  /** By when a call of the peer's in pieces has to move on (CALL-46), while one is waited for. */
  stall: StallTimer | null = null;

  #unfinished: Pieces | null = null; // the call that this is about
  #held = 0; // bytes of it

  constructor(
    readonly queue: CallQueue,
    readonly outgoing: OutgoingCalls,
    readonly incoming: IncomingCalls,
    readonly config: Config,
  ) {
    this.told = incoming.tellable;
  }

  /** Whether an entry may go: with a store, one that is kept (STORE-2). */
  get hasRun(): boolean {
    return this.number <= this.queue.last && this.number <= this.queue.stored;
  }

  /** Whether an entry has to go before our Finish (CALL-10). */
  get owesAnswers(): boolean {
    return this.number <= this.queue.last || this.incoming.served.size > 0;
  }

  /** Start at what the peer has received (CALL-22); the greeting has told what we have. */
  begin(peerReceived: number, now: number): void {
    this.number = peerReceived + 1;
    this.told = this.incoming.tellable;
    this.piecesMoved(now);
  }

  /** Calls have arrived: ack them soon, or at once if they are many. */
  note(now: number): void {
    this.piecesMoved(now);
    if (this.incoming.tellable - this.told >= ACK_AT_ONCE) this.now = true;
    else this.by = Math.min(this.by, now + this.config.ackDelay);
  }

  /** Note how much is here of an entry that has not arrived whole (CALL-46). */
  piecesMoved(now: number): void {
    const { pieces } = this.incoming;
    const held = pieces ? pieces.size : 0;
    if (!pieces) this.stall = null;
    else if (!this.stall || pieces !== this.#unfinished) {
      this.stall = new StallTimer(this.config.partTimeout); // it is another one
      this.stall.arrived(0, now);
    } else if (this.stall.arrived(held - this.#held, now)) pieces.stoodStill = false;
    this.#unfinished = pieces;
    this.#held = held;
  }

  /**
   * Whether a call in pieces stands still: for the second time in a row, or not; `null`: none does.
   * The deadline moves.
   */
  stalled(now: number): boolean | null {
    const { pieces } = this.incoming;
    if (!pieces) this.stall = null; // intake was frozen (CALL-10)
    if (!pieces || !this.stall?.expired(now)) return null;
    const again = pieces.stoodStill;
    pieces.stoodStill = true;
    return again;
  }

  /** Do what is due. */
  tick(now: number): void {
    if (now >= this.by) {
      this.by = Infinity;
      this.now = true;
    }
  }

  /** Return the next run, at most half a frame if that is possible, and its bytes. */
  cut(frameLimit: number, now: number): { frame: unknown[]; entries: Entry[]; used: number } {
    const { number, queue, config } = this;
    const room = Math.floor(Math.min(config.batchBytes, frameLimit - HEADROOM) / 2);
    const { entries, used } = queue.run(number, MAX_ENTRIES, room, (request, entry, by) =>
      this.outgoing.refresh(request, entry, by, now),
    );
    this.number += entries.length;
    return { frame: [CALLS, number, entries], entries, used };
  }

  /** Return the ack that goes now: more has arrived than was told (CALL-17). */
  take(): unknown[] {
    this.told = this.incoming.tellable;
    this.now = false;
    this.by = Infinity;
    return [CALL_ACK, this.told];
  }
}
