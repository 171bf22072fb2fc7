/** The application's end of a session. It survives the WebSockets that carry it. */

import type { Driver, Take } from "./driver.js";
import { deliveryError, StoreFull } from "./errors.js";
import type { PageTarget } from "./page.js";
import type { Packed, Payload } from "./protocol/frames.js";
import { openPayload } from "./protocol/payload.js";
import type { Outcome, Report } from "./protocol/report.js";
import type { RequestOptions } from "./requests.js";
import type { Status } from "./status.js";

/** Where a connection stands. */
export type State = "connecting" | "open" | "peer finished" | "detached" | "closing" | "closed";

/** How to end. */
export interface CloseOptions {
  /** What the peer is told: 1000, 1001, 1011, or a code of your own from 3000 to 3999. */
  code?: number;
  /** At most 123 bytes. */
  reason?: string;
  /** Milliseconds for all of it. Default: as long as there is progress (`config.closeTimeout`). */
  timeout?: number;
}

/**
 * What `send` returns. It is not a promise itself: `await conn.send(…)` does not wait for the peer.
 * You need not look at it: `close()` and `report` cover every message.
 */
export class Receipt {
  #driver: Driver;
  #number: number;
  #seen: number; // how often the store was full before
  #confirmed: Promise<void> | undefined;
  #stored: Promise<void> | undefined;

  /** @internal */
  constructor(driver: Driver, number: number) {
    this.#driver = driver;
    this.#number = number;
    this.#seen = driver.withdrawals.length;
  }

  /** The message's number; -1 for one that the store had no room for: it was taken back. */
  get number(): number {
    const upto = Math.min(...this.#driver.withdrawals.slice(this.#seen));
    return this.#number > upto ? -1 : this.#number;
  }

  /** What is known now. */
  get outcome(): Outcome {
    return this.number < 0 ? "not taken" : this.#driver.session.outcome(this.#number);
  }

  /**
   * Resolved when the peer's application has taken the message. Rejected with `NotTaken` where it
   * never will (send it again), `OutcomeUnknown` where the session ended and nobody can say, `Kept`
   * where the next page sends it, `StoreFull` where it was taken back.
   */
  get confirmed(): Promise<void> {
    return (this.#confirmed ??= this.#wait());
  }

  /**
   * Resolved when the store has the message: from then on neither a reload nor a crash of the page
   * loses it. Rejected with `StoreFull` where there is no room. Without a store it throws.
   */
  get stored(): Promise<void> {
    return (this.#stored ??= this.#driver.untilStored(this.#checked()));
  }

  // Not async: so the caller goes on before the flush that is due behind a confirmation, and what
  // it sends then goes with that.
  #wait(): Promise<void> {
    const driver = this.#driver;
    const number = this.number;
    if (this.outcome === "pending") {
      driver.session.want(number);
      driver.wake();
      return driver.confirmations.wait(number);
    }
    const error = number < 0 ? new StoreFull() : driver.undelivered(number);
    return error ? Promise.reject(error) : Promise.resolve();
  }

  #checked(): number {
    if (this.number < 0) throw new StoreFull();
    return this.#number;
  }
}

/** A message that you confirm when your work is done. */
export class Delivery {
  #driver: Driver;
  #payload: Payload;

  /** @internal */
  constructor(
    driver: Driver,
    /** Its sequence number. */
    readonly number: number,
    payload: Payload,
    /** Whether it may have been delivered before, to an earlier page that died. */
    readonly redelivered: boolean,
  ) {
    this.#driver = driver;
    this.#payload = payload;
  }

  /**
   * The message: a string, bytes, or what the codec makes of it.
   *
   * @throws PayloadError The codec cannot unpack it.
   */
  get value(): any {
    return openPayload(this.#payload, this.number, this.#driver.session.codec);
  }

  /** The message if it is text, else `undefined`. */
  get text(): string | undefined {
    return typeof this.#payload === "string" ? this.#payload : undefined;
  }

  /** The bytes of a message that is no text, as they travel; else `undefined`. */
  get bytes(): Uint8Array | undefined {
    if (typeof this.#payload === "string") return undefined;
    return (this.#payload as Packed).data ?? this.#payload;
  }

  /** Names this message for ever: the session's id and the number. The same after a reload. */
  get key(): string {
    return `${hex(this.#driver.session.id)}:${this.number}`;
  }

  /**
   * Confirm the message. A second call has no effect. Deliveries may be confirmed in any order.
   *
   * @throws ConfirmTooLate The session has ended, and its counters are final.
   */
  confirm(): void {
    this.#driver.session.confirm(this.number);
    this.#driver.wake();
  }
}

/**
 * One session with a server; `connect` makes it.
 *
 * Messages arrive in the order in which they were sent, each once. The session goes on while
 * WebSockets break and are replaced.
 */
export class Connection implements AsyncIterable<any> {
  #driver: Driver;
  #takeNext: Take<any>;

  /** @internal */
  constructor(driver: Driver) {
    this.#driver = driver;
    const { session } = driver;
    this.#takeNext = () => {
      const payload = session.take();
      if (payload === undefined) return undefined;
      const number = session.handedUpto;
      try {
        return { done: false, value: openPayload(payload, number, session.codec) };
      } catch (error) {
        driver.log(`message ${number} is left out`, error); // it counts as taken (MSG-4)
        return undefined;
      }
    };
  }

  // ------------------------------------------------------------------ facts

  /** The session's id, in hexadecimal digits. It is public, and the same at both ends. */
  get id(): string {
    return hex(this.#driver.session.id);
  }

  /** Where the connection stands. */
  get state(): State {
    const { session } = this.#driver;
    if (session.ended) return "closed";
    if (session.closing) return "closing";
    if (session.attached) return session.peerFinished ? "peer finished" : "open";
    return session.welcomed ? "detached" : "connecting";
  }

  /** For an honest mark of what is saved: `subscribe(listener)` and `value`. */
  get status(): Status {
    return this.#driver.status;
  }

  /** What is known of every message that was sent. */
  get report(): Report {
    return this.#driver.session.report();
  }

  /** Resolved with the final report when the session has ended. It is never rejected. */
  get ended(): Promise<Report> {
    return this.#driver.ended;
  }

  /** With what the peer has finished: it sends nothing more. `null` if it has not. */
  get peerFinished(): { code: number; reason: string } | null {
    return this.#driver.session.peerFinished;
  }

  // ------------------------------------------------------------------ messages

  /**
   * Accept one message, and return its receipt at once. Strings and bytes arrive as they are; other
   * values need a codec. Every accepted message is confirmed, or named in the report.
   *
   * @throws OutboxFull There is no room: `await conn.room()`. Nothing was accepted.
   * @throws NotSerializable The value cannot be packed. Nothing was accepted.
   * @throws MessageTooLarge It is above the server's `max_message`. Nothing was accepted.
   * @throws StoreFull The store had no room before, and has not told of any since.
   * @throws ConnectionClosed The session, or this direction of it, has ended.
   */
  send(message: unknown): Receipt {
    const driver = this.#driver;
    const number = driver.session.send(message);
    driver.queued((message as { length?: number } | null)?.length ?? 64);
    return new Receipt(driver, number);
  }

  /**
   * Wait until a message of so many bytes would be accepted.
   *
   * @throws ConnectionClosed The session, or this direction of it, has ended.
   */
  room(bytes = 0): Promise<void> {
    const { isOpen, session } = this.#driver;
    return isOpen && session.hasRoom(bytes) ? THERE_IS_ROOM : this.#untilRoom(bytes);
  }

  async #untilRoom(bytes: number): Promise<void> {
    const driver = this.#driver;
    for (;;) {
      if (!driver.isOpen) throw driver.session.error();
      if (driver.session.hasRoom(bytes)) return;
      await driver.change();
    }
  }

  /**
   * Return the next message. Taking it confirms it. Where `signal` ends the wait, none was taken.
   *
   * @throws ConnectionClosed No message can come any more.
   */
  async recv({ signal }: { signal?: AbortSignal } = {}): Promise<any> {
    const { done, value } = await this.#driver.receive(this.#takeNext, signal);
    if (done) throw this.#driver.session.error();
    return value;
  }

  /**
   * Iterate over the messages until the server has finished. Each is confirmed when you get it. The
   * iteration ends without an error when the server finishes with 1000 or 1001, and when this side
   * closes. Leaving the loop closes nothing: another loop goes on where it was. A message that the
   * codec cannot unpack is left out, and logged.
   *
   * @throws ConnectionClosed The session ended in any other way.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<any> {
    return iterator(() => this.#driver.receive(this.#takeNext));
  }

  /**
   * Iterate over messages that you confirm when your work is done: `delivery.confirm()`. Those that
   * are not confirmed fill the server's window, which stops it from sending.
   *
   * @throws ConnectionClosed The session ended, but not with code 1000 or 1001.
   */
  deliveries(): AsyncIterableIterator<Delivery> {
    const driver = this.#driver;
    const { session } = driver;
    const take: Take<Delivery> = () => {
      const next = session.deliver();
      if (!next) return undefined;
      const { number, payload } = next;
      const redelivered = number <= session.redeliveredUpto;
      return { done: false, value: new Delivery(driver, number, payload, redelivered) };
    };
    return iterator(() => driver.receive(take));
  }

  // ------------------------------------------------------------------ calls

  /**
   * Let the server run its method of this name, and return the result. It is run at most once in
   * the session, also where the network fails in between. An array of `params` becomes positional
   * arguments there, `null` none.
   *
   * @throws RemoteError The method answered with an error; `code` says which.
   * @throws RequestTimeout There was no answer in time.
   * @throws NotTaken It never reached the server's application. You can repeat it.
   * @throws OutcomeUnknown The session ended before the answer came.
   * @throws ConnectionClosed The session, or this direction of it, has ended.
   */
  request(method: string, params: unknown = null, options: RequestOptions = {}): Promise<any> {
    return this.#driver.requests.request(method, params, options);
  }

  /**
   * Let the server run a generator method, and iterate over its items. The server is ahead of you
   * by at most 256 KiB of items. Leaving the loop stops it. Errors are those of `request`.
   */
  stream(
    method: string,
    params: unknown = null,
    options: RequestOptions = {},
  ): AsyncGenerator<any, void, void> {
    return this.#driver.requests.stream(method, params, options);
  }

  // ------------------------------------------------------------------ the network, the page

  /** Begin the next attempt to open a WebSocket at once. Pages do so by themselves when online. */
  reconnectNow(): void {
    this.#driver.reconnectNow();
  }

  /**
   * Have the browser ask the user before the page is left, but only while something would be lost:
   * a message that neither the server's application nor the store has. Returns a function that ends
   * it. Without a page it does nothing.
   */
  guardUnload(): () => void {
    const { status, ended } = this.#driver;
    const page: PageTarget = globalThis as any;
    const ask = (event: Event) => event.preventDefault();
    const look = () => {
      // A listener that stands costs the back/forward cache.
      if (status.value.unstored) page.addEventListener?.("beforeunload", ask);
      else page.removeEventListener?.("beforeunload", ask);
    };
    const unsubscribe = status.subscribe(look);
    const end = () => {
      unsubscribe();
      page.removeEventListener?.("beforeunload", ask);
    };
    look();
    void ended.then(end);
    return end;
  }

  // ------------------------------------------------------------------ the end

  /** Send nothing after what was sent, and go on receiving (a half-close). Returns at once. */
  finish({ code = 1000, reason = "" }: Omit<CloseOptions, "timeout"> = {}): void {
    this.#driver.finish(code, reason);
  }

  /**
   * Close, and return the report when the server's application has taken every message. From the
   * call on, this side takes no more messages. Handlers that run may end first: they have three
   * quarters of the time. A second call joins the first.
   *
   * @throws NotTaken, OutcomeUnknown Some messages will never be confirmed: `error.report`.
   */
  async close({ code = 1000, reason = "", timeout = Infinity }: CloseOptions = {}) {
    const report = await this.#driver.close(code, reason, timeout);
    if (report.confirmed < report.sent) throw deliveryError(report);
    return report;
  }

  /** End the session at once, and wait for nothing. `report` says what is known. */
  abort({ code = 4499, reason = "" }: Omit<CloseOptions, "timeout"> = {}): void {
    this.#driver.abort(code, reason);
  }

  /**
   * Leave the session to the next page that opens its store. Messages that are not confirmed are
   * *kept*. A page that is left does so by itself.
   *
   * @throws TypeError The session has no store.
   */
  keep(): void {
    this.#driver.keep();
  }

  /** `await using conn = await connect(…)`: as `close()`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** A loop that sends asks for each message: it gets the same promise nearly every time. */
const THERE_IS_ROOM = Promise.resolve();

function iterator<T>(next: () => Promise<IteratorResult<T>>): AsyncIterableIterator<T> {
  return {
    next,
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

