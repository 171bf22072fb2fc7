/**
 * One session: what outlives the WebSockets that carry it. The front door of the protocol core.
 *
 * There is no clock, no chance and no I/O in it. You pass the time and the bytes that arrived. You
 * get the bytes to send, and events: what happened. Times are milliseconds of any clock that does
 * not go backwards. A step of a driver is always the same, whatever began it:
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

import { Acks } from "./acks.js";
import { CallCursor } from "./calls/cursor.js";
import { IncomingCalls } from "./calls/incoming.js";
import { OutgoingCalls } from "./calls/outgoing.js";
import { CallQueue, isBehindFinish } from "./calls/queue.js";
import { CODEC_NAME, decode } from "./codec.js";
import { type Config, DEFAULTS, limitsOf } from "./config.js";
import { Cursor } from "./cursor.js";
import { Durable, type Identity, type StoredFacts } from "./durable.js";
import {
  ConnectionClosed,
  ProtocolViolation,
  SessionLost,
  StoreFull,
  Violation,
  violation,
} from "./errors.js";
import type { Event } from "./events.js";
import { sayable } from "./fields.js";
import { FrameSize } from "./frameSize.js";
import {
  ACK,
  CALL_ACK,
  CALLS,
  CODE,
  type Counters,
  DONE,
  type Entry,
  FINISH,
  type Finish,
  type Frame,
  HELLO,
  mayResume,
  MESSAGES,
  OVERHEAD,
  PART,
  type Part,
  PARTIAL,
  type Payload,
  REFUSE,
  type Refuse,
  STOP,
  VERSION,
  WANT,
  WELCOME,
  type Welcome,
} from "./frames.js";
import { callPosition, checkCalls, checkPosition, position } from "./handshake.js";
import { IdleCuts } from "./idleCuts.js";
import { Inbox } from "./inbox.js";
import { ACCEPTED, Link } from "./link.js";
import { Outbox } from "./outbox.js";
import { NO_CODEC, type PayloadCodec, seal, weightOf } from "./payload.js";
import type { End, Ending, Outcome, Report } from "./report.js";
import type { Change } from "./stored.js";
import { NO_CONTACT, Timers } from "./timers.js";

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

/** What is called msgpack needs no telling (HELLO-18). */
const MSGPACK = "msgpack";

export class Session {
  readonly id: Uint8Array;
  readonly config: Config;
  readonly codec: PayloadCodec;

  /** The newest link, as long as it is not over. Every other link of this session is over. */
  link: Link | null = null;

  /** How the session ended; `null` while it lives. Set once, and then `link` is `null`. */
  ended: Ending | null = null;

  /** How many links were opened after the first. */
  resumes = 0;

  /**
   * Why no WebSocket could be opened since the last one that carried the session, in words. The
   * driver says so. It is said with an end that comes for want of one (END-4).
   */
  obstacle: { words: string; cause: unknown } | null = null;

  /** Whether it came from a store and has not met its peer since. */
  restored = false;

  /** The ledgers. A driver may read them; only the verbs of the session change them. */
  readonly outbox: Outbox;
  readonly inbox: Inbox;
  readonly callQueue: CallQueue;
  readonly outgoingCalls: OutgoingCalls;
  readonly incomingCalls: IncomingCalls;

  readonly #key: Uint8Array; // no public field: it is a secret, and objects end in logs (HELLO-17)
  readonly #toldCodec: string | null; // what our greetings say of the codec
  readonly #timers: Timers;
  readonly #frameSize: FrameSize;
  readonly #idleCuts = new IdleCuts(); // what cuts have taught (LIVE-8)
  #attempt = 0;
  #incarnation = 0;
  #durable: Durable | null = null; // what of it is kept by a store
  #cause: unknown; // the error that ended it, if one did
  #partialThere = [0, 0]; // the most that the peer said to have of a message in parts
  #events: Event[] = [];

  constructor({ id, key, now, config = DEFAULTS, codec = NO_CODEC }: SessionOptions) {
    if (!CODEC_NAME.test(codec.name)) {
      throw new TypeError("codec.name must be 1 to 32 visible ASCII characters");
    }
    this.id = id;
    this.#key = key;
    this.config = { ...config };
    this.codec = codec;
    this.#toldCodec = codec.name === MSGPACK ? null : codec.name;
    this.outbox = new Outbox(this.config);
    this.inbox = new Inbox(this.config);
    this.callQueue = new CallQueue(this.config);
    this.outgoingCalls = new OutgoingCalls(this.callQueue);
    this.incomingCalls = new IncomingCalls(this.config, this.callQueue, this.outgoingCalls);
    this.#frameSize = new FrameSize(this.config.maxFrame);
    this.#timers = new Timers(this.config, now);
  }

  // ------------------------------------------------------------------ facts

  /** Whether a link is open. */
  get attached(): boolean {
    return this.link?.phase === "initiated";
  }

  /** Whether `close` was called. */
  get closing(): boolean {
    return this.#timers.closing;
  }

  /** Whether the first Welcome has come. */
  get welcomed(): boolean {
    return this.#incarnation > 0;
  }

  /** Whether both directions have come to their end, so that the report is final (CLOSE-6). */
  get done(): boolean {
    return this.outbox.done && this.inbox.done;
  }

  /** Whether a verb has left conclusions to be drawn: then `poll` is to be called. */
  get due(): boolean {
    return this.inbox.due;
  }

  /** With no message to be taken: whether none will come any more. */
  get exhausted(): boolean {
    return !!this.ended || !!this.inbox.finish || this.inbox.stopped;
  }

  /** With what the peer has finished, as soon as it has told; `null` if it has not. */
  get peerFinished(): { code: number; reason: string } | null {
    const { finish } = this.inbox;
    return finish && { code: finish[2], reason: finish[3] };
  }

  /**
   * How far both sides have come, with messages and calls; compare number by number. What is only
   * sent again moves none of them. (A WebSocket that moved one of them was good.)
   */
  get progress(): readonly number[] {
    const { inbox, outbox, callQueue, incomingCalls } = this;
    const calls = [callQueue.acked, incomingCalls.received];
    return [outbox.acked, outbox.confirmed, inbox.received, inbox.partial, ...calls];
  }

  /** When the peer gives up a session without a link, as far as this side knows (END-4). */
  get peerDeadline(): number {
    return this.#timers.contactAt + this.outbox.peer[6];
  }

  /** How many messages can be taken. */
  get available(): number {
    return this.inbox.available;
  }

  /** How many messages were accepted: the number of the newest one. */
  get sent(): number {
    return this.outbox.messages;
  }

  /** Everything up to this number is confirmed by the peer's application. */
  get confirmedUpto(): number {
    return Math.min(this.outbox.confirmed, this.outbox.messages);
  }

  /** Everything up to this number is kept by the store; without a store: 0. */
  get storedUpto(): number {
    const { stored, messages } = this.outbox;
    return stored === Infinity ? 0 : Math.min(stored, messages);
  }

  /** Whether a message of so many bytes would be accepted, as far as room is concerned. */
  hasRoom(bytes = 0): boolean {
    return !this.#durable?.isFull && this.outbox.hasRoom(bytes + OVERHEAD);
  }

  /** The number of the message that was handed over last. */
  get handedUpto(): number {
    return this.inbox.given;
  }

  /** Up to this number, what is handed over may have been handed over before (RESUME-7). */
  get redeliveredUpto(): number {
    return this.inbox.redeliveredUpto;
  }

  /** Return what is known of one message of ours (CLOSE-4). */
  outcome(number: number): Outcome {
    return this.outbox.outcome(number);
  }

  /** Return what is known of every message, or of those from `first` to `last`. */
  report(first = 1, last = Infinity): Report {
    return this.outbox.report(first, last, this.ended, this.codec);
  }

  /** Return the error that says how the session ended, or this half of it. */
  error(): ConnectionClosed {
    const ending = this.ended ?? this.#agreedEnd();
    const isOurs = ["finished", "aborted", "kept"].includes(ending.kind);
    const kind = ending.kind === "violation" ? ProtocolViolation : SessionLost;
    return new (isOurs ? ConnectionClosed : kind)(ending, this.report(), this.#cause);
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
  send(message: unknown): number {
    const { outbox, inbox } = this;
    if (outbox.state !== "open") {
      // The end is seen in message order: while messages of the peer are still to be taken, what is
      // accepted is *not taken* from the start (CLOSE-14).
      const isUnseen = outbox.state === "stopped" && !inbox.done;
      if (!isUnseen || outbox.finish || !outbox.hasRoom(0)) throw this.error();
    }
    if (this.#durable?.isFull) throw new StoreFull();
    return outbox.accept(message, this.codec);
  }

  /** Ask to be told at once when this number is confirmed (ACK-5). */
  want(number: number): void {
    if (number > this.outbox.wanted) this.outbox.wanted = number;
  }

  /** Hand over the next message and confirm it; `undefined` if there is none. */
  take(): Payload | undefined {
    return this.inbox.take();
  }

  /** Hand over the next message without confirming it; `undefined` if there is none. */
  deliver(): { number: number; payload: Payload } | undefined {
    return this.inbox.deliver();
  }

  /**
   * Confirm a delivery. Return `false` if it was confirmed before.
   *
   * @throws ConfirmTooLate The session's counters are final.
   * @throws RangeError This message was never handed over.
   */
  confirm(number: number): boolean {
    return this.inbox.confirm(number);
  }

  // ------------------------------------------------------------------ calls

  /** Whether another request may be opened (CALL-6, CALL-44). A "replied" or "faulted" event, and
   * the acks behind them, make room. */
  get hasRequestRoom(): boolean {
    return this.outgoingCalls.hasRoom;
  }

  /**
   * Whether so much waits to be received there that items of streams, and new handlers, wait until
   * the event "eased" (CALL-29, CALL-45).
   */
  get crowded(): boolean {
    return this.callQueue.crowded;
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
  request(method: string, params: unknown, by: number | null = null, credit = 0): number {
    return this.outgoingCalls.request(method, seal(params, this.codec), by, credit);
  }

  /** Wait no more. `true`: it was taken back before it went, and never runs (CALL-8). */
  cancel(request: number): boolean {
    return this.outgoingCalls.cancel(request);
  }

  /**
   * Whether the peer got this request; `null` if nobody can say (CALL-39). Not for one that was
   * cancelled: what is known of it then is what `cancel` returned.
   */
  wasTaken(request: number): boolean | null {
    return this.outgoingCalls.wasTaken(request);
  }

  /** Allow the peer so many bytes of items of a stream in all (CALL-7). Items weigh `weightOf`. */
  grant(request: number, total: number): void {
    this.outgoingCalls.grant(request, total);
  }

  /**
   * Answer a request of the peer. An answer that comes too late is dropped.
   *
   * @throws NotSerializable The codec cannot pack the value.
   * @throws MessageTooLarge It is larger than the peer's `maxMessage`.
   */
  reply(request: number, value: unknown): void {
    this.incomingCalls.reply(request, seal(value, this.codec));
  }

  /**
   * Say why there is no answer. What comes too late is dropped. Without `data` the fault is the
   * protocol's own (CALL-11); an application's has data, at least `null`.
   *
   * @throws NotSerializable The codec cannot pack the data.
   * @throws MessageTooLarge They are larger than the peer's `maxMessage`.
   */
  fault(request: number, code: string, message: string, data?: unknown): void {
    const payload = data === undefined ? data : seal(data, this.codec);
    this.incomingCalls.fault(request, code, message, payload);
  }

  /**
   * Send an item of a stream, and return its weight. The driver keeps to the peer's credit: an item
   * goes while the weight of those before it is below the credit.
   *
   * @throws NotSerializable The codec cannot pack the value.
   * @throws MessageTooLarge It is larger than the peer's `maxMessage`.
   */
  item(request: number, value: unknown): number {
    return this.incomingCalls.item(request, seal(value, this.codec));
  }

  // ------------------------------------------------------------------ the end, from this side

  /**
   * Send nothing after what was sent; go on receiving (CLOSE-1). A second call has no effect.
   *
   * @throws RangeError The code is not from 1000 to 4999.
   */
  finish(now: number, code: number = CODE.FINISHED, reason = ""): Event[] {
    this.outbox.close(code, sayable(code, reason));
    return this.poll(now);
  }

  /**
   * Finish, and take nothing more (CLOSE-2). A later call can only shorten the limit.
   *
   * The session ends after `timeout` milliseconds, after `config.closeTimeout` in which nothing
   * arrived at the peer, or after `config.closeProgressTimeout` without progress.
   *
   * @throws RangeError The code is not from 1000 to 4999.
   */
  close(now: number, code: number = CODE.FINISHED, reason = "", timeout = Infinity): Event[] {
    this.outbox.close(code, sayable(code, reason));
    this.#timers.close(now, timeout);
    this.#stop();
    return this.poll(now);
  }

  /**
   * End at once. The peer is told if a link is open.
   *
   * @throws RangeError The code is not from 1000 to 4999.
   */
  abort(now: number, reason = "", code: number = CODE.ABORTED): Event[] {
    return this.end(now, { kind: "aborted", code, reason: sayable(code, reason) });
  }

  /** End at once, in a way that the driver knows (END-1). `cause`: the error that made it so. */
  end(now: number, ending: Ending, cause?: unknown): Event[] {
    if (!this.ended) this.#cause = cause;
    this.#end(ending);
    return this.poll(now);
  }

  // ------------------------------------------------------------------ links

  /**
   * Begin a link on a new WebSocket. An older link becomes inert, and says nothing (RESUME-10).
   *
   * @param maxFrame The largest WebSocket message that the transport takes, if it is known.
   */
  dial(now: number, maxFrame = Infinity): Link {
    const { config, outbox, inbox, callQueue, outgoingCalls, incomingCalls } = this;
    this.#attempt++; // RESUME-1
    const old = this.link;
    this.link = new Link(
      now,
      maxFrame,
      config,
      new Cursor(outbox, this.#frameSize, config),
      new Acks(inbox, config),
      new CallCursor(callQueue, outgoingCalls, incomingCalls, config),
      this.#timers,
      this.#idleCuts.limit,
      (link) => this.#greeting(link),
    );
    this.#durable?.hold(this.link); // STORE-1
    old?.leave(CODE.GOING_AWAY, "another WebSocket took over");
    return this.link;
  }

  /**
   * Return our greeting, which goes alone (HELLO-1). It is built when it is sent (HELLO-4), and it
   * is short (FRAME-11).
   */
  #greeting(link: Link): unknown[] {
    const { config, inbox, outbox } = this;
    const counters = inbox.told();
    link.tell(counters);
    const codec = this.#toldCodec;
    // What the path lets be silent (LIVE-8), and the peer's time, since its heartbeats are the
    // clock of a hidden page (LIVE-10).
    const ours = Math.min(config.idleTimeout, link.silenceLimit);
    const idle = this.welcomed ? Math.min(ours, outbox.peer[5]) : ours;
    return [
      HELLO,
      VERSION,
      VERSION,
      this.id,
      this.#key,
      this.#attempt,
      this.#incarnation,
      position(outbox, inbox, counters),
      limitsOf(config, link.maxFrame, idle),
      callPosition(this.callQueue, this.incomingCalls),
      ...(codec ? [[codec]] : []),
    ];
  }

  /** Compare both sides' positions before anything is sent again (RESUME-3). */
  #meet(link: Link, welcome: Welcome, now: number, resumed: boolean): void {
    const [, , , , where, limits, calls] = welcome;
    const [counters, sent, , partial] = where;
    const [received, confirmed, , stopped] = counters;
    const { outbox, inbox, callQueue, outgoingCalls } = this;
    checkPosition(where, outbox, inbox);
    checkCalls(calls, callQueue, outgoingCalls, this.incomingCalls, inbox.stopped);
    if (calls) outgoingCalls.ack(calls[0]);
    // The limits of the first greeting hold for the session, but two (LIMIT-2, LIMIT-5).
    if (!resumed) {
      outbox.peer = limits;
      if (calls) outgoingCalls.heed(limits);
    }
    this.#frameSize.met(limits[2], received, partial, resumed && outbox.last > received);
    // What came before a crash of ours may have been handed over (RESUME-7).
    if (this.restored && !inbox.stopped) inbox.redeliveredUpto = sent;
    this.restored = false;
    // From here the link is open.
    this.obstacle = null;
    this.#timers.contactAt = now;
    link.opened(received, partial, calls, limits, now);
    if (resumed) this.resumes++;
    const replayed = Math.max(0, outbox.transmitted - received);
    this.#events.push({ type: "opened", resumed, replayed });
    this.#acked(received, confirmed, now);
    if (stopped) this.#peerStopped(counters, now);
    this.#timers.progressed(now);
  }

  /** Note that the current link is gone; an older one is inert and never says so (LINK-4). */
  #linkOver(link: Link, code: number | null, reason: string, now: number, retry = 0): void {
    this.#timers.detached(link.heardAt, now);
    this.link = null;
    if (this.ended) return;
    if (code === CODE.TOO_BIG && !this.#frameSize.halve()) {
      this.#end({ kind: "lost", code, reason: "the peer's transport refuses even small frames" });
      return;
    }
    this.#events.push({ type: "detached", code, reason, retry });
  }

  // ------------------------------------------------------------------ the network

  /** Take in one WebSocket message of a link; return what happened. A string is a text message. */
  receive(link: Link, data: Uint8Array | string, now: number): Event[] {
    if (link.phase === "over") return [];
    link.heard(now);
    try {
      // Check everything before any frame has an effect.
      const frames = decode(data, link.maxFrame);
      // The bytes of the whole WebSocket message count against the window of messages, once; those
      // of calls do not (WINDOW-8).
      let size = frames.some((frame) => frame[0] === CALLS) ? -1 : data.length;
      // The frames take effect in their order (FRAME-9).
      for (const frame of frames) {
        // Is this frame allowed in this phase (LINK-2)?
        if (!ACCEPTED[link.phase].includes(frame[0])) {
          if (link.closeAction) break; // behind a Refuse or a Done (LINK-5)
          throw violation(`frame ${frame[0]} when ${link.phase}`);
        }
        // Let it change the facts; then the link may be in another phase.
        this.#arrived(link, frame, size, now);
        if (frame[0] === MESSAGES) size = Math.min(size, 0);
      }
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.#violated(link, error, now);
    }
    return this.poll(now);
  }

  #arrived(link: Link, frame: Frame, size: number, now: number): void {
    const { inbox } = this;
    switch (frame[0]) {
      case MESSAGES:
        if (inbox.stopped) return; // behind our Stop, everything is discarded (CLOSE-11)
        this.#messagesArrived(frame[1], frame[2], size);
        return;
      case ACK:
        if (frame[1] >= link.cursor.number) throw neverSent(); // ACK-7
        this.#acked(frame[1], frame[2], now);
        return;
      case CALLS:
        this.#callsArrived(link, frame[1], frame[2], now);
        return;
      case CALL_ACK:
        if (frame[1] >= link.calls.number) throw neverSent(); // CALL-19
        if (this.outgoingCalls.ack(frame[1])) this.#timers.moved(now);
        return;
      case WANT:
        if (frame[1] > inbox.received + this.config.windowMessages + 1) {
          throw violation("Want beyond the window"); // ACK-10
        }
        link.acks.wanted = Math.max(link.acks.wanted, frame[1]);
        return;
      case PART:
        if (!inbox.stopped) this.#partArrived(link, frame, now);
        return;
      case PARTIAL:
        this.#partialArrived(link, frame[1], frame[2], now);
        return;
      case FINISH:
        if (!inbox.stopped) this.#finishArrived(frame);
        return;
      case STOP:
        this.#checkSent(link, frame[1]);
        this.#peerStopped(frame[1], now);
        return;
      case DONE:
        this.#doneArrived(link, frame[1], now);
        return;
      case WELCOME:
        this.#welcomeArrived(link, frame, now);
        return;
      case REFUSE:
        this.#refuseArrived(link, frame, now);
    }
  }

  /**
   * Take in that the WebSocket under a link is gone. `code`: what its close frame said, or `null`
   * where there was none (1005, 1006). It may forbid another WebSocket (CODE-2).
   */
  lost(link: Link, code: number | null, reason: string, now: number): Event[] {
    if (link.phase === "over") return this.poll(now);
    if (link.phase === "initiated") {
      if (this.#idleCuts.lost(code === null ? link.silence(now) : 0)) {
        this.#events.push({ type: "silenceLearned", limit: this.#idleCuts.limit });
      }
    }
    link.leave(code ?? CODE.GOING_AWAY, reason);
    if (mayResume(code)) this.#linkOver(link, code, reason, now);
    else this.#end(refused(code!, reason));
    return this.poll(now);
  }

  /** End the session, because the peer broke the rules; throw nothing (FRAME-5). */
  #violated(link: Link, { code, reason }: Violation, now: number): void {
    if (!link.met && this.#incarnation) {
      // What answers there now is not the peer that we know: try again (HELLO-13).
      link.heardAt = this.#timers.contactAt;
      link.leave(code, reason);
      this.#linkOver(link, code, reason, now);
    } else this.#end({ kind: "violation", code, reason }); // HELLO-8, while dialing
  }

  #messagesArrived(first: number, payloads: readonly Payload[], size: number): void {
    if (size < 0) size = payloads.reduce((sum, payload) => sum + weightOf(payload), 0);
    this.inbox.arrived(first, payloads, size);
    this.#events.push({ type: "arrived", messages: payloads.length });
  }

  #partArrived(link: Link, part: Part, now: number): void {
    if (this.inbox.arrivedPart(part)) {
      link.partsOver();
      this.#events.push({ type: "arrived", messages: 1 });
    } else {
      link.partArrived(part[5].length, now);
      link.acks.partialNews = true;
    }
  }

  #finishArrived(finish: Finish): void {
    this.inbox.arrivedFinish(finish);
    this.#abandonCalls();
    this.#events.push({ type: "peerFinished", code: finish[2], reason: finish[3] });
  }

  /**
   * Release what the peer has confirmed. An ack that goes backwards is ignored (ACK-6).
   *
   * From one link to the next `received` may fall. The new link's cursor begins there (RESUME-5).
   */
  #acked(received: number, confirmed: number, now: number): void {
    const { outbox } = this;
    if (outbox.final) return; // the first final counters stand (CLOSE-12)
    if (received > outbox.acked) {
      this.#timers.moved(now);
      outbox.acked = received;
      if (this.#frameSize.probe) this.#frameSize.passed();
    }
    if (confirmed > outbox.confirmed) {
      this.#timers.progressed(now);
      outbox.confirm(confirmed);
      this.#events.push({ type: "confirmed", number: confirmed });
      this.#durable?.confirmedThere(now);
    }
  }

  #callsArrived(link: Link, first: number, entries: readonly Entry[], now: number): void {
    if (!this.outgoingCalls.limit) {
      throw violation("a call of a side that has none"); // CALL-41
    }
    if (this.inbox.finish && !entries.every(isBehindFinish)) {
      throw violation("a call behind Finish"); // CALL-34
    }
    if (this.inbox.stopped) return; // CALL-36
    const sent = link.calls.number - 1;
    const events = this.incomingCalls.arrived(first, entries, now, sent);
    this.#events.push(...(this.#durable?.defer(events) ?? events));
    link.calls.note(now);
  }

  /** The peer has got more of a message in parts: closing may go on waiting (PART-16). */
  #partialArrived(link: Link, number: number, held: number, now: number): void {
    const isAbove = ([n, h]: readonly number[]) => number > n! || (number === n && held > h!);
    if (isAbove([link.cursor.number, link.cursor.offset])) throw neverSent(); // PART-17
    if (isAbove(this.#partialThere)) {
      this.#partialThere = [number, held];
      this.#timers.moved(now);
    }
  }

  /** The acceptor needs nothing more (CLOSE-7). */
  #doneArrived(link: Link, counters: Counters, now: number): void {
    this.#checkSent(link, counters);
    this.#settleBy(counters, now);
    if (!this.done) throw violation("Done before both ends"); // CLOSE-17
    link.leave(CODE.FINISHED); // CLOSE-9
    this.#endAs(this.#agreedEnd());
  }

  /** Take in the acceptor's answer. What is wrong with it ends the session (END-5). */
  #welcomeArrived(link: Link, welcome: Welcome, now: number): void {
    const [, version, , incarnation, , , , codec] = welcome;
    link.met = true;
    link.phase = "initiated";
    if (version !== VERSION) {
      throw new Violation(CODE.VERSION, `version ${version} was not offered`);
    }
    if (codec !== this.#toldCodec) {
      const names = [this.#toldCodec, codec].map((name) => name ?? MSGPACK);
      const words = `payload codecs differ: initiator ${names[0]}, acceptor ${names[1]}`;
      throw new Violation(CODE.CODEC, words); // HELLO-18
    }
    const resumed = this.#incarnation > 0;
    if (resumed && this.#incarnation !== incarnation) {
      throw violation("another incarnation than before"); // HELLO-15
    }
    this.#incarnation = incarnation; // HELLO-9
    this.#meet(link, welcome, now, resumed);
    if (!resumed) this.#durable?.hold(link); // STORE-1
  }

  /** Take in a Refuse: later, or never (REFUSE-2). */
  #refuseArrived(link: Link, [, code, reason, retry, counters]: Refuse, now: number): void {
    if (counters) {
      if (link.met) this.#checkSent(link, counters);
      try {
        this.#settleBy(counters, now);
      } catch (fault) {
        if (!this.restored || !(fault instanceof Violation)) throw fault;
        // Our store has lost what the peer has seen: each later answer says the same (CLOSE-13).
        link.leave(CODE.FINISHED);
        this.#end({ kind: "violation", code: fault.code, reason: `state lost: ${fault.reason}` });
        return;
      }
    }
    this.#timers.contactAt = now; // END-6
    link.leave(CODE.FINISHED); // CLOSE-9
    // Later (REFUSE-4); it may come on an open link, too (REFUSE-7).
    if (mayResume(code) && !counters) this.#linkOver(link, code, reason, now, retry);
    else this.#end(refused(code, reason)); // RESUME-6: the driver reopens nothing after an end
  }

  #checkSent(link: Link, [received]: Counters): void {
    if (received >= link.cursor.number) throw neverSent(); // ACK-7
  }

  // ------------------------------------------------------------------ ends

  /** The peer takes nothing more: every outcome is known (CLOSE-5). */
  #peerStopped(counters: Counters, now: number): void {
    this.#settleBy(counters, now);
    this.outgoingCalls.stop();
  }

  /** Let the peer's final counters decide what became of each message (CLOSE-4). */
  #settleBy(counters: Counters, now: number): void {
    const { outbox } = this;
    outbox.checkFinal(counters);
    if (outbox.final) return;
    this.#acked(counters[0], counters[1], now);
    if (outbox.settle(counters)) this.#events.push({ type: "settled" });
  }

  /** Freeze intake in the step that reads its counters (CLOSE-3). */
  #stop(): void {
    this.inbox.stop();
    this.#abandonCalls();
  }

  /** Stop waiting for answers: none can come, or nobody could take it (CALL-10). */
  #abandonCalls(): void {
    this.incomingCalls.abandon();
    this.outgoingCalls.abandon();
  }

  /** End now: freeze intake, keep what is known of our messages, tell the peer (END-1). */
  #end(ending: Ending): void {
    if (this.ended) return;
    // An earlier frame of the same envelope may have made it done (CLOSE-6, CLOSE-15).
    this.inbox.conclude();
    this.outbox.conclude();
    this.#endAs(this.done ? this.#agreedEnd() : ending);
  }

  #endAs(ending: Ending): void {
    this.#stop();
    this.outbox.end();
    this.outgoingCalls.end();
    this.ended = ending;
    if (!this.#durable?.closed) this.#durable?.end();
    const { link } = this;
    this.link = null;
    if (link) {
      this.#takeLeave(link, ending);
      this.#timers.heard(link.heardAt);
    }
    this.#events.push({ type: "ended", ending });
  }

  /** Say our final counters on the last link, as Refuse (END-2). */
  #takeLeave(link: Link, { kind, code, reason }: Ending): void {
    const durable = this.#durable;
    durable?.hold(link); // STORE-4
    if (kind === "kept" || durable?.closed) {
      link.leave(CODE.RESTART, reason); // the last word will not be kept (STORE-9)
    } else if (!link.met) {
      link.leave(CODE.GOING_AWAY); // the peer has not been heard: say nothing (END-5)
    } else {
      // No effect on a link that the peer has ended already (CLOSE-20).
      const said = kind === "finished" ? CODE.ENDED : code;
      link.leave(said, reason, [REFUSE, said, reason, 0, this.inbox.counters()]);
    }
  }

  /** Return the agreed end: code and reason of the peer's Finish, else of ours (CLOSE-16). */
  #agreedEnd(): Ending {
    const [, , code = CODE.FINISHED, reason = ""] = this.inbox.finish ?? this.outbox.finish ?? [];
    return { kind: "finished", code, reason };
  }

  // ------------------------------------------------------------------ time

  /** When to call `tick` at the latest; `Infinity`: never. */
  get deadline(): number {
    const durable = this.#durable?.deadline ?? Infinity;
    if (this.ended) return durable;
    const by = this.#timers.deadline(this.attached, this.#silentSince);
    return Math.min(by, durable, this.link?.deadline ?? Infinity);
  }

  /** When the peer was heard last, if a close waits for an answer only (CLOSE-25). */
  get #silentSince(): number {
    const { outbox } = this;
    if ((outbox.waiting && !outbox.final) || this.callQueue.weight) return Infinity;
    return Math.max(this.#timers.contactAt, this.link?.heardAt ?? -Infinity);
  }

  /** Do what is due; every deadline that has passed moves. */
  tick(now: number): Event[] {
    const durable = this.#durable;
    durable?.tick(now);
    if (durable && now >= durable.giveUpAt) {
      return this.leave(now, "the store is too slow, or full");
    }
    if (this.ended) return this.poll(now);
    const { link } = this;
    if (link?.tick(now)) this.#drop(link, "nothing heard in time", now);
    else if (link?.isStalled(now)) {
      this.inbox.dropPartial();
      this.#drop(link, "a message in parts stood still", now);
    } else if (link) {
      const again = link.calls.stalled(now);
      const words = "a call in pieces stood still";
      if (again) this.#violated(link, violation(`${words} twice`), now);
      else if (again === false) this.#drop(link, words, now);
    }
    let why = this.#timers.expired(now, this.attached, this.#silentSince);
    if (why) {
      const isLeft = durable && !durable.closed && this.closing && why !== NO_CONTACT && !this.done;
      if (this.obstacle && !this.attached) {
        why += `; last attempt: ${this.obstacle.words}`;
        this.#cause = this.obstacle.cause;
      }
      if (isLeft) return this.leave(now, why); // another page or process closes it (STORE-9)
      this.#end({ kind: "expired", code: CODE.ENDED, reason: why });
    }
    return this.poll(now);
  }

  /** Give up the link; another one may carry the session. */
  #drop(link: Link, words: string, now: number): void {
    link.leave(CODE.SILENT, words);
    this.#linkOver(link, CODE.SILENT, words, now);
  }

  /**
   * Draw the conclusions from the facts; return what happened since the last call.
   *
   * An envelope is taken in whole before (CLOSE-15). An initiator goes on until it has heard Done,
   * also when it is done itself (CLOSE-8).
   */
  poll(now: number): Event[] {
    const { inbox, outbox, callQueue } = this;
    if (!this.ended) {
      inbox.conclude();
      outbox.conclude();
    }
    // What was confirmed is news to the peer: soon, or when somebody waits for it.
    this.link?.acks.note(now);
    inbox.due = false;
    const durable = this.#durable;
    if (this.ended && durable && !this.isKept) {
      durable.giveUpAt = Math.min(durable.giveUpAt, now + this.config.closeProgressTimeout);
    }
    if (callQueue.eased) {
      callQueue.eased = false;
      this.#events.push({ type: "eased" });
    }
    const events = this.#events;
    this.#events = [];
    return events;
  }

  // ------------------------------------------------------------------ a store

  /**
   * Say nothing from now on that a store has not kept (protocol.md, section 17). Call it before the
   * first link.
   *
   * From then on, give the store what `takeChange` returns, behind every verb, and both before and
   * behind `link.transmit`, which takes back requests for which nobody waits.
   */
  keepInStore(): void {
    this.config.sessionTtl = Math.max(this.config.sessionTtl, this.config.storedTtl);
    this.#durable = new Durable(this);
  }

  /**
   * Return what the store is to keep now; `null`: nothing, or it works on a change. Say what became
   * of it: `kept`, `unkept`, `forsakeStore` or `leave`.
   *
   * @param wall The time in milliseconds since 1970.
   */
  takeChange(now: number, wall: number): Change | null {
    const until = wall + this.config.storedTtl;
    return this.#durable?.takeChange(this.#identity(now, wall), until) ?? null;
  }

  #identity(now: number, wall: number): Identity {
    const heardAt = Math.max(this.link?.heardAt ?? -Infinity, this.#timers.contactAt);
    return {
      id: this.id,
      key: this.#key,
      incarnation: this.#incarnation,
      attempt: this.#attempt,
      contact: wall - Math.max(0, now - heardAt),
      attached: this.attached,
      closing: this.closing,
      ended: this.ended,
    };
  }

  /** Whether the store has everything that is so now; always, without a store. */
  get isKept(): boolean {
    return this.#durable?.isKept(this.#identity(0, 0)) ?? true;
  }

  /** The store has kept the change that was taken. */
  kept(now: number): Event[] {
    const durable = this.#durable;
    if (!durable || durable.closed) return [];
    const { stored } = this.outbox;
    const events = durable.kept();
    if (!this.ended) this.#events.push(...events);
    if (this.outbox.stored > stored) {
      this.#events.push({ type: "stored", number: this.storedUpto });
    }
    this.#tellKept();
    return this.poll(now);
  }

  /** Tell the peer what may be told now: it has waited for the store. */
  #tellKept(): void {
    const { link, inbox } = this;
    if (!inbox.stopped) inbox.watch(inbox.storedConfirmed + 1); // the next one goes to the store
    if (!link) return;
    link.acks.now ||= inbox.tellable > link.acks.confirmed;
    link.calls.now ||= this.incomingCalls.tellable > link.calls.told;
  }

  /** The store has no room for the change that was taken (STORE-7). It is asked again soon. */
  unkept(now: number): Event[] {
    const durable = this.#durable;
    if (durable && !durable.closed) {
      const { outbox } = this;
      const before = outbox.messages;
      durable.unkept(now);
      outbox.wanted = Math.min(outbox.wanted, outbox.messages);
      if (outbox.messages < before) {
        this.#events.push({ type: "withdrawn", number: outbox.messages });
      }
    }
    return this.poll(now);
  }

  /**
   * Give the store nothing more, and go on in memory: the store has failed. From now on everything
   * is said as without a store.
   */
  forsakeStore(now: number): Event[] {
    const durable = this.#durable;
    if (durable && !durable.closed) {
      const events = durable.forsake();
      this.#durable = null;
      if (!this.ended) this.#events.push(...events);
      this.#tellKept();
    }
    return this.poll(now);
  }

  /**
   * Be done with a session that goes on in another page or process, from what the store has. The
   * peer is told that this side restarts (STORE-9). Messages that the store has are *kept*.
   */
  leave(now: number, reason: string, cause?: unknown): Event[] {
    const durable = this.#durable;
    if (durable && !durable.closed) durable.close();
    return this.end(now, { kind: "kept", code: CODE.RESTART, reason }, cause);
  }

  /** Become what a store had of a session: `StoredSession.revive` calls it. */
  restore(
    facts: StoredFacts,
    payloads: readonly Payload[],
    entries: CallEntries,
    now: number,
  ): void {
    const { outbox, inbox, callQueue } = this;
    const { calls, finish, sent } = facts;
    this.#attempt = facts.attempt;
    this.#incarnation = facts.incarnation;
    outbox.peer = facts.peer;
    callQueue.maxThere = calls.maxThere;
    callQueue.finished = calls.finished;
    callQueue.restore(calls.acked, calls.last, entries, new Set(calls.open));
    this.outgoingCalls.restore(calls);
    this.incomingCalls.restore(calls);
    outbox.restore(finish ? Math.min(sent, finish[1] - 1) : sent, payloads);
    if (finish) {
      outbox.close(finish[2], finish[3]);
      outbox.transmitted = outbox.last;
    }
    if (facts.settled) this.#peerStopped(facts.settled, now);
    else if (sent > outbox.confirmed) this.#acked(sent, sent, now); // Finish is confirmed too
    inbox.restore(facts.confirmed, facts.peerFinish, facts.stopped);
    for (let [first, last] of facts.ahead) for (; first <= last; first++) inbox.applied.add(first);
    this.restored = true;
    if (facts.closing) this.#timers.close(now, Infinity);
    this.keepInStore();
    this.poll(now); // nobody waits for these events
  }

  /** Note how long a session that came from a store was out of contact. */
  set contactAt(at: number) {
    this.#timers.contactAt = at;
  }
}

/** Entries of calls as a store has them: each with its size. */
export type CallEntries = readonly (readonly [entry: Entry, size: number])[];

const neverSent = () => violation("it tells of what was never sent");

/** How a session ends that the peer does not go on with. */
function refused(code: number, reason: string): Ending {
  const kind: End = code === CODE.SUPERSEDED ? "superseded" : "refused";
  return { kind, code, reason };
}
