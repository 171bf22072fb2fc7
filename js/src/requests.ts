/** Requests to the peer: each ends in an answer, or in an error that says what is known. */

import { ReliableWSError, RemoteError, RequestTimeout, requestError } from "./errors.js";
import type { CallEvent } from "./protocol/events.js";
import type { Payload } from "./protocol/frames.js";
import { openPayload, weightOf } from "./protocol/payload.js";
import type { Session } from "./protocol/session.js";
import { onAbort } from "./waiters.js";

/** Bytes of items of one stream that may be on their way or unread. */
const STREAM_CREDIT = 256 * 1024;

/** Options of one request. */
export interface RequestOptions {
  /** Milliseconds for the whole call. Default: as long as the session lives. */
  timeout?: number;
  /** Aborting it ends the call: the request is taken back, or its handler is told. */
  signal?: AbortSignal;
}

/** What the requests need of their driver. */
export interface RequestsHost {
  readonly session: Session;
  now(): number;
  /** Have what was queued sent. */
  wake(): void;
  /** Whether this side may still ask: neither side has come to the end of it. */
  readonly isOpen: boolean;
}

/** One request of ours that has no answer yet. */
class Pending {
  /** 0 while it waits for room. */
  number = 0;
  items: Payload[] = [];
  answer: { payload: Payload } | undefined;
  error: unknown;
  /** Let the caller look. */
  wake = () => {};

  constructor(
    readonly method: string,
    readonly params: unknown,
    readonly credit: number,
    readonly by: number | null,
  ) {}

  get isOver(): boolean {
    return this.answer !== undefined || this.error !== undefined;
  }

  fail(error: unknown): void {
    this.error ??= error;
    this.wake();
  }
}

export class Requests {
  #host: RequestsHost;
  #open = new Map<number, Pending>();
  #waiting: Pending[] = []; // for the peer to have room, first come first served

  constructor(host: RequestsHost) {
    this.#host = host;
  }

  /** Ask, and return the answer. */
  async request(method: string, params: unknown, options: RequestOptions): Promise<unknown> {
    const [pending, end] = this.#begin(method, params, 0, options);
    try {
      while (!pending.isOver) await new Promise<void>((resolve) => (pending.wake = resolve));
      return this.#result(pending);
    } finally {
      end();
    }
  }

  /** Ask for a stream, and yield its items. */
  async *stream(
    method: string,
    params: unknown,
    options: RequestOptions,
  ): AsyncGenerator<unknown, void, void> {
    const [pending, end] = this.#begin(method, params, STREAM_CREDIT, options);
    const { session } = this.#host;
    let taken = 0;
    let granted = 0;
    try {
      for (;;) {
        for (let item; (item = pending.items.shift()) !== undefined; ) {
          taken += weightOf(item);
          if (taken - granted >= STREAM_CREDIT / 2) {
            granted = taken;
            session.grant(pending.number, taken + STREAM_CREDIT);
            this.#host.wake();
          }
          yield openPayload(item, pending.number, session.codec);
        }
        if (pending.isOver) return void this.#result(pending);
        await new Promise<void>((resolve) => (pending.wake = resolve));
      }
    } finally {
      end();
    }
  }

  /** Queue a request; the function ends it, whatever has become of it. */
  #begin(
    method: string,
    params: unknown,
    credit: number,
    { timeout = Infinity, signal }: RequestOptions,
  ): [Pending, () => void] {
    signal?.throwIfAborted();
    const by = timeout === Infinity ? null : this.#host.now() + timeout;
    const pending = new Pending(method, params, credit, by);
    this.#check(pending);
    this.#waiting.push(pending);
    this.admit();
    if (pending.error) throw pending.error; // it cannot be sent: nothing was queued
    const timer =
      by === null
        ? undefined
        : setTimeout(() => pending.fail(this.#timedOut(pending)), Math.min(timeout, 2 ** 31 - 1));
    const listenNoMore = onAbort(signal, () => pending.fail(signal!.reason));
    return [
      pending,
      () => {
        clearTimeout(timer);
        listenNoMore();
        this.#drop(pending);
        this.admit();
      },
    ];
  }

  /** Open as many that wait as the peer has room for. */
  admit(): void {
    const { session } = this.#host;
    while (this.#waiting.length && session.hasRequestRoom) {
      const pending = this.#waiting.shift()!;
      const { method, params, by, credit } = pending;
      try {
        pending.number = session.request(method, params, by, credit);
      } catch (error) {
        pending.fail(error);
        continue;
      }
      this.#open.set(pending.number, pending);
      this.#host.wake();
    }
  }

  /** Wait no more; return whether the request was taken back before it went. */
  #drop(pending: Pending): boolean {
    this.#waiting = this.#waiting.filter((one) => one !== pending);
    if (!this.#open.delete(pending.number)) return false;
    this.#host.wake();
    return this.#host.session.cancel(pending.number);
  }

  #timedOut(pending: Pending): RequestTimeout {
    const taken = pending.number ? this.#host.session.wasTaken(pending.number) : false;
    return new RequestTimeout(pending.method, this.#drop(pending) ? false : taken);
  }

  /** Throw where no answer can come any more (CALL-38). */
  #check({ method, params }: Pending): void {
    const { session } = this.#host;
    if (session.ended || session.closing) throw session.error();
    if (!this.#host.isOpen || session.exhausted) {
      throw requestError(0, { method, params }, false, session.ended);
    }
  }

  #result({ number, answer, error }: Pending): unknown {
    if (!answer) throw error;
    return openPayload(answer.payload, number, this.#host.session.codec);
  }

  // ------------------------------------------------------------------ what the peer says

  replied(id: number, payload: Payload): void {
    const pending = this.#open.get(id);
    if (!pending) return;
    this.#open.delete(id);
    pending.answer = { payload };
    pending.wake();
  }

  item(id: number, payload: Payload): void {
    const pending = this.#open.get(id);
    pending?.items.push(payload);
    pending?.wake();
  }

  faulted({ id, code, message, payload }: Extract<CallEvent, { type: "faulted" }>): void {
    const pending = this.#open.get(id);
    if (!pending) return;
    this.#open.delete(id);
    const { method, params } = pending;
    // A handler's own error of these codes has data (CALL-11).
    const isOurs = payload instanceof Uint8Array && !payload.length;
    if (isOurs && code === "closing") {
      pending.fail(requestError(id, { method, params }, false, this.#host.session.ended));
    } else if (isOurs && code === "timeout") {
      pending.fail(new RequestTimeout(method, true));
    } else {
      pending.fail(new RemoteError(code, message, this.#data(payload, id)));
    }
  }

  #data(payload: Payload, id: number): unknown {
    if (payload instanceof Uint8Array && !payload.length) return null;
    try {
      return openPayload(payload, id, this.#host.session.codec);
    } catch (error) {
      if (error instanceof ReliableWSError) return null; // the error itself matters more
      throw error;
    }
  }

  /** Let every request fail to which no answer can come any more. */
  settle(): void {
    const { session } = this.#host;
    const isOver = session.ended || session.closing || session.exhausted;
    for (const [number, pending] of [...this.#open]) {
      // One that is not open any more, and was not answered, was taken back.
      if (!isOver && session.outgoingCalls.open.has(number)) continue;
      const taken = session.wasTaken(number);
      const { method, params } = pending;
      const takenBack = this.#drop(pending);
      pending.fail(
        requestError(number, { method, params }, takenBack ? false : taken, session.ended),
      );
    }
    for (const pending of this.#waiting.splice(0)) {
      try {
        this.#check(pending);
        this.#waiting.push(pending);
      } catch (error) {
        pending.fail(error);
      }
    }
  }
}
