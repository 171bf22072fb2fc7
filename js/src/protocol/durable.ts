/**
 * What of one session is kept by a store, and what is not yet (protocol.md, section 17).
 *
 * Theory of operation. A store is slow, and works in the background. So the session goes on, and
 * what is not kept is not *said*: each ledger has a position up to which it is kept, and a link
 * looks at these positions only (`outbox.stored`, `inbox.storedConfirmed`, `callQueue.stored`,
 * `incomingCalls.stored`). A greeting, a Stop and a last frame say more than a position. They are
 * held until everything is kept that was so when they were held.
 *
 * `takeChange` returns what changed since the last change that was kept. There is one change at a
 * time: while the store works on it, the next one grows. `kept` moves the positions. `unkept` takes
 * back what had no room. What a store gives back after a crash is made into a session by
 * snapshot.ts.
 */

import type { IncomingCalls } from "./calls/incoming.js";
import type { OutgoingCalls } from "./calls/outgoing.js";
import type { CallQueue } from "./calls/queue.js";
import type { CallEvent } from "./events.js";
import type { Finish, Limits, Range } from "./frames.js";
import type { Inbox } from "./inbox.js";
import type { Link } from "./link.js";
import type { Outbox } from "./outbox.js";
import type { Ending } from "./report.js";
import type { Change, Run } from "./stored.js";

/**
 * Milliseconds after which it is kept that the peer has confirmed messages. To lose that costs
 * nothing but a few acks; so it waits for another change (STORE-5).
 */
const LAZY = 1000;

/** Milliseconds between two attempts to keep something in a store that is full. */
const RETRY = 1000;

/** What the session itself knows, besides its ledgers. */
export interface Identity {
  id: Uint8Array;
  key: Uint8Array;
  incarnation: number;
  attempt: number;
  /** When the peer was heard last, in milliseconds since 1970. */
  contact: number;
  /** Whether a link is open: then the peer is in contact for as long as this side lives. */
  attached: boolean;
  /** Whether `close()` was called. */
  closing: boolean;
  ended: Ending | null;
}

/** What a session consists of. */
export interface Ledgers {
  outbox: Outbox;
  inbox: Inbox;
  callQueue: CallQueue;
  incomingCalls: IncomingCalls;
  outgoingCalls: OutgoingCalls;
}

/** What was so when a change was taken. */
interface Mark {
  /** Of what has no position. */
  version: number;
  /** Highest number of ours that was accepted, Finish included. */
  sent: number;
  confirmed: number;
  stopped: boolean;
  /** Highest number of our entries of calls, and of the peer's. */
  calls: number;
  received: number;
  ended: boolean;
  /** All of that, and more that makes another change necessary when it differs. */
  all: string;
}

const NOTHING: Mark = {
  version: 0,
  sent: 0,
  confirmed: 0,
  stopped: false,
  calls: 0,
  received: 0,
  ended: false,
  all: "",
};

/** Keeps one session in a store: says what changed, and learns what is kept. */
export class Durable {
  /** Whether the store had no room for the last change: nothing is accepted until it has. */
  isFull = false;
  /** Whether the store is not given anything more. */
  closed = false;
  /** When a session that has ended waits no longer for its end to be kept. */
  giveUpAt = Infinity;

  readonly #ledgers: Ledgers;
  #entries: number; // highest number of our entries of calls that the store has
  #change: Change | null = null; // that the store works on
  #mark = NOTHING; // what was so when it was taken
  #keptMark = NOTHING;
  #version = 1; // of what has no position: it is kept when `#keptMark` has it
  #lazyBy = Infinity; // when what the peer has confirmed is kept at the latest
  #retryBy = Infinity; // when a change that had no room is tried again
  #held: Link | null = null;
  #waiting: { upto: number; event: CallEvent }[] = []; // for so many of the peer's entries

  /** Begin with what the ledgers have: a new session, or one that a store had kept. */
  constructor(ledgers: Ledgers) {
    this.#ledgers = ledgers;
    const { outbox, inbox, callQueue, incomingCalls } = ledgers;
    // Messages and entries of a new session are not kept, nor is what a crash has added.
    outbox.stored = outbox.transmitted;
    inbox.storedConfirmed = inbox.confirmed;
    inbox.isStopKept = inbox.stopped;
    callQueue.stored = this.#entries = callQueue.transmitted;
    callQueue.takenBack = Infinity;
    incomingCalls.stored = incomingCalls.received;
  }

  // ------------------------------------------------------------------ what waits for the store

  /** Let this link say nothing until everything that is so now is kept (STORE-1, STORE-4). */
  hold(link: Link): void {
    this.#version++;
    if (this.closed) return;
    if (this.#held) this.#held.held = false;
    link.held = true;
    this.#held = link;
  }

  #release(): void {
    if (this.#held) this.#held.held = false;
    this.#held = null;
  }

  /**
   * Keep back what would begin or change work for the peer: it waits until its request is kept
   * (CALL-12). Return the other events.
   */
  defer(events: CallEvent[]): CallEvent[] {
    const upto = this.#ledgers.incomingCalls.received;
    const isDeferred = ({ type }: CallEvent) =>
      type === "requested" || type === "cancelled" || type === "granted";
    for (const event of events) if (isDeferred(event)) this.#waiting.push({ upto, event });
    return events.filter((event) => !isDeferred(event));
  }

  /** Note that the peer has confirmed messages: it is kept with the next change, or later. */
  confirmedThere(now: number): void {
    this.#lazyBy = Math.min(this.#lazyBy, now + LAZY);
  }

  /** When to call `tick`. */
  get deadline(): number {
    return this.closed ? Infinity : Math.min(this.#lazyBy, this.#retryBy, this.giveUpAt);
  }

  /** Have a change made that nothing else has made necessary, when it is time. */
  tick(now: number): void {
    if (now >= this.#lazyBy) {
      this.#lazyBy = Infinity;
      this.#version++;
    }
    if (now >= this.#retryBy) {
      this.#retryBy = Infinity;
      this.#version++; // there may be nothing to keep any more: see whether there is room
    }
  }

  // ------------------------------------------------------------------ what changed

  /** Return what is so now. */
  #look({ incarnation, attached, ended }: Identity, takenBack: number): Mark {
    const { outbox, inbox, callQueue, incomingCalls } = this.#ledgers;
    const mark = {
      version: this.#version,
      sent: outbox.last,
      confirmed: inbox.confirmed,
      stopped: inbox.stopped,
      calls: callQueue.last,
      received: incomingCalls.received,
      ended: !!ended,
    };
    const others = [incarnation, attached, !!outbox.final, inbox.outOfOrder, takenBack];
    return { ...mark, all: [...Object.values(mark), ...others].join() };
  }

  /** Return what is to be kept now; `null`: nothing, or the store works on a change. */
  takeChange(identity: Identity, until: number): Change | null {
    if (this.#change || this.closed || this.#retryBy < Infinity) return null;
    const { outbox, inbox, callQueue } = this.#ledgers;
    if (this.#look(identity, callQueue.takenBack).all === this.#keptMark.all) return null;
    let messages: Run | null = null;
    if (outbox.messages > outbox.stored) {
      const [first, last] = [outbox.stored + 1, outbox.messages];
      messages = { first, last, data: outbox.packed(first, last).slice() };
    }
    let entries: Run | null = null;
    const data = callQueue.packed(this.#entries + 1);
    if (data) entries = { first: this.#entries + 1, last: callQueue.last, data };
    callQueue.takenBack = Infinity; // the facts say which requests are open
    this.#mark = this.#look(identity, Infinity);
    this.#lazyBy = Infinity;
    return (this.#change = {
      session: identity.id,
      facts: {
        ...gatherFacts(identity, this.#ledgers),
        ahead: inbox.stopped ? [] : inbox.counters()[4],
      },
      messages,
      confirmed: Math.min(outbox.confirmed, outbox.messages),
      entries,
      received: callQueue.acked,
      until: identity.ended ? until : null,
    });
  }

  // ------------------------------------------------------------------ what became of it

  /** Whether everything is kept that is so now. */
  isKept(identity: Identity): boolean {
    const { takenBack } = this.#ledgers.callQueue;
    const isSame = () => this.#look(identity, takenBack).all === this.#keptMark.all;
    return this.closed || (!this.#change && isSame());
  }

  /** The change that was taken is kept: what was so then may be said. Return what follows. */
  kept(): CallEvent[] {
    const mark = (this.#keptMark = this.#mark);
    this.#change = null;
    const { outbox, inbox, callQueue, incomingCalls } = this.#ledgers;
    outbox.stored = mark.sent;
    inbox.storedConfirmed = Math.max(inbox.storedConfirmed, mark.confirmed);
    inbox.isStopKept ||= mark.stopped;
    this.#entries = mark.calls;
    callQueue.stored = Math.min(mark.calls, callQueue.takenBack);
    incomingCalls.stored = mark.received;
    this.isFull = false;
    if (mark.ended) {
      outbox.kept = 0; // the end is kept: nobody goes on
      this.giveUpAt = Infinity;
    }
    if (mark.version === this.#version) this.#release();
    const waiting = this.#waiting;
    this.#waiting = waiting.filter(({ upto }) => upto > mark.received);
    return waiting.filter(({ upto }) => upto <= mark.received).map(({ event }) => event);
  }

  /**
   * There was no room for the change. All messages that are not kept are taken back (STORE-7). The
   * rest is tried again later. Until then nothing is accepted.
   */
  unkept(now: number): void {
    this.#change = null;
    this.isFull = true;
    this.#retryBy = now + RETRY;
    this.#ledgers.outbox.withdraw(this.#ledgers.outbox.stored);
  }

  /** Note that the session has ended: until that is kept, another page could go on. */
  end(): void {
    const { outbox } = this.#ledgers;
    outbox.kept = Math.min(outbox.stored, outbox.messages);
  }

  /** Give the store nothing more: another page or process goes on. */
  close(): void {
    this.end();
    const { outbox } = this.#ledgers;
    outbox.doubtful = this.#change?.messages?.last ?? outbox.kept;
    this.closed = true;
    this.#held?.dropLastFrame();
    this.#release();
  }

  /**
   * Give the store nothing more, and go on without it: it has failed. Everything may be said from
   * now on. Return what has waited for the store.
   */
  forsake(): CallEvent[] {
    const { outbox, inbox, callQueue, incomingCalls } = this.#ledgers;
    outbox.stored = inbox.storedConfirmed = Infinity;
    callQueue.stored = callQueue.takenBack = incomingCalls.stored = Infinity;
    inbox.isStopKept = true;
    outbox.kept = 0;
    this.#release();
    return this.#waiting.map(({ event }) => event);
  }
}

/**
 * Return what must survive a crash, but for messages and entries of calls (RESUME-7, CALL-12).
 *
 * Of the peer's direction only what the application has confirmed: the rest comes again, unless we
 * have stopped.
 */
export function gatherFacts(identity: Identity, ledgers: Ledgers) {
  const { outbox, inbox, callQueue, incomingCalls, outgoingCalls } = ledgers;
  const { finish } = inbox;
  return {
    ...identity,
    ended: identity.ended && { ...identity.ended },
    peer: [...outbox.peer] as Limits,
    sent: outbox.confirmed,
    finish: outbox.finish && ([...outbox.finish] as Finish),
    settled: outbox.final,
    confirmed: inbox.confirmed,
    peerFinish: finish && inbox.confirmed >= finish[1] ? finish : null, // else it comes again
    stopped: inbox.stopped ? inbox.counters() : null,
    calls: {
      maxThere: callQueue.maxThere,
      acked: callQueue.acked,
      last: callQueue.last,
      ...incomingCalls.snapshot(!!outbox.finish),
      ...outgoingCalls.snapshot(),
    },
  };
}

/** What `facts` of a store are. */
export type StoredFacts = ReturnType<typeof gatherFacts> & { ahead: Range[] };
