/** Requests of the peer: each runs once, and each gets exactly one answer. */

import { RemoteError } from "./errors.js";
import type { CallEvent } from "./protocol/events.js";
import { LONGEST_NAME, LONGEST_WORDS } from "./protocol/frames.js";
import { openPayload } from "./protocol/payload.js";
import type { Session } from "./protocol/session.js";
import { clipped } from "./protocol/utf8.js";

/** What a handler is given besides the parameters. */
export interface HandlerContext {
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

/**
 * Answers requests of one method. `params` is what the caller gave: an array, a value, or `null`
 * for nothing. What it returns, or what its promise is resolved with, is the answer. An async
 * generator function (anything that returns an async iterable) answers `stream()`, item by item.
 * Throw a `RemoteError` to answer with an error; any other error is logged, and the caller is told
 * `internal`.
 */
export type Handler = (params: any, context: HandlerContext) => unknown;

type Requested = Extract<CallEvent, { type: "requested" }>;

/** What the handlers need of their driver. */
export interface HandlersHost {
  readonly session: Session;
  now(): number;
  /** Have what was queued sent. */
  wake(): void;
  log(words: string, error: unknown): void;
}

/** A request whose handler runs and owes an answer. */
interface Running {
  controller: AbortController;
  /** Bytes of items that the peer takes in all, and that were sent. */
  granted: number;
  sent: number;
  /** Let the handler look whether its next item may go. */
  wake: () => void;
}

export class Handlers {
  /** Called when the last handler has ended. */
  onIdle: (() => void) | undefined;
  /** Whether new requests are turned away (CALL-11). */
  closing = false;

  #host: HandlersHost;
  #methods: Readonly<Record<string, Handler>>;
  #running = new Map<number, Running>();
  #postponed: Requested[] = []; // until the peer has received more of our answers (CALL-45)
  #isStarting = false;

  constructor(host: HandlersHost, methods: Readonly<Record<string, Handler>>) {
    this.#host = host;
    this.#methods = methods;
  }

  get busy(): boolean {
    return this.#running.size > 0;
  }

  /** Run the handler of a request once there is room for its answer, or say why it is not run. */
  requested(event: Requested): void {
    this.#postponed.push(event);
    void this.#start();
  }

  /** Start handlers one by one: an answer that is given at once counts before the next starts. */
  async #start(): Promise<void> {
    if (this.#isStarting) return;
    this.#isStarting = true;
    try {
      while (this.#postponed.length && (this.closing || !this.#host.session.crowded)) {
        this.#begin(this.#postponed.shift()!);
        this.#host.wake();
        await null;
      }
    } finally {
      this.#isStarting = false;
    }
  }

  #begin(event: Requested): void {
    const { session } = this.#host;
    const { id, method, by } = event;
    const known = Object.hasOwn(this.#methods, method);
    const handler = known ? this.#methods[method] : undefined;
    if (this.closing) session.fault(id, "closing", "the connection is being closed");
    else if (!handler) session.fault(id, "method-not-found", `no method "${method.slice(0, 64)}"`);
    else if (by !== null && by <= this.#host.now()) session.fault(id, "timeout", "too late");
    else void this.#run(event, handler);
  }

  /** Nobody waits for an answer any more: tell the handler, or never begin. */
  cancelled(id: number): void {
    const before = this.#postponed.length;
    this.#postponed = this.#postponed.filter((event) => event.id !== id);
    if (this.#postponed.length < before) {
      this.#host.session.fault(id, "cancelled", "before it was run");
    }
    const running = this.#running.get(id);
    running?.controller.abort();
    running?.wake();
  }

  /** The peer takes more items of a stream. */
  granted(id: number, total: number): void {
    const running = this.#running.get(id);
    if (running) {
      running.granted = Math.max(running.granted, total);
      running.wake();
    }
  }

  /** The peer has received what waited for it: go on with streams and requests. */
  eased(): void {
    for (const running of this.#running.values()) running.wake();
    void this.#start();
  }

  /** Take no new requests. */
  turnAway(): void {
    this.closing = true;
    for (const event of this.#postponed.splice(0)) this.#begin(event);
    this.eased();
  }

  /** Expect no answer of any handler any more: tell the callers, and the handlers. */
  giveUp(words: string): void {
    this.turnAway();
    for (const [id, { controller, wake }] of [...this.#running]) {
      this.#host.session.fault(id, "cancelled", words);
      this.#running.delete(id);
      controller.abort();
      wake();
    }
  }

  async #run({ id, method, payload, by, credit }: Requested, handler: Handler): Promise<void> {
    const { session } = this.#host;
    const controller = new AbortController();
    const running: Running = { controller, granted: credit, sent: 0, wake: () => {} };
    this.#running.set(id, running);
    // When its time is up, the caller is told, and what the handler says later is not.
    const timer =
      by === null
        ? undefined
        : setTimeout(() => {
            if (!this.#running.delete(id)) return;
            session.fault(id, "timeout", "the deadline passed while it ran");
            controller.abort();
            running.wake();
            this.#host.wake();
          }, Math.min(by - this.#host.now(), 2 ** 31 - 1));
    try {
      const params = this.#open(payload, id);
      let result = await handler(params, { signal: controller.signal });
      const items = (result as AsyncIterable<unknown> | null)?.[Symbol.asyncIterator]
        ? (result as AsyncIterable<unknown>)
        : undefined;
      if (items && !credit) throw new RemoteError("invalid-params", `${method} streams: stream()`);
      if (credit) {
        for await (const item of items ?? [result]) {
          if (!(await this.#item(id, item, running))) break; // it ends the generator, too
        }
        result = null;
      }
      if (this.#running.has(id)) session.reply(id, result);
    } catch (error) {
      if (this.#running.has(id)) this.#fault(id, method, error);
    }
    clearTimeout(timer);
    this.#running.delete(id);
    this.#host.wake();
    if (!this.busy) this.onIdle?.();
  }

  #open(payload: Requested["payload"], id: number): unknown {
    try {
      return openPayload(payload, id, this.#host.session.codec);
    } catch {
      throw new RemoteError("invalid-params", "the parameters cannot be decoded");
    }
  }

  /** Send an item once there is credit left (CALL-7); `false`: nobody waits for items any more. */
  async #item(id: number, item: unknown, running: Running): Promise<boolean> {
    const { session } = this.#host;
    const isOver = () => running.controller.signal.aborted || !this.#running.has(id);
    while (!isOver() && (running.sent >= running.granted || session.crowded)) {
      await new Promise<void>((resolve) => (running.wake = resolve));
    }
    if (isOver()) return false;
    running.sent += session.item(id, item);
    this.#host.wake();
    return true;
  }

  /**
   * Answer with what a handler threw: never with the text of an error that was not meant for it.
   */
  #fault(id: number, method: string, error: unknown): void {
    const { session } = this.#host;
    if (error instanceof RemoteError) {
      const code = clipped(error.code, LONGEST_NAME) || "error";
      const text = clipped(error.text, LONGEST_WORDS);
      try {
        session.fault(id, code, text, error.data);
      } catch {
        session.fault(id, code, text, null); // its data cannot be sent
      }
      return;
    }
    this.#host.log(`the handler of "${method}" failed`, error);
    session.fault(id, "internal", "the handler failed");
  }
}
