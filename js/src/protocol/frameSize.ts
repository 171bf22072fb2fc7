/** How large a WebSocket message we send may be: what the peer takes, and what gets through. */

import { MIN_FRAME } from "./config.js";

/**
 * Bytes of a WebSocket message that are kept for everything but one message's content: for an Ack,
 * a CallAck, a Stop without ranges, a Want, a Finish with the longest reason, and the headers of
 * Calls and Messages (FRAME-7).
 */
export const HEADROOM = 256;

/**
 * A quarter of this, a sixteenth, … is sent in one frame on links that die at once. Once one has
 * died so, no larger frame is sent in the session: the path may be too slow for it within the idle
 * time.
 */
const PROBE_FRAME = 256 * 1024;

export class FrameSize {
  /** Largest one that we send: less than the limit on links that die before it is through. */
  size: number;
  /** How many links in a row died with nothing through; 0: none. */
  probe = 0;
  #limit: number; // what the peer takes: what it says, or less after a 1009
  #met = ""; // what the peer held at the last greeting
  #isWary = false; // whether a link has died with nothing through

  constructor(limit: number) {
    this.#limit = this.size = limit;
  }

  /**
   * Note a greeting: what the peer takes, what it holds, whether we have more for it. Send smaller
   * frames when link after link dies with nothing through (RESUME-8), and none of more than
   * `PROBE_FRAME` from then on (RESUME-12).
   */
  met(limit: number, received: number, partial: number, more: boolean): void {
    this.#limit = Math.min(this.#limit, limit); // LIMIT-5
    const held = `${received} ${partial}`;
    const again = held === this.#met && more;
    this.#met = held;
    this.#set(again ? this.probe + 1 : 0);
  }

  /** Note that something got through. */
  passed(): void {
    this.#set(0);
  }

  /** The peer's transport refused a frame (PART-6); `false` if there is no smaller (PART-14). */
  halve(): boolean {
    this.#limit = Math.floor(this.#limit / 2);
    this.#met = ""; // known why: no reason to be smaller, too
    return this.#limit >= MIN_FRAME;
  }

  #set(probe: number): void {
    this.probe = probe;
    this.#isWary ||= probe > 0;
    const most = Math.max(MIN_FRAME, PROBE_FRAME / 4 ** probe);
    this.size = this.#isWary ? Math.min(this.#limit, most) : this.#limit;
  }
}
