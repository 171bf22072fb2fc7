/**
 * Our direction of a session: one log of messages, positions in it, and what became of each.
 *
 * Theory of operation. `confirmed <= acked <= transmitted <= last`: four positions in one log, each
 * a sequence number. *last* grows when the application sends. *transmitted* grows when a link takes
 * a message, and never falls. *acked* and *confirmed* follow the peer's acks; what is confirmed is
 * released. Losing a link moves no data: the next link starts a cursor of its own at what the peer
 * has received.
 *
 * A message costs no object: it is packed once, when it is accepted, behind the others into one
 * buffer. So to send a run, or to send it again, or to keep it in a store, is to copy a range of
 * bytes; and what the caller changes later is not sent. Two lists say where each message ends, and
 * the weight of everything up to it.
 */

import { type Config, limitsOf } from "./config.js";
import { MessageTooLarge, NumbersExhausted, OutboxFull, violation } from "./errors.js";
import {
  type Counters,
  FINISH,
  type Finish,
  KIND_BYTES,
  KIND_TEXT,
  KIND_VALUE,
  type Limits,
  MAX_NUMBER,
  OVERHEAD,
  type Payload,
} from "./frames.js";
import { Slice, unpackAll, Writer } from "./pack.js";
import { openPayload, type PayloadCodec, weightOf } from "./payload.js";
import { type Ending, type Outcome, type OutcomeRun, Report, type Undelivered } from "./report.js";
import type { Sending } from "./state.js";

export class Outbox {
  /** Highest number accepted, Finish included. It never falls, but for messages taken back. */
  last = 0;
  /** With a store: up to here everything is kept, and links take no more than that (STORE-2). */
  stored = Infinity;
  /** Once the session was left to another page: messages up to `kept` are in the store, and nobody
   * knows whether those up to `doubtful` are. */
  kept = 0;
  doubtful = 0;
  /** Highest number ever handed to a link, whole. At most `last`; it never falls. */
  transmitted = 0;
  /** The peer's `received`, as far as it told. At most `transmitted`. */
  acked = 0;
  /** The peer's `confirmed`, as far as it told. At most `acked`; it never falls. */
  confirmed = 0;
  /** Weight of everything ever accepted, and of everything confirmed. */
  total = 0;
  released = 0;
  state: Sending = "open";
  /** Our Finish, once queued. Its number is `last`, and nothing comes behind it. */
  finish: Finish | null = null;
  /** The peer's frozen counters, once they are known. */
  final: Counters | null = null;
  /** Highest number whose confirmation somebody waits for (ACK-5). */
  wanted = 0;
  /** What the peer takes; until the first greeting, a guess from ours (LIMIT-2). */
  peer: Limits;

  readonly #config: Config;
  readonly #log = new Writer(4096);
  #logBase = 0; // bytes of all messages that were dropped from the log
  #ends: number[] = []; // where each message ends, counted from the first message ever
  #weights: number[] = []; // weight of everything up to each message
  #base = 0; // number of the message before the first in these lists

  constructor(config: Config) {
    this.#config = config;
    this.peer = limitsOf(config, config.maxFrame);
  }

  /** Messages ever accepted: the numbers without Finish. */
  get messages(): number {
    return this.finish ? this.last - 1 : this.last;
  }

  /** Messages accepted and not confirmed. */
  get waiting(): number {
    return Math.max(0, this.messages - this.confirmed);
  }

  /** Whether the outcome of every message is known, by evidence (CLOSE-6). */
  get done(): boolean {
    return this.state === "finished" || this.state === "stopped";
  }

  /** Whether links may take nothing sequenced any more, calls included (CLOSE-5). */
  get blocked(): boolean {
    return this.state === "stopped" || this.state === "ended";
  }

  // ------------------------------------------------------------------ what is let in

  /** Whether a message of this weight may be accepted; a lone one always may. */
  hasRoom(weight: number): boolean {
    const waiting = this.last - this.confirmed;
    return (
      !waiting ||
      (waiting < this.#config.outboxMessages &&
        this.total - this.released + weight <= this.#config.outboxBytes)
    );
  }

  /**
   * Accept one message and return its number (NUM-1). If it throws, nothing has changed.
   *
   * @throws NotSerializable The payload codec cannot pack it.
   * @throws MessageTooLarge It is larger than the peer's `maxMessage` (PART-5).
   * @throws OutboxFull There is no room.
   * @throws NumbersExhausted No number is left (NUM-3).
   */
  accept(message: unknown, codec: PayloadCodec): number {
    const log = this.#log;
    const start = log.at;
    try {
      // Text takes a byte for each character at least: see first that it is worth the copy.
      if (typeof message === "string" || message instanceof Uint8Array) this.#check(message.length);
      const size = log.message(message, codec);
      this.#check(size);
      return this.#append(size);
    } catch (error) {
      log.at = start;
      throw error;
    }
  }

  #check(size: number): void {
    const most = this.peer[3];
    if (size > most) throw new MessageTooLarge(size, most);
    if (!this.hasRoom(size + OVERHEAD)) {
      throw new OutboxFull(this.waiting, this.total - this.released);
    }
    // The highest is left for Finish.
    if (this.last >= MAX_NUMBER - 1) throw new NumbersExhausted();
  }

  /** Count the message that was written to the log. */
  #append(size: number): number {
    this.total += size + OVERHEAD;
    this.#weights.push(this.total);
    this.#ends.push(this.#logBase + this.#log.at);
    return ++this.last;
  }

  /** Queue Finish behind the last message; it weighs nothing (CLOSE-1). Again: no effect. */
  close(code: number, reason: string): void {
    if (this.state !== "open") return;
    this.state = "finishing";
    this.finish = [FINISH, ++this.last, code, reason];
  }

  // ------------------------------------------------------------------ what the peer has got

  /** Release everything up to `number`, which is above `confirmed`. */
  confirm(number: number): void {
    this.confirmed = number;
    if (number === this.finish?.[1]) number--; // Finish weighs nothing
    this.released = this.weightOf(number);
    // Give back the room of what is released, when that is half of all: constant cost per byte.
    const end = this.#endOf(number);
    if ((end - this.#logBase) * 2 >= this.#log.at) {
      this.#ends.splice(0, number - this.#base);
      this.#weights.splice(0, number - this.#base);
      this.#base = number;
      this.#log.drop(end - this.#logBase, 2 * this.#config.outboxBytes);
      this.#logBase = end;
    }
  }

  /** See whether the peer has confirmed our Finish. */
  conclude(): void {
    if (this.state === "finishing" && this.confirmed === this.finish![1]) this.state = "finished";
  }

  /** Throw a `Violation` for final counters that cannot be true (CLOSE-13). */
  checkFinal([received, confirmed]: Counters): void {
    if (received > this.transmitted) {
      throw violation("counters of what was never sent");
    }
    if (confirmed < this.confirmed) {
      throw violation("final counters below an earlier ack");
    }
  }

  /** Let these decide what became of each message; `false` if the end came first. */
  settle(final: Counters): boolean {
    if (this.state === "ended") return false;
    this.conclude();
    if (this.state !== "finished") this.state = "stopped";
    this.final = final;
    return true;
  }

  /** End with the session: what is not confirmed stays unknown, or never left (END-3). */
  end(): void {
    this.conclude();
    if (!this.done) this.state = "ended";
  }

  // ------------------------------------------------------------------ what links take

  /** Weight of everything up to a number that is not below the last release. */
  weightOf(number: number): number {
    const index = number - this.#base - 1;
    return index < 0 ? this.released : (this.#weights[index] ?? this.total);
  }

  /** Where a message ends, as `#ends`; of one not below the last release. */
  #endOf(number: number): number {
    return this.#ends[number - this.#base - 1] ?? this.#logBase;
  }

  /** Return the packed messages from one number to another, which are both there. */
  packed(first: number, last: number): Uint8Array {
    return this.#log.bytes.subarray(
      this.#endOf(first - 1) - this.#logBase,
      this.#endOf(last) - this.#logBase,
    );
  }

  /** Return messages from a number on: at most `count`, up to a total weight; `null` for none. */
  run(first: number, count: number, most: number): Slice | null {
    const weights = this.#weights;
    const start = first - this.#base - 1;
    let stop = start;
    const end = Math.min(start + count, weights.length);
    while (stop < end && weights[stop]! <= most) stop++;
    if (stop === start) return null;
    return new Slice(stop - start, this.packed(first, first + (stop - start) - 1));
  }

  /** Return what parts of a message are slices of, and the kind of it (PART-2). */
  content(number: number): { content: Uint8Array; kind: number } {
    const packed = this.packed(number, number);
    const first = packed[0]!;
    const size = this.weightOf(number) - this.weightOf(number - 1) - OVERHEAD;
    const kind =
      first < 0xc0 || first >= 0xd9 ? KIND_TEXT : first < 0xc7 ? KIND_BYTES : KIND_VALUE;
    return { content: packed.subarray(packed.length - size), kind };
  }

  // ------------------------------------------------------------------ a store

  /**
   * Take back every message above a number: no link has taken one (STORE-7). A Finish behind them
   * stays queued.
   */
  withdraw(upto: number): void {
    const count = this.messages - upto;
    if (count <= 0) return;
    this.#ends.length -= count;
    this.#weights.length -= count;
    this.total = this.weightOf(upto);
    this.#log.at = this.#endOf(upto) - this.#logBase;
    this.last -= count;
    if (this.finish) this.finish[1] = this.last;
  }

  /** Begin where a store left off; everything counts as transmitted. */
  restore(confirmed: number, payloads: readonly Payload[]): void {
    this.#base = this.acked = this.confirmed = this.last = confirmed;
    for (const payload of payloads) {
      this.#log.pack(payload);
      this.#append(weightOf(payload) - OVERHEAD);
    }
    this.transmitted = this.last;
  }

  // ------------------------------------------------------------------ what became of them

  /** Return what is known of one message of ours (CLOSE-4). */
  outcome(number: number): Outcome {
    const { final } = this;
    if (number <= this.confirmed) return "confirmed";
    if (final) {
      if (final[4].some(([first, last]) => first <= number && number <= last)) return "confirmed";
      return number <= Math.min(final[2], this.transmitted) ? "unknown" : "not taken";
    }
    if (this.state !== "ended") return "pending";
    if (number <= this.kept) return "kept"; // END-3
    return number <= Math.max(this.transmitted, this.doubtful) ? "unknown" : "not taken";
  }

  /** Return what is known of the messages from one number to another. */
  report(first: number, last: number, ending: Ending | null, codec: PayloadCodec): Report {
    last = Math.min(last, this.messages);
    const from = Math.max(first, this.confirmed + 1);
    const runs = this.#runs(from, last);
    const lacking = runs.reduce((sum, run) => sum + run.last - run.first + 1, 0);
    // The messages are kept by the report from here on, whatever is confirmed later. Once nothing
    // is released any more, they need no copy.
    let packed = runs.length ? this.packed(from, last) : new Uint8Array();
    if (!this.blocked) packed = packed.slice();
    const list = () => {
      const payloads = unpackAll(packed, runs.length ? last - from + 1 : 0);
      const entries: Undelivered[] = [];
      for (const run of runs) {
        for (let number = run.first; number <= run.last; number++) {
          const payload = payloads[number - from]!;
          let message: unknown;
          try {
            message = openPayload(payload, number, codec);
          } catch (error) {
            message = (error as { raw: Uint8Array }).raw; // it cannot be decoded: show its bytes
          }
          entries.push({ number, outcome: run.outcome, message });
        }
      }
      return entries;
    };
    const sent = Math.max(0, last - first + 1);
    return new Report(sent, sent - lacking, runs, ending, list);
  }

  /** Return the messages that are not confirmed, in runs of one outcome. */
  #runs(from: number, last: number): OutcomeRun[] {
    const { final } = this;
    // Where the outcome may change.
    const starts = [from, this.transmitted + 1, this.kept + 1, this.doubtful + 1];
    if (final) {
      starts.push(final[2] + 1);
      for (const [low, high] of final[4]) starts.push(low, high + 1);
    }
    const bounds = [...new Set(starts)]
      .filter((start) => from <= start && start <= last)
      .sort((a, b) => a - b);
    return bounds
      .map((first, i) => ({
        first,
        last: (bounds[i + 1] ?? last + 1) - 1,
        outcome: this.outcome(first),
      }))
      .filter((run) => run.outcome !== "confirmed");
  }
}
