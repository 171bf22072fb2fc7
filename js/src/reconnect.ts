/**
 * When the next WebSocket is opened, or that none is. Pure: time and chance come in as values.
 *
 * Full jitter: each pause is a random part of a limit, and the limit grows with every attempt that
 * fails. It spreads pages that lost their server at the same moment over the whole limit.
 */

/** How long to wait between attempts to reconnect. Times are milliseconds. */
export interface Backoff {
  /** Limit of the first pause. Default: 200, or `longest` if that is less. */
  readonly initial: number;
  /** The limit grows by this factor from attempt to attempt. Default: 2. */
  readonly factor: number;
  /** The limit grows no further than this. Default: 5000. */
  readonly longest: number;
  /** A WebSocket that lasted for so long was good, whatever it carried. Default: 1000. */
  readonly stable: number;
}

export const DEFAULT_BACKOFF: Backoff = { initial: 200, factor: 2, longest: 5000, stable: 1000 };

/** The most milliseconds that a pause is made longer because the server asked for it. */
const LONGEST_ASKED = 30_000;

/**
 * The part of the time that a session has left which one pause may take. So the last attempts fall
 * inside that time, whatever the back-off has grown to.
 */
const SHARE = 1 / 4;

/** A pause is not made shorter than this because the session is nearly over. */
const SHORTEST_PAUSE = 200;

/** How often an attempt may be turned away (HTTP 401, 403, 407, a redirect) until that is final. */
const MOST_REFUSALS = 5;

/** How long a WebSocket may be connecting: at first, and at most (`opening`). */
const CONNECTING = 10_000;
const LONGEST_CONNECTING = 65_000;

/** So many openings may fail in a row before the server is asked first (`asksFirst`). */
const FREE_OPENINGS = 2;

/**
 * How long after an opening the next one goes without asking: at first, and at most. Firefox
 * forgets failures after 60 s and its present delay, which is below 5 s with these figures.
 */
const UNASKED = 10_000;
const LONGEST_UNASKED = 90_000;

/** What is read off a session. */
export interface Progress {
  /** How many links were opened after the first, and whether the first was. */
  readonly resumes: number;
  readonly welcomed: boolean;
  /** How far both sides have come; what is only sent again moves none of the numbers. */
  readonly progress: readonly number[];
  /** When this side, and when the peer gives the session up that has no link. */
  readonly deadline: number;
  readonly peerDeadline: number;
  readonly closing: boolean;
}

export class Reconnect {
  #backoff: Backoff;
  #session: Progress;
  #attempt = 0; // failed attempts, and WebSockets that were not good, in a row
  #refusals = 0;
  #due = 0;
  // When the newest WebSocket began, and where the session stood then.
  #since = 0;
  #welcomes = 0;
  #progress: readonly number[];
  #connecting = CONNECTING;
  // How many WebSockets in a row have not opened; when the next one goes without asking first, and
  // whether the newest one has; whether asking is of any use.
  #openings = 0;
  #unasked = 0;
  #isUnasked = false;
  #isUseful = true;

  constructor(session: Progress, backoff: Partial<Backoff> = {}) {
    const all = { ...DEFAULT_BACKOFF, ...backoff };
    all.initial = backoff.initial ?? Math.min(all.initial, all.longest);
    const { initial, factor, longest, stable } = all;
    if (!(initial >= 0 && factor >= 1 && longest >= initial && stable >= 0)) {
      throw new RangeError("backoff: 0 <= initial <= longest, factor >= 1, stable >= 0");
    }
    this.#session = session;
    this.#backoff = all;
    this.#progress = session.progress;
  }

  /**
   * How long the next WebSocket may be connecting. Firefox sits out a delay of its own there, of up
   * to 60 s, so the time doubles with each attempt that ran out of it.
   */
  get connecting(): number {
    return this.#connecting;
  }

  /**
   * Begin an attempt; return whether to ask first, by HTTP, whether the server is there. This is for
   * Firefox, which holds each opening back for half as long again after one that failed: so few may
   * fail. Not every server answers, and not every page may ask. So now and then an opening goes
   * without it, and where that one succeeds, nothing is asked any more.
   */
  asksFirst(now: number): boolean {
    const asks = this.#isUseful && this.#openings >= FREE_OPENINGS;
    this.#isUnasked = asks && now >= this.#unasked;
    return asks && now < this.#unasked;
  }

  /** A WebSocket is being opened. */
  opening(now: number): void {
    this.#openings += 1;
    const pause = UNASKED * 2 ** (this.#openings - FREE_OPENINGS);
    this.#unasked = now + Math.min(pause, LONGEST_UNASKED);
  }

  /** A WebSocket is open from now on; it has not greeted yet. */
  opened(now: number): void {
    this.#openings = 0;
    if (this.#isUnasked) this.#isUseful = false;
    this.#since = now;
    this.#welcomes = this.#count();
    this.#progress = this.#session.progress;
    this.#connecting = CONNECTING;
  }

  /** Plan an attempt after the end of a WebSocket. After a good one, pauses begin anew. */
  lost(now: number, chance: number, retryAfter: number): void {
    if (this.#count() !== this.#welcomes) {
      this.#refusals = 0;
      const moved = this.#session.progress.some((value, i) => value > (this.#progress[i] ?? 0));
      if (moved || now - this.#since >= this.#backoff.stable) this.#attempt = 0;
    }
    this.#plan(now, chance, retryAfter);
  }

  /**
   * Plan an attempt after one that did not open. Return whether there is to be one: not after the
   * fifth time that the server turned this client away.
   *
   * @param status the HTTP status of the answer, where the runtime tells it
   */
  failed(now: number, chance: number, status = 0, timedOut = false): boolean {
    if (timedOut) this.#connecting = Math.min(2 * this.#connecting, LONGEST_CONNECTING);
    const refused = [401, 403, 407].includes(status) || (status >= 300 && status < 400);
    if (refused) this.#refusals += 1;
    this.#plan(now, chance, 0);
    return this.#refusals < MOST_REFUSALS;
  }

  /** Let the next attempt begin at once, and pauses begin anew. */
  hasten(): void {
    this.#due = 0;
    this.#attempt = 0;
  }

  /** When the next attempt begins. A close cuts a long pause short, so ask again after it. */
  due(now: number): number {
    if (this.#session.closing) {
      this.#due = Math.min(this.#due, now + Math.max(this.#left(now) * SHARE, SHORTEST_PAUSE));
    }
    return this.#due;
  }

  #count(): number {
    return this.#session.resumes + Number(this.#session.welcomed);
  }

  #plan(now: number, chance: number, retryAfter: number): void {
    const { initial, factor, longest } = this.#backoff;
    const left = this.#left(now);
    // Wait as long as the server asks, if the session lives on for long enough. Those who were asked
    // to come later do not come together.
    const most = Math.min(Math.max(longest, LONGEST_ASKED), left / 2);
    const asked = retryAfter <= most ? retryAfter : (most * (1 + chance)) / 2;
    // Bound the limit and not the pause: what is random stays so.
    const grown = Math.min(longest, initial * factor ** Math.min(this.#attempt, 64));
    this.#due = now + asked + chance * Math.min(grown, Math.max(left * SHARE, SHORTEST_PAUSE));
    this.#attempt += 1;
  }

  /**
   * How long until the first of both sides gives the session up. The peer's end is not final for
   * us: while it remembers the session, it tells the outcomes. So then only our own counts.
   */
  #left(now: number): number {
    const ours = this.#session.deadline - now;
    const theirs = this.#session.peerDeadline - now;
    return Math.max(0, theirs > 0 ? Math.min(ours, theirs) : ours);
  }
}
