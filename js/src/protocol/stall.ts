/** How long a side waits for the rest of what comes in slices (PART-15, CALL-46). */

import { OVERSLEPT } from "./deadline.js";

/** Bytes of a transfer that have to come within `config.partTimeout`, or its end. */
const STEP = 64 * 1024;

/** The time within which a transfer on one link has to move. */
export class StallTimer {
  /** When the transfer has stood still for too long. */
  by = Infinity;
  #left = 0; // bytes that have to come by then
  readonly #timeout: number;

  constructor(timeout: number) {
    this.#timeout = timeout;
  }

  /** Note a slice that is not the end; whether the time begins anew. */
  arrived(size: number, now: number): boolean {
    this.#left -= size;
    if (this.#left > 0) return false;
    this.#left = STEP;
    this.by = now + this.#timeout;
    return true;
  }

  /** Whether the transfer stands still. The deadline moves. */
  expired(now: number): boolean {
    const late = now - this.by;
    if (late > OVERSLEPT) {
      this.by = now + this.#timeout / 2; // we were not running: do not blame the peer (LIVE-4)
      return false;
    }
    return late >= 0;
  }
}
