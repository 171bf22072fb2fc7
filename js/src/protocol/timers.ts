/** How long a session waits: for contact with its peer, and for its own end. */

import type { Config } from "./config.js";
import { OVERSLEPT } from "./deadline.js";

/** Why a session without a link ends (END-4). */
export const NO_CONTACT = "no contact with the peer";

const TOO_LONG = "close() took too long";

/** The deadlines of a session that go on between two WebSockets. */
export class Timers {
  /** When the peer was heard of last, as far as links have told. */
  contactAt: number;
  /** Whether the session waits for its own end. */
  closing = false;
  #progressAt = 0; // when the peer moved on last, and when something arrived there, while closing
  #movedAt = 0;
  #detachedAt = -Infinity; // when the newest link was lost
  #hardBy = Infinity; // the limit that the caller of close() gave
  readonly #config: Config;

  constructor(config: Config, now: number) {
    this.#config = config;
    this.contactAt = now;
  }

  /** Wait for the end, within bounds; again: only shortens the limit (CLOSE-10, CLOSE-22). */
  close(now: number, timeout: number): void {
    if (!this.closing) this.#progressAt = this.#movedAt = now;
    this.closing = true;
    this.#hardBy = Math.min(this.#hardBy, now + timeout);
  }

  /** Note a contact with the peer (END-6). */
  heard(at: number): void {
    this.contactAt = Math.max(this.contactAt, at);
  }

  /** Note that no link is open from now on, and when the last one was heard. */
  detached(heardAt: number, now: number): void {
    this.heard(heardAt);
    this.#detachedAt = now;
  }

  /** Note progress of the peer: closing may go on waiting (CLOSE-21). */
  progressed(now: number): void {
    this.#progressAt = Math.max(this.#progressAt, now);
  }

  /** Note that something new has arrived at the peer: a slow transfer may go on (CLOSE-24). */
  moved(now: number): void {
    this.progressed(now);
    this.#movedAt = Math.max(this.#movedAt, now);
  }

  #contactBy(): number {
    // Not before it was known that there is no link.
    return Math.max(this.contactAt + this.#config.sessionTtl, this.#detachedAt);
  }

  /** When a close is given up that makes no progress (CLOSE-10, CLOSE-25). */
  #progressBy(silentSince: number): number {
    const { closeProgressTimeout, openTimeout } = this.#config;
    return Math.min(
      this.#progressAt + closeProgressTimeout,
      Math.max(this.#progressAt, silentSince) + openTimeout,
    );
  }

  /**
   * When to ask `expired` at the latest, with the same arguments.
   *
   * @param silentSince When the peer was heard last, if nothing of ours is left to be confirmed;
   *   else
   *   `Infinity`.
   */
  deadline(attached: boolean, silentSince: number): number {
    let by = attached ? Infinity : this.#contactBy();
    if (this.closing) {
      const closeBy = this.#movedAt + this.#config.closeTimeout;
      by = Math.min(by, this.#hardBy, closeBy, this.#progressBy(silentSince));
    }
    return by;
  }

  /** Return why to wait no longer, or `null`; every deadline that has passed moves. */
  expired(now: number, attached: boolean, silentSince: number): string | null {
    const { closeProgressTimeout, closeTimeout, openTimeout, sessionTtl } = this.#config;
    if (this.closing) {
      if (now >= Math.min(this.#hardBy, this.#movedAt + closeTimeout)) return TOO_LONG;
      const late = now - this.#progressBy(silentSince);
      if (late > OVERSLEPT) {
        // We were not running: do not blame the peer (LIVE-4).
        const isWaiting = silentSince < Infinity; // for an answer only
        const limit = Math.min(closeProgressTimeout, isWaiting ? openTimeout : Infinity);
        this.#progressAt = now - limit / 2;
      } else if (late >= 0) return "no progress while closing";
    }
    if (!attached) {
      const late = now - this.#contactBy();
      if (late > OVERSLEPT) this.contactAt = now - sessionTtl + openTimeout;
      else if (late >= 0) return NO_CONTACT; // END-4
    }
    return null;
  }
}
