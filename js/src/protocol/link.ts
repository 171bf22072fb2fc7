/**
 * One WebSocket's share of a session: the greeting, positions, what was told, deadlines, its end.
 *
 * Theory of operation. A link is dropped, never reset: the next WebSocket gets a new link.
 * Messages, calls and outcomes belong to the session. A link has a *cursor* into our messages, one
 * into our calls, and what it has told the peer of the other direction (*acks*). So losing a link
 * moves no data and undoes nothing.
 *
 * The session receives for it, because what arrives concerns the session. The link decides what to
 * send, and when the peer has been silent for too long. A link that is over is inert, so the late
 * end of an old WebSocket has no effect (LINK-4).
 */

import type { Acks } from "./acks.js";
import type { CallCursor } from "./calls/cursor.js";
import { encode } from "./codec.js";
import { type Config, LEAST_IDLE } from "./config.js";
import type { Cursor } from "./cursor.js";
import { OVERSLEPT } from "./deadline.js";
import {
  ACK,
  CALLS,
  CALL_ACK,
  type CallPosition,
  type Counters,
  DONE,
  FINISH,
  type Limits,
  MESSAGES,
  PART,
  PARTIAL,
  REFUSE,
  STOP,
  WANT,
  WELCOME,
} from "./frames.js";
import { StallTimer } from "./stall.js";
import type { Timers } from "./timers.js";

/** How to close the WebSocket under a link that is over. */
export interface CloseAction {
  /** One of protocol.md, section 12. A page cannot say all of them: then 1000 (CLOSE-26). */
  readonly code: number;
  readonly reason: string;
}

/** Where a link stands: *initiated* is open. */
export type Phase = "dialing" | "initiated" | "over";

/** Which frames may come in each phase (LINK-2). */
export const ACCEPTED: Readonly<Record<Phase, readonly number[]>> = {
  dialing: [WELCOME, REFUSE],
  initiated: [
    MESSAGES,
    ACK,
    CALLS,
    CALL_ACK,
    WANT,
    PART,
    PARTIAL,
    FINISH,
    STOP,
    DONE,
    REFUSE,
  ],
  over: [],
};

/** What one WebSocket has of a session. Pull what it sends with `transmit`. */
export class Link {
  phase: Phase = "dialing";
  /** Whether the peer has welcomed us on this link. */
  met = false;
  /** How to close the WebSocket. Set once, exactly when the link is over. */
  closeAction: CloseAction | null = null;
  /**
   * Whether nothing may be said yet, because the store does not have what this link would say
   * (STORE-1, STORE-4). A link that is over is closed only when this is `false`.
   */
  held = false;
  /** When the peer was heard last. */
  heardAt = -Infinity;
  /** Largest WebSocket message that this side and the transport under it take. */
  readonly maxFrame: number;

  #greet: (() => unknown[]) | null; // until it was called
  #lastFrame: unknown[] | null = null;
  #stopTold = false;
  #asked = 0; // our highest Want on this link
  #wasSilent = false; // for as long as we ever are: the path has let us
  #speakEvery: number;
  #speakBy = Infinity;
  #parts: StallTimer | null = null; // by when a message in parts has to move on
  readonly #openBy: number;

  /**
   * @param greet Returns our greeting; it is called when that is sent (HELLO-4).
   * @param silenceLimit Milliseconds after which the path cuts a silent link (LIVE-8).
   */
  constructor(
    now: number,
    maxFrame: number,
    readonly config: Config,
    readonly cursor: Cursor,
    readonly acks: Acks,
    readonly calls: CallCursor,
    readonly timers: Timers,
    readonly silenceLimit: number,
    greet: (link: Link) => unknown[],
  ) {
    this.maxFrame = Math.min(config.maxFrame, maxFrame);
    this.#greet = () => greet(this);
    this.#openBy = now + config.openTimeout;
    this.#speakEvery = config.idleTimeout / 3;
  }

  // ------------------------------------------------------------------ begin and end

  /** Start at what the peer has received (RESUME-4, CALL-22). */
  opened(
    received: number,
    partial: number,
    calls: CallPosition | null,
    limits: Limits,
    now: number,
  ): void {
    if (calls) this.calls.begin(calls[0], now);
    this.cursor.number = received + 1;
    this.cursor.offset = partial;
    this.heardAt = now;
    this.#speakEvery = Math.min(Math.max(limits[5], LEAST_IDLE), this.silenceLimit) / 3; // LIVE-2
    this.#speakBy = now + this.#speakEvery;
    if (this.acks.inbox.partial) this.partArrived(0, now);
  }

  /** Note a slice of a message that is not whole yet (PART-15). */
  partArrived(size: number, now: number): void {
    this.#parts ??= new StallTimer(this.config.partTimeout);
    this.#parts.arrived(size, now);
  }

  /** Note that no message in parts is waited for. */
  partsOver(): void {
    this.#parts = null;
  }

  /** Note that the peer is being told these, in a greeting or a Stop. */
  tell(counters: Counters): void {
    this.acks.tell(counters);
    this.#stopTold = counters[3];
  }

  /** Become inert; `lastFrame` is the last thing that `transmit` gives. */
  leave(code: number, reason = "", lastFrame: unknown[] | null = null): void {
    if (this.closeAction) return;
    this.phase = "over";
    this.closeAction = { code, reason };
    this.#lastFrame = lastFrame;
  }

  /** Say no last word: it is not kept, and never will be. */
  dropLastFrame(): void {
    this.#lastFrame = null;
  }

  // ------------------------------------------------------------------ time

  /** When to call `tick`. */
  get deadline(): number {
    if (this.phase === "over") return Infinity;
    if (this.phase === "dialing") return this.#openBy;
    return Math.min(
      this.heardAt + this.config.idleTimeout,
      this.#speakBy,
      this.acks.by,
      this.calls.by,
      this.#parts?.by ?? Infinity,
      this.calls.stall?.by ?? Infinity,
    );
  }

  /** Do what is due; whether the peer has been silent for too long. All deadlines move. */
  tick(now: number): boolean {
    if (this.phase === "over") return false;
    if (this.phase === "dialing") return now >= this.#openBy; // LIVE-5
    this.acks.tick(now);
    this.calls.tick(now);
    if (now >= this.#speakBy) {
      this.acks.now = this.#wasSilent = true; // LIVE-6
      this.#speakBy = now + this.#speakEvery;
    }
    const { idleTimeout } = this.config;
    const late = now - (this.heardAt + idleTimeout);
    if (late > OVERSLEPT) {
      this.heardAt = now - (idleTimeout * 2) / 3; // we were asleep: do not blame the peer (LIVE-4)
      return false;
    }
    return late >= 0; // LIVE-3
  }

  /**
   * Take an envelope of the peer for an occasion to speak, if most of the time is over: timers of a
   * hidden page come too late, what arrives comes in time (LIVE-9).
   */
  heard(now: number): void {
    this.heardAt = now;
    if (now >= this.#speakBy - this.#speakEvery / 10) {
      this.acks.now = this.#wasSilent = true;
    }
  }

  /** Whether a message in parts stands still (PART-15). The deadline moves. */
  isStalled(now: number): boolean {
    if (!this.acks.inbox.partial) this.partsOver(); // intake may have been frozen (PART-12)
    return !!this.#parts?.expired(now);
  }

  /** Return how long we have said nothing; 0: we have been as silent before. */
  silence(now: number): number {
    return this.#wasSilent ? 0 : now - (this.#speakBy - this.#speakEvery);
  }

  // ------------------------------------------------------------------ what to send

  /**
   * Return the next WebSocket message to send, or `null` if there is none for now.
   *
   * What it returns counts as transmitted. Call it again until it gives `null`, whenever something
   * happened and the transport has room; also once a link is over, before its WebSocket is closed.
   */
  transmit(now: number): Uint8Array | null {
    if (this.held) return null;
    if (this.closeAction) {
      const last = this.#lastFrame;
      this.#lastFrame = null;
      return last && encode([last]);
    }
    if (!this.met) {
      const greet = this.#greet;
      this.#greet = null;
      return greet && encode([greet()]); // nothing before Welcome (HELLO-7)
    }
    const { acks, calls, cursor } = this;
    const { inbox } = acks;
    const { outbox } = cursor;
    const frames: unknown[][] = [];
    // 1. Stop goes before anything else (CLOSE-3). If it fills a frame, it goes alone.
    if (!inbox.stopped || this.#stopTold || this.#addStop(frames)) {
      // 2. Calls, unless messages wait for their turn. They take half a frame at most.
      let used = 0;
      if (calls.hasRun && !cursor.starved && !outbox.blocked) {
        const run = calls.cut(cursor.frameSize.size, now);
        if (run.entries.length) frames.push(run.frame);
        used = run.used;
      }
      // 3. Messages in what is left of the frame, Want, Finish.
      if (cursor.number <= outbox.last || outbox.wanted > this.#asked) {
        this.#addSequenced(frames, now, used);
      }
      if (outbox.finish && cursor.number > outbox.finish[1]) calls.queue.finished = true; // CALL-10
    }
    // 4. Acks ride in front of these. Without other frames they go when they are due. What is not
    // kept is not told. Before a Stop goes the last CallAck (CALL-37).
    if (calls.now || (frames.length && calls.told < calls.incoming.tellable)) {
      frames.unshift(calls.take());
    }
    if (acks.partialNews && (frames.length || acks.now)) {
      const partial = acks.takePartial();
      if (partial) frames.unshift(partial);
    }
    const ack = acks.take(now, frames.length > 0);
    if (ack) frames.unshift(ack);
    if (!frames.length) return null;
    this.#speakBy = now + this.#speakEvery;
    return encode(frames);
  }

  /** Add Stop. Return whether more fits into this frame (FRAME-7). */
  #addStop(frames: unknown[][]): boolean {
    const { inbox } = this.acks;
    if (!inbox.isStopKept) return false; // it goes before anything else, and not yet (STORE-4)
    const counters = inbox.counters();
    this.tell(counters);
    frames.push([STOP, counters]);
    return !counters[4].length;
  }

  /** Add the next run, part or Finish, and the Want for a number among them. */
  #addSequenced(frames: unknown[][], now: number, used: number): void {
    const { cursor } = this;
    const { outbox } = cursor;
    const { finish, wanted } = outbox;
    let last: unknown[] | null = null;
    // Hold Finish back while an answer is owed: nothing comes behind it (CALL-10).
    const isHeld = finish && this.calls.owesAnswers;
    const upto = Math.min(isHeld ? outbox.messages : outbox.last, outbox.stored);
    if (cursor.number <= upto && !outbox.blocked) {
      last = cursor.cut(used);
      if (last?.[0] === PART) this.timers.progressed(now);
    }
    // Ask for an ack of what somebody waits for, once on each link (ACK-5, ACK-9).
    if (this.#asked < wanted && wanted < cursor.number && wanted > outbox.confirmed) {
      this.#asked = wanted;
      frames.push([WANT, wanted]);
    }
    if (last) {
      frames.push(last);
      if (finish && last !== finish && cursor.number === finish[1] && finish[1] <= upto) {
        frames.push(finish); // it rides with the last message
        cursor.skipFinish();
      }
    }
  }
}
