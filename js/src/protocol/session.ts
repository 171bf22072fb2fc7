/**
 * One session: what outlives the WebSockets that carry it. The front door of the protocol core.
 *
 * There is no clock, no chance and no I/O in it. You pass the time and the bytes that arrived. You
 * get the bytes to send, and events: what happened. Times are milliseconds of any clock that does not
 * go backwards. A step of a driver is always the same, whatever began it:
 *
 * 1. Call a verb. If it returns events, dispatch them. If `session.due` is set afterwards, dispatch
 *    what `poll` returns.
 * 2. With a store: give it what `takeChange` returns, before and behind step 3.
 * 3. Call `link.transmit` of the newest link, and of a link that has just ended, and write what it
 *    returns. Stop at `null`, or when the transport has no room; then go on when it has room again.
 * 4. If `link.closeAction` is set, close that WebSocket.
 * 5. Read `session.deadline`, and call `tick` at that time. A late tick does no harm.
 *
 * Only mistakes of the caller throw. A mistake of the peer is an event, the end of the session.
 */

import type { Config } from "./config.js";
import type { ConnectionClosed } from "./errors.js";
import type { Event } from "./events.js";
import type { Payload } from "./frames.js";
import type { Link } from "./link.js";
import type { PayloadCodec } from "./payload.js";
import type { Ending, Outcome, Report } from "./report.js";
import type { Change, Plain } from "./stored.js";

export interface SessionOptions {
  /** 16 random bytes, once per session (HELLO-2). */
  id: Uint8Array;
  /** 32 random bytes, once per session, independent of `id`. It is a secret: never log it. */
  key: Uint8Array;
  /** The time. */
  now: number;
  /** What `configure` returned. Default: the defaults. */
  config?: Readonly<Config>;
  /** Default: one that packs nothing but `null` and `undefined`. */
  codec?: PayloadCodec;
}

const notYet = (): never => {
  throw new Error("not yet");
};

export class Session {
  readonly id: Uint8Array;
  readonly config: Readonly<Config>;
  readonly codec: PayloadCodec;

  /** The newest link, as long as it is not over. Every other link of this session is over. */
  link: Link | null = null;

  /** How the session ended; `null` while it lives. Set once, and then `link` is `null`. */
  ended: Ending | null = null;

  /** How many links were opened after the first. */
  resumes = 0;

  /**
   * Why no WebSocket could be opened since the last one that carried the session, in words. The driver
   * says so. It is said with an end that comes for want of one (END-4).
   */
  obstacle: { words: string; cause: unknown } | null = null;

  /** Whether it came from a store and has not met its peer since. */
  restored = false;

  constructor(_options: SessionOptions) {
    this.id = this.config = this.codec = notYet();
  }

  // ------------------------------------------------------------------ facts

  /** Whether a link is open. */
  get attached(): boolean {
    return notYet();
  }

  /** Whether `close` was called. */
  get closing(): boolean {
    return notYet();
  }

  /** Whether the first Welcome has come. */
  get welcomed(): boolean {
    return notYet();
  }

  /** Whether both directions have come to their end, so that the report is final (CLOSE-6). */
  get done(): boolean {
    return notYet();
  }

  /** Whether a verb has left conclusions to be drawn: then `poll` is to be called. */
  get due(): boolean {
    return notYet();
  }

  /** With no message to be taken: whether none will come any more. */
  get exhausted(): boolean {
    return notYet();
  }

  /** With what the peer has finished, as soon as it has told; `null` if it has not. */
  get peerFinished(): { code: number; reason: string } | null {
    return notYet();
  }

  /**
   * How far both sides have come, with messages and calls; compare number by number. What is only
   * sent again moves none of them. (A WebSocket that moved one of them was good.)
   */
  get progress(): readonly number[] {
    return notYet();
  }

  /** When the peer gives up a session without a link, as far as this side knows (END-4). */
  get peerDeadline(): number {
    return notYet();
  }

  /** How many messages can be taken. */
  get available(): number {
    return notYet();
  }

  /** How many messages were accepted: the number of the newest one. */
  get sent(): number {
    return notYet();
  }

  /** Everything up to this number is confirmed by the peer's application. */
  get confirmedUpto(): number {
    return notYet();
  }

  /** Everything up to this number is kept by the store; without a store: 0. */
  get storedUpto(): number {
    return notYet();
  }

  /** Whether the outbox has room for a message of so many bytes (weight: see `Session.sent`). */
  hasRoom(_bytes?: number): boolean {
    return notYet();
  }

  /** The number of the message that was handed over last. */
  get handedUpto(): number {
    return notYet();
  }

  /** Up to this number, what is handed over may have been handed over before (RESUME-7). */
  get redeliveredUpto(): number {
    return notYet();
  }

  /** Return what is known of one message of ours (CLOSE-4). */
  outcome(_number: number): Outcome {
    return notYet();
  }

  /** Return what is known of every message, or of those from `first` to `last`. */
  report(_first?: number, _last?: number): Report {
    return notYet();
  }

  /** Return the error that says how the session ended, or this half of it. */
  error(): ConnectionClosed {
    return notYet();
  }

  // ------------------------------------------------------------------ messages

  /**
   * Accept one message and return its number. If it throws, nothing has changed.
   *
   * @throws NotSerializable The payload codec cannot pack this value.
   * @throws MessageTooLarge The message is larger than the peer's `maxMessage`.
   * @throws OutboxFull The outbox has no room.
   * @throws StoreFull The store has no room.
   * @throws NumbersExhausted No number is left.
   * @throws ConnectionClosed The session, or this direction of it, has ended.
   */
  send(_message: unknown): number {
    return notYet();
  }

  /** Ask to be told at once when this number is confirmed (ACK-5). */
  want(_number: number): void {
    notYet();
  }

  /** Hand over the next message and confirm it; `undefined` if there is none. */
  take(): Payload | undefined {
    return notYet();
  }

  /** Hand over the next message without confirming it; `undefined` if there is none. */
  deliver(): { number: number; payload: Payload } | undefined {
    return notYet();
  }

  /**
   * Confirm a delivery. Return `false` if it was confirmed before.
   *
   * @throws ConfirmTooLate The session's counters are final.
   * @throws RangeError This message was never handed over.
   */
  confirm(_number: number): boolean {
    return notYet();
  }

  // ------------------------------------------------------------------ calls

  /** Whether another request may be opened (CALL-6, CALL-44). A "replied" or "faulted" event, and
   * the acks behind them, make room. */
  get hasRequestRoom(): boolean {
    return notYet();
  }

  /**
   * Whether so much waits to be received there that items of streams, and new handlers, wait until
   * the event "eased" (CALL-29, CALL-45).
   */
  get crowded(): boolean {
    return notYet();
  }

  /**
   * Ask the peer, and return the request's number. Call it only while `hasRequestRoom`.
   *
   * @param _params Whatever the codec packs, a string or bytes.
   * @param _by The time when nobody waits any more, or `null`.
   * @param _credit How many bytes of items may come, or 0 for one reply.
   * @throws NotSerializable The codec cannot pack the parameters.
   * @throws MessageTooLarge They are larger than the peer's `maxMessage`.
   * @throws NumbersExhausted No number is left.
   * @throws RangeError The name is too long, or is no text.
   */
  request(_method: string, _params: unknown, _by: number | null = null, _credit = 0): number {
    return notYet();
  }

  /** Wait no more. `true`: it was taken back before it went, and never runs (CALL-8). */
  cancel(_request: number): boolean {
    return notYet();
  }

  /**
   * Whether the peer got this request; `null` if nobody can say (CALL-39). Not for one that was
   * cancelled: what is known of it then is what `cancel` returned.
   */
  wasTaken(_request: number): boolean | null {
    return notYet();
  }

  /** Allow the peer so many bytes of items of a stream in all (CALL-7). Items weigh `weightOf`. */
  grant(_request: number, _total: number): void {
    notYet();
  }

  /**
   * Answer a request of the peer. An answer that comes too late is dropped.
   *
   * @throws NotSerializable The codec cannot pack the value.
   * @throws MessageTooLarge It is larger than the peer's `maxMessage`.
   */
  reply(_request: number, _value: unknown): void {
    notYet();
  }

  /**
   * Say why there is no answer. What comes too late is dropped. Without `data` the fault is the
   * protocol's own (CALL-11); an application's has data, at least `null`.
   *
   * @throws NotSerializable The codec cannot pack the data.
   * @throws MessageTooLarge They are larger than the peer's `maxMessage`.
   */
  fault(_request: number, _code: string, _message: string, _data?: unknown): void {
    notYet();
  }

  /**
   * Send an item of a stream, and return its weight. The driver keeps to the peer's credit: an item
   * goes while the weight of those before it is below the credit.
   *
   * @throws NotSerializable The codec cannot pack the value.
   * @throws MessageTooLarge It is larger than the peer's `maxMessage`.
   */
  item(_request: number, _value: unknown): number {
    return notYet();
  }

  // ------------------------------------------------------------------ the end, from this side

  /**
   * Send nothing after what was sent; go on receiving (CLOSE-1). A second call has no effect.
   *
   * @throws RangeError The code is not from 1000 to 4999.
   */
  finish(_now: number, _code = 1000, _reason = ""): Event[] {
    return notYet();
  }

  /**
   * Finish, and take nothing more (CLOSE-2). A later call can only shorten the limit.
   *
   * The session ends after `timeout` milliseconds, after `config.closeTimeout` in which nothing
   * arrived at the peer, or after `config.closeProgressTimeout` without progress.
   *
   * @throws RangeError The code is not from 1000 to 4999.
   */
  close(_now: number, _code = 1000, _reason = "", _timeout = Infinity): Event[] {
    return notYet();
  }

  /**
   * End at once. The peer is told if a link is open.
   *
   * @throws RangeError The code is not from 1000 to 4999.
   */
  abort(_now: number, _reason = "", _code = 4499): Event[] {
    return notYet();
  }

  /** End at once, in a way that the driver knows (END-1). `cause`: the error that made it so. */
  end(_now: number, _ending: Ending, _cause?: unknown): Event[] {
    return notYet();
  }

  // ------------------------------------------------------------------ links, the network, time

  /**
   * Begin a link on a new WebSocket. An older link becomes inert.
   *
   * @param _maxFrame The largest WebSocket message that the transport takes, if it is known.
   */
  dial(_now: number, _maxFrame = Infinity): Link {
    return notYet();
  }

  /** Take in one WebSocket message of a link; return what happened. A string is a text message. */
  receive(_link: Link, _data: Uint8Array | string, _now: number): Event[] {
    return notYet();
  }

  /**
   * Take in that the WebSocket under a link is gone. `code`: what its close frame said, or `null`
   * where there was none (1005, 1006). It may forbid another WebSocket (CODE-2).
   */
  lost(_link: Link, _code: number | null, _reason: string, _now: number): Event[] {
    return notYet();
  }

  /** When to call `tick` at the latest; `Infinity`: never. */
  get deadline(): number {
    return notYet();
  }

  /** Do what is due; every deadline that has passed moves. */
  tick(_now: number): Event[] {
    return notYet();
  }

  /** Draw the conclusions from the facts; return what happened since the last call. */
  poll(_now: number): Event[] {
    return notYet();
  }

  // ------------------------------------------------------------------ a store

  /**
   * Say nothing from now on that a store has not kept (protocol.md, section 17). Call it before the
   * first link. `about` is kept beside.
   */
  keepInStore(_about: Plain): void {
    notYet();
  }

  /**
   * Return what the store is to keep now; `null`: nothing, or it works on a change. Say what became
   * of it: `kept`, `unkept` or `leave`.
   *
   * @param _wall The time in milliseconds since 1970.
   */
  takeChange(_now: number, _wall: number): Change | null {
    return notYet();
  }

  /** Whether the store has everything that is so now; always, without a store. */
  get isKept(): boolean {
    return notYet();
  }

  /** The store has kept the change that was taken. */
  kept(_now: number): Event[] {
    return notYet();
  }

  /** The store has no room for the change that was taken (STORE-7). It is asked again each second. */
  unkept(_now: number): Event[] {
    return notYet();
  }

  /**
   * Give the store nothing more, and go on in memory: the store has failed. What was kept by it may
   * be told from now on, and everything else as well (as without a store).
   */
  forsakeStore(_now: number): Event[] {
    return notYet();
  }

  /**
   * Be done with a session that goes on in another page or process, from what the store has. The peer
   * is told that this side restarts (STORE-9). Messages that the store has are *kept*.
   */
  leave(_now: number, _reason: string, _cause?: unknown): Event[] {
    return notYet();
  }
}
