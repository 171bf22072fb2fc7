/**
 * How far one link has come through the outbox, and the next frame that it cuts from there.
 *
 * Theory of operation. A cursor is two numbers: `number`, the next message to transmit on this
 * link, and `offset`, how many bytes of it went in parts. The outbox keeps the messages; the cursor
 * only reads them, so it can be dropped with its link. A new link's cursor begins behind what the
 * peer has received.
 *
 * The size of a frame is the smallest of these limits: the messages and the bytes that the peer's
 * window has room for, a quarter of that window (so that acks come while the rest is under way),
 * `batchMessages` and `batchBytes`, and the size of a frame. A message larger than a frame goes in
 * parts. A message larger than the window goes alone.
 */

import type { Config } from "./config.js";
import { type FrameSize, HEADROOM } from "./frameSize.js";
import { MESSAGES, PART } from "./frames.js";
import type { Outbox } from "./outbox.js";
import { MAX_LIST } from "./pack.js";

/** A part is never larger, so that acks and heartbeats pass between parts (PART-7). */
const LARGEST_PART = 256 * 1024;

export class Cursor {
  /** Number of the next message to transmit: at most `outbox.last + 1`. */
  number = 1;
  /** How many bytes of it went in parts. 0 between two messages. */
  offset = 0;
  /** Whether calls alone kept the next message from going: it is its turn. */
  starved = false;

  constructor(
    readonly outbox: Outbox,
    readonly frameSize: FrameSize,
    readonly config: Config,
  ) {}

  /**
   * Return what the window lets go next, and move behind it (WINDOW-1).
   *
   * @param used How many bytes of the WebSocket message calls take. No message is cut smaller for
   *   that: it waits for the next one, and so do more calls.
   */
  cut(used: number): unknown[] | null {
    this.starved = false;
    const { outbox, number } = this;
    if (number === outbox.finish?.[1]) {
      this.skipFinish();
      return outbox.finish;
    }
    const frame = this.#messages(number, this.frameSize.size - HEADROOM, used);
    outbox.transmitted = Math.max(outbox.transmitted, this.number - 1);
    return frame;
  }

  /** Move behind Finish: it goes now. It needs no room in the window (WINDOW-5). */
  skipFinish(): void {
    this.outbox.transmitted = this.number++;
  }

  /** Cut a run that fits the peer's window and the rest of the frame. */
  #messages(number: number, most: number, used: number): unknown[] | null {
    const { outbox, config } = this;
    // Apply the window: how many numbers, and how much weight, may go (WINDOW-1).
    const windowMessages = outbox.peer[0]; // a pattern would walk an iterator
    const windowBytes = outbox.peer[1];
    const room = Math.min(outbox.stored, outbox.confirmed + windowMessages) - number + 1;
    if (room <= 0) return null;
    const before = outbox.weightOf(number - 1);
    const weightRoom = outbox.released + windowBytes - before;
    if (!this.offset) {
      const quarter = Math.max(1, Math.floor(windowMessages / 4));
      const count = Math.min(room, config.batchMessages, MAX_LIST, quarter);
      const weight = Math.min(weightRoom, config.batchBytes, most - used);
      // A run of whole messages.
      const run = outbox.run(number, count, before + weight);
      if (run) {
        this.number += run.count;
        return [MESSAGES, number, run];
      }
      // Not even one fits: does the window keep it, or the rest of the batch, or the frame?
      const next = outbox.weightOf(number) - before;
      if (next > weightRoom && number > outbox.confirmed + 1) {
        return null; // a message above the window goes alone (WINDOW-3)
      }
      if (next <= most - used) {
        this.number++;
        return [MESSAGES, number, outbox.run(number, 1, Infinity)];
      }
    }
    this.starved = used > 0;
    return this.starved ? null : this.#part(number, Math.min(most, LARGEST_PART));
  }

  /** Cut the next slice of a message that is too large for one frame (PART-1). */
  #part(number: number, length: number): unknown[] {
    const { content, kind } = this.outbox.content(number);
    const { offset } = this;
    const data = content.subarray(offset, offset + length);
    this.offset += data.length;
    if (this.offset >= content.length) {
      this.number++;
      this.offset = 0;
    }
    return [PART, number, offset, content.length, kind, data];
  }
}
