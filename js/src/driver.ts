/**
 * One session: how it waits, when it writes, and over which WebSocket.
 *
 * Theory of operation. Every step is the same, whatever began it (an envelope, a call of the
 * application, a timer, the page): a verb of the session returns events, `dispatch` tells those
 * that wait, and `flush` writes. `wake` has that done in a microtask, so that a lone message goes
 * at once. What the application does later, before anything has arrived, goes together in the next
 * task: it may be a loop that awaits something for each message. Neither is a timer, which a hidden
 * page may get once a minute. For the same reason each arriving envelope does what is due by the
 * clock. There is one timer besides, for the next deadline of the session or the next attempt to
 * open a WebSocket.
 *
 * At most one WebSocket is in use at a time. One that is lost, or given up, is dropped at once: its
 * own end may come minutes later, or never.
 */

import {
  ConnectFailed,
  deliveryError,
  NotReliablePeer,
  ServerBusy,
  StoreFull,
} from "./errors.js";
import { Handlers } from "./handlers.js";
import type { ConnectionEvent, ConnectOptions, PerAttempt } from "./options.js";
import { watchPage } from "./page.js";
import type { Event } from "./protocol/events.js";
import type { Link } from "./protocol/link.js";
import type { Ending, Report } from "./protocol/report.js";
import type { Session } from "./protocol/session.js";
import { Reconnect } from "./reconnect.js";
import { Requests } from "./requests.js";
import {
  ask,
  defaultWebSocket,
  drive,
  holdsBack,
  httpAddress,
  makeWebSocket,
  type Socket,
} from "./socket.js";
import { Status } from "./status.js";
import type { HeldStore } from "./storePort.js";
import { nextTask } from "./tasks.js";
import { onAbort, Thresholds } from "./waiters.js";

/** Bytes queued in one task that are sent at once: the network is busy while more is produced. */
const SEND_AT_ONCE = 64 * 1024;

/** How long a WebSocket that was silent may stay silent after the machine or page woke up. */
const WAKE_TIMEOUT = 3000;

/** How long a full window from which the application takes nothing goes without a warning. */
const READER_STOPPED_AFTER = 30_000;

/** Lines that may be logged one after the other. */
const LOG_BURST = 20;

/** Messages that cannot be decoded are left out in runs of so many: others have their turn. */
const LEFT_OUT_AT_ONCE = 100;

/** The longest delay of `setTimeout`. */
const LONGEST_DELAY = 2 ** 31 - 1;

/** Codes of protocol.md, section 12. */
const GOING_AWAY = 1001;
const SILENT = 4509;
const VERSION = 4426;

/** Takes the next message. */
export type Take<T> = () => IteratorYieldResult<T> | undefined;

/** Somebody who waits for a message. */
interface Reader<T = any> {
  take: Take<T>;
  resolve(taken: IteratorResult<T>): void;
  reject(error: unknown): void;
}

export class Driver {
  readonly session: Session;
  readonly handlers: Handlers;
  readonly requests: Requests;
  readonly status: Status;
  /** Resolved with the final report. */
  readonly ended: Promise<Report>;
  readonly confirmations = new Thresholds();
  readonly storings = new Thresholds();
  /** For each time that the store was full: the last number that was not taken back. */
  readonly withdrawals: number[] = [];
  /** Whether this side may still send and ask. */
  isOpen = true;

  #url: PerAttempt<string | URL>;
  #options: ConnectOptions;
  #store: HeldStore | null;
  #storeError: unknown; // why it keeps nothing more
  #reconnect: Reconnect;
  #socket: Socket | null = null; // the one in use
  #link: Link | null = null; // what it carries; over, for as long as its last word has not gone
  #dialing: (() => void) | null = null; // ends the attempt that is under way
  #asked = ""; // where this page asked last whether the server is there
  #mayAsk = true;
  #suspended = false;
  #opening: { resolve: () => void; reject: (error: unknown) => void } | null = null;
  #wasOpened = false; // whether a WebSocket carries the session, as events have told
  #awake = false;
  #hasWritten = false; // since something arrived
  #queued = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerDue = Infinity;
  #handed = 0; // what the application had taken when its window was looked at
  #handedAt = 0; // since when it has taken no more, though the window is full
  #lookedAt = 0;
  #warnedUpto = 0; // the newest message at the last warning about that
  #isLeavingOut = false; // whether readers wait for the next task
  #logRoom = LOG_BURST; // lines that may be logged
  #loggedAt = 0;
  #leftOut = 0; // lines that were not, since the last one
  #readers: Reader[] = [];
  #changes: (() => void)[] = [];
  #tellEnded!: (report: Report) => void;
  #isEndTold = false;
  #cleanUp: (() => void)[] = [];

  constructor(
    session: Session,
    url: PerAttempt<string | URL>,
    options: ConnectOptions,
    store: HeldStore | null,
    storeError?: unknown,
  ) {
    this.session = session;
    this.#url = url;
    this.#options = options;
    this.#store = store;
    this.#storeError = storeError;
    this.#reconnect = new Reconnect(session, options.backoff);
    this.handlers = new Handlers(this, options.methods ?? {});
    this.requests = new Requests(this);
    this.status = new Status(() => this.#facts());
    this.ended = new Promise((resolve) => (this.#tellEnded = resolve));
  }

  /** Open the first WebSocket. The promise is rejected where the session is not opened. */
  start(): Promise<void> {
    if (this.#storeError) this.#tellStoreLost(this.#storeError);
    const { signal } = this.#options;
    this.#cleanUp.push(
      onAbort(signal, () => {
        this.#opening?.reject(signal!.reason);
        this.abort(4499, "");
      }),
      watchPage(globalThis as any, {
        suspend: () => this.#suspend(),
        resume: () => this.#resume(),
        leave: () => this.#leave(),
        wake: () => this.reconnectNow(),
        forbidden: (address) => {
          if (address === this.#asked) this.#mayAsk = false;
        },
      }),
    );
    return new Promise((resolve, reject) => {
      this.#opening = { resolve, reject };
      this.#dial();
    });
  }

  now(): number {
    return performance.now();
  }

  /** Log what the peer can repeat at will: at most 20 lines at once, and one a second. */
  log(words: string, error: unknown): void {
    const now = this.now();
    this.#logRoom = Math.min(LOG_BURST, this.#logRoom + (now - this.#loggedAt) / 1000);
    this.#loggedAt = now;
    if (this.#logRoom < 1) {
      this.#leftOut++;
      return;
    }
    this.#logRoom--;
    if (this.#leftOut) words += ` (and ${this.#leftOut} more that were not logged)`;
    this.#leftOut = 0;
    (this.#options.log ?? console.error)(`reliable-ws: ${words}`, error);
  }

  #warn(words: string): void {
    const { log } = this.#options;
    if (log) log(`reliable-ws: ${words}`, undefined);
    else console.warn(`reliable-ws: ${words}`);
  }

  // ------------------------------------------------------------------ writing

  /** Write soon what was queued: in a microtask the first time, else in the next task. */
  wake(): void {
    if (this.#awake) return;
    this.#awake = true;
    if (this.#hasWritten) nextTask(this.#onTask);
    else queueMicrotask(this.flush);
  }

  #onTask = (): void => {
    if (this.#awake) this.flush();
  };

  /** A message of about so many bytes was queued. */
  queued(bytes: number): void {
    this.#queued += bytes;
    if (this.#queued >= SEND_AT_ONCE) this.flush();
    else this.wake();
  }

  /** Draw the conclusions of this task, then write, as far as there is room. */
  flush = (): void => {
    this.#awake = false;
    this.#queued = 0;
    const { session } = this;
    if (session.due) this.dispatch(session.poll(this.now()));
    this.#giveToStore();
    this.#write();
    this.#giveToStore(); // requests may have been taken back
    this.#setTimer();
    if (session.ended && session.isKept) this.#tellEnd();
    // In a microtask, where a listener that throws disturbs nothing.
    if (this.status.isWatched) queueMicrotask(this.#tellStatus);
  };

  #tellStatus = () => this.status.update();

  #write(): void {
    const link = this.#link;
    const socket = this.#socket;
    if (!link || !socket) return;
    const now = this.now();
    // The last word of a link goes also where the buffer is full: there is only one.
    while (socket.hasRoom() || (link.closeAction && socket.isOpen)) {
      const data = link.transmit(now);
      if (!data) break;
      socket.send(data);
      this.#hasWritten = true;
    }
    // Close once the last word has gone.
    const action = link.closeAction;
    if (!action || (link.held && socket.isOpen)) return;
    this.#socket = this.#link = null;
    // A peer that is silent would not answer a closing handshake.
    if (action.code === SILENT || this.session.ended?.kind === "expired") socket.drop();
    else socket.close(action.code, action.reason);
  }

  #giveToStore(): void {
    const change = this.#store && this.session.takeChange(this.now(), Date.now());
    if (!change) return;
    this.#store!.keep(change).then(
      () => this.dispatch(this.session.kept(this.now())),
      (error) => {
        if (error instanceof StoreFull) {
          this.dispatch(this.session.unkept(this.now()));
          return;
        }
        this.#storeFailed(error);
      },
    );
  }

  /**
   * The store is given nothing more: another page goes on with the session, or this one without.
   */
  #storeFailed(error: unknown): void {
    this.#store = null;
    this.#storeError = error;
    this.storings.settle(() => error);
    if ((error as Error).name === "StoreInUse") {
      this.dispatch(this.session.leave(this.now(), "another page has the store", error));
      return;
    }
    this.dispatch(this.session.forsakeStore(this.now()));
    this.#tellStoreLost(error);
  }

  #tellStoreLost(error: unknown): void {
    this.#tell({ name: "store lost", code: 0, reason: String(error), error });
  }

  // ------------------------------------------------------------------ what happened

  /** Tell those that wait what has happened; then write. The last thing in a step. */
  dispatch(events: Event[]): void {
    let isRare = false; // something happened that may leave requests without an answer
    for (const event of events) {
      switch (event.type) {
        case "arrived":
          break; // readers are looked at below
        case "confirmed":
          this.confirmations.reach(event.number);
          break;
        case "stored":
          this.storings.reach(event.number);
          break;
        case "withdrawn":
          this.withdrawals.push(event.number);
          this.confirmations.settle(() => new StoreFull(), event.number);
          this.storings.settle(() => new StoreFull(), event.number);
          break;
        case "replied":
          this.requests.replied(event.id, event.payload);
          break;
        case "faulted":
          this.requests.faulted(event);
          break;
        case "item":
          this.requests.item(event.id, event.payload);
          break;
        case "requested":
          this.handlers.requested(event);
          break;
        case "cancelled":
          this.handlers.cancelled(event.id);
          break;
        case "granted":
          this.handlers.granted(event.id, event.total);
          break;
        case "eased":
          this.handlers.eased();
          break;
        case "opened":
          isRare = true;
          this.#onOpened(event.resumed, event.replayed);
          break;
        case "detached":
          isRare = true;
          this.#onDetached(event.code, event.reason, event.retry);
          break;
        case "silenceLearned":
          this.#warn(
            `a proxy or network on the way cuts WebSockets that are silent for ${event.limit / 1000} s; ` +
              "from now on both sides speak three times as often",
          );
          break;
        case "settled":
          isRare = true;
          this.isOpen = false;
          this.#settle();
          break;
        case "peerFinished":
          isRare = true;
          if (this.isOpen) {
            this.#tell({ name: "peer finished", code: event.code, reason: event.reason });
          }
          break;
        case "ended":
          isRare = true;
          this.#onEnded(event.ending);
          break;
      }
    }
    this.#serveReaders();
    if (isRare) this.requests.settle();
    this.requests.admit();
    for (const look of this.#changes.splice(0)) look();
    this.wake();
  }

  /** Return a promise that is resolved when something has happened. */
  change(): Promise<void> {
    return new Promise((resolve) => this.#changes.push(resolve));
  }

  #onOpened(resumed: boolean, replayed: number): void {
    this.#wasOpened = true;
    this.#opening?.resolve();
    this.#opening = null;
    this.#tell({ name: resumed ? "resumed" : "opened", code: 0, reason: "", replayed });
  }

  /**
   * Whether a session goes on to which no Welcome has come. Without it there is one attempt
   * (REFUSE-5).
   */
  get #startsOffline(): boolean {
    return Boolean(this.#options.offline && this.#store);
  }

  #onDetached(code: number | null, reason: string, retry: number): void {
    const { session } = this;
    const wasOpened = this.#wasOpened;
    this.#wasOpened = false;
    const isBusy = code !== null && code >= 4500 && code !== SILENT; // REFUSE-4
    const strange = code !== null && !isBusy;
    if (!session.welcomed && (strange || !this.#startsOffline)) {
      const words = reason || (strange ? `closed with ${code}` : "the network was lost");
      if (isBusy) {
        this.#opening?.reject(new ServerBusy(reason, retry));
      } else if (strange) {
        this.#opening?.reject(new NotReliablePeer(`no Welcome: ${words}`));
      }
      this.dispatch(session.end(this.now(), { kind: "lost", code: code ?? 1006, reason: words }));
      return;
    }
    this.#reconnect.lost(this.now(), Math.random(), retry);
    if (wasOpened) this.#tell({ name: "detached", code: code ?? 0, reason });
    else this.#attemptFailed(reason || `closed with ${code}`, undefined);
  }

  /** Tell of an attempt that failed of a session that goes on. */
  #attemptFailed(words: string, error: unknown): void {
    this.session.obstacle = { words, cause: error };
    this.#opening?.resolve(); // a session of a store goes on without a WebSocket for now
    this.#opening = null;
    this.#tell({ name: "attempt failed", code: 0, reason: words, error });
  }

  #onEnded(ending: Ending): void {
    const { session } = this;
    this.isOpen = false;
    const strange = ending.kind === "violation" || ending.code === VERSION;
    this.#opening?.reject(
      strange && !session.resumes
        ? new NotReliablePeer(`${ending.reason} (${ending.code})`)
        : session.error(),
    );
    this.#opening = null;
    this.#dialing?.();
    this.#write(); // the last word goes before anybody hears of the end
    this.handlers.giveUp("the session has ended");
    for (const undo of this.#cleanUp.splice(0)) undo();
  }

  /** Every outcome is known: tell those that wait for one. */
  #settle(): void {
    const { session } = this;
    this.confirmations.settle((number) => this.undelivered(number));
    this.storings.settle(() => session.ended && session.error());
  }

  /** Return a promise that is resolved when the store has a message. */
  async untilStored(number: number): Promise<void> {
    if (this.session.storedUpto >= number) return;
    if (this.#storeError) throw this.#storeError;
    if (!this.#store) throw new TypeError("nothing is stored without connect(…, { store })");
    return this.storings.wait(number);
  }

  /** Return the error for a message whose outcome is known; `undefined`: it is confirmed. */
  undelivered(number: number): Error | undefined {
    const report = this.session.report(number, number);
    return report.confirmed ? undefined : deliveryError(report);
  }

  #tell(event: ConnectionEvent): void {
    const { onEvent } = this.#options;
    if (!onEvent) return;
    queueMicrotask(() => {
      try {
        onEvent(event);
      } catch (error) {
        this.log(`onEvent threw at "${event.name}"`, error);
      }
    });
  }

  /** Tell the end, once it is final: the store has it, and the last word has gone. */
  #tellEnd(): void {
    if (this.#isEndTold) return;
    this.#isEndTold = true;
    clearTimeout(this.#timer);
    this.#settle();
    const report = this.session.report();
    const { code, reason } = report.ending!;
    this.#tell({ name: "closed", code, reason, report });
    this.#tellEnded(report);
    for (const look of this.#changes.splice(0)) look();
  }

  #facts() {
    const { session } = this;
    const { ended, sent } = session;
    const confirmed = ended ? session.report().confirmed : Math.min(session.confirmedUpto, sent);
    const stored = this.#store || ended?.kind === "kept" ? session.storedUpto : 0;
    const unconfirmed = sent - confirmed;
    const unstored = Math.min(unconfirmed, Math.max(0, sent - stored));
    const kept = ended?.kind === "kept";
    return { unconfirmed, unstored, attached: session.attached, ended: ended !== null, kept };
  }

  // ------------------------------------------------------------------ messages of the peer

  /**
   * Take a message, or wait for one. It is `done` where none can come any more, and this is how an
   * iteration ends. Where `signal` ends the wait, none was taken.
   *
   * @param take Returns `undefined` where what came next is not to be handed over.
   */
  receive<T>(take: Take<T>, signal?: AbortSignal): Promise<IteratorResult<T>> {
    // The short way of nearly every message: it is here, and nobody else waits.
    if (!this.#readers.length && this.session.available && !signal) {
      const taken = take();
      if (this.session.due) this.wake();
      if (taken) return Promise.resolve(taken);
    }
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const listenNoMore = onAbort(signal, () => {
        this.#readers = this.#readers.filter((one) => one !== reader);
        reject(signal!.reason);
      });
      const reader: Reader<T> = {
        take,
        reject(error) {
          listenNoMore();
          reject(error);
        },
        resolve(taken) {
          listenNoMore();
          resolve(taken);
        },
      };
      this.#readers.push(reader);
      this.#serveReaders();
    });
  }

  /** Hand over what there is, first come first served; tell those for whom nothing can come. */
  #serveReaders(): void {
    const { session } = this;
    let left = LEFT_OUT_AT_ONCE;
    while (this.#readers.length && session.available && !this.#isLeavingOut) {
      const taken = this.#readers[0]!.take();
      if (taken) this.#readers.shift()!.resolve(taken);
      else if (!--left) {
        this.#isLeavingOut = true;
        nextTask(() => {
          this.#isLeavingOut = false;
          this.#serveReaders();
        });
      }
    }
    if (session.due) this.wake();
    if (session.available) return;
    if (!this.#readers.length || !session.exhausted) return;
    const error = session.error();
    const { kind, code } = error.ending;
    const isDone = session.closing || (kind === "finished" && (code === 1000 || code === 1001));
    for (const { resolve, reject } of this.#readers.splice(0)) {
      if (isDone) resolve({ done: true, value: undefined });
      else reject(error);
    }
  }

  // ------------------------------------------------------------------ WebSockets

  /** Open a WebSocket. */
  #dial(): void {
    const { session } = this;
    let socket: Socket | undefined;
    const time = this.#reconnect.connecting;
    const asking = new AbortController();
    const end = () => {
      clearTimeout(timer);
      asking.abort();
      socket?.drop();
      if (this.#dialing === end) this.#dialing = null;
    };
    const failed = (error: unknown, timedOut = false) => {
      if (this.#dialing !== end) return;
      end();
      this.#onFailed(error, timedOut);
    };
    const timer = setTimeout(
      () => failed(new Error(`no answer within ${time / 1000} s`), Boolean(socket)),
      time,
    );
    this.#dialing = end;
    this.#make(asking.signal).then((made) => {
      if (this.#dialing !== end) {
        drive(made, { opened() {}, message() {}, writable() {}, over() {} }).drop();
        return;
      }
      socket = drive(made, {
        opened: () => {
          const opened = socket!;
          socket = undefined; // `end` drops only what is not open yet
          end();
          this.#socket = opened;
          this.#link = session.dial(this.now());
          this.#reconnect.opened(this.now());
          this.flush();
          socket = opened;
        },
        message: (data) => {
          if (this.#socket === socket) this.#receive(this.#link!, data);
        },
        writable: this.flush,
        over: (code, reason, error) => {
          if (this.#dialing === end) failed(error instanceof Error ? error : new Error(reason));
          else if (this.#socket === socket) this.#lost(code ?? null, reason);
        },
      });
    }, failed);
  }

  async #make(signal: AbortSignal) {
    const { WebSocket, subprotocol = true, headers } = this.#options;
    const now = <T>(value: PerAttempt<T>) =>
      typeof value === "function" ? (value as () => T | Promise<T>)() : value;
    const [type, url, head] = await Promise.all([
      WebSocket ?? defaultWebSocket(),
      now(this.#url),
      now(headers),
    ]);
    const address = String(url);
    if (this.#reconnect.asksFirst(this.now()) && this.#mayAsk && holdsBack(type)) {
      this.#asked = httpAddress(address);
      await ask(this.#asked, signal);
    }
    this.#reconnect.opening(this.now());
    return makeWebSocket(type, address, subprotocol, head);
  }

  #receive(link: Link, data: Uint8Array | string): void {
    const { session } = this;
    const now = this.now();
    this.#hasWritten = false;
    this.dispatch(session.receive(link, data, now));
    // What is due by the clock is done now: the timers of a hidden page are late.
    if (now >= this.#timerDue) this.#tick();
  }

  #lost(code: number | null, reason: string): void {
    const link = this.#link!;
    this.#socket = this.#link = null;
    this.dispatch(this.session.lost(link, code, reason, this.now()));
  }

  #onFailed(error: unknown, timedOut: boolean): void {
    const { session } = this;
    const words = (error as Error)?.message || String(error);
    // `ws` tells the HTTP status, in words only.
    const status = Number(/response: (\d{3})/.exec(words)?.[1] ?? 0);
    const ending: Ending = { kind: "lost", code: 1006, reason: words.slice(0, 100) };
    if (!session.welcomed && !this.#startsOffline) {
      this.#opening?.reject(new ConnectFailed(words, status, error));
      this.#opening = null;
      this.dispatch(session.end(this.now(), ending, error));
      return;
    }
    this.#attemptFailed(words, error);
    if (!this.#reconnect.failed(this.now(), Math.random(), status, timedOut)) {
      this.dispatch(session.end(this.now(), ending, error));
    }
    this.#setTimer();
  }

  // ------------------------------------------------------------------ the clock

  /** Whether a WebSocket is to be opened when it is time. */
  get #isWaiting(): boolean {
    return !(this.#socket || this.#dialing || this.#suspended || this.session.ended);
  }

  #setTimer(): void {
    const now = this.now();
    const due = Math.min(
      this.session.deadline,
      this.#isWaiting ? this.#reconnect.due(now) : Infinity,
    );
    // A later deadline needs no new timer: it is found out when the present one fires.
    if (due >= this.#timerDue && due !== Infinity) return;
    clearTimeout(this.#timer);
    this.#timerDue = due;
    if (due === Infinity) return;
    const delay = Math.min(Math.max(0, Math.ceil(due - now)), LONGEST_DELAY);
    this.#timer = setTimeout(this.#tick, delay);
  }

  #tick = (): void => {
    this.#timerDue = Infinity;
    const now = this.now();
    if (now >= this.session.deadline) this.dispatch(this.session.tick(now));
    this.#watchReader(now);
    if (this.#isWaiting && now >= this.#reconnect.due(now)) this.#dial();
    this.flush();
  };

  /**
   * Warn of an application that takes nothing while it could: once, until it has taken all that
   * waited then. A page whose timers were held back meanwhile is not blamed.
   */
  #watchReader(now: number): void {
    const { available, handed, isFull, received } = this.session.inbox;
    const wasHeldBack = now - this.#lookedAt >= READER_STOPPED_AFTER;
    this.#lookedAt = now;
    if (!available || !isFull || handed !== this.#handed || wasHeldBack) {
      this.#handed = handed;
      this.#handedAt = now;
    } else if (handed >= this.#warnedUpto && now - this.#handedAt >= READER_STOPPED_AFTER) {
      this.#warnedUpto = received;
      this.#warn(
        `${available} messages wait and fill the window, and the application has taken none for ` +
          "30 s: the server can send next to nothing. What blocks between two recv()?",
      );
    }
  }

  /** Begin the next attempt at once; and see whether a WebSocket that was silent is alive. */
  reconnectNow(): void {
    const { session } = this;
    if (session.ended || this.#suspended) return;
    if (this.#isWaiting) {
      this.#reconnect.hasten();
      this.#tick();
      return;
    }
    const link = this.#link;
    const heardAt = link?.heardAt ?? 0;
    if (!link || !session.attached || this.now() - heardAt < session.config.idleTimeout / 2) return;
    this.#tick();
    setTimeout(() => {
      if (this.#link === link && link.heardAt === heardAt && session.attached) {
        this.#socket!.drop();
        this.#reconnect.hasten();
        this.#lost(SILENT, "silent after a wake-up");
      }
    }, WAKE_TIMEOUT);
  }

  // ------------------------------------------------------------------ the life of a page

  /** The page may stand still from now on: a WebSocket would swallow what arrives. */
  #suspend(): void {
    if (this.#suspended || this.session.ended) return;
    this.flush();
    this.#suspended = true;
    this.#dialing?.();
    const socket = this.#socket;
    if (!socket) return;
    socket.close(1000, "");
    // A session that is being opened has one attempt, and it was not the server that ended that.
    this.#lost(this.session.welcomed ? 1000 : null, "the page stands still");
  }

  #resume(): void {
    if (!this.#suspended) return;
    const go = () => {
      this.#suspended = false;
      this.reconnectNow();
    };
    if (!this.#store) return go();
    this.#store.regain().then(go, (error) => {
      this.#storeFailed(error);
      go();
    });
  }

  /**
   * The page is left for good. What was queued goes, and the end, so that the server does not wait
   * for this page. (A Refuse would do that too, but what the server's application has not taken by
   * then would be lost.)
   */
  #leave(): void {
    if (this.#store) this.keep();
    else if (!this.session.ended) {
      this.startClosing(GOING_AWAY, "the page was left");
      this.flush();
    }
  }

  // ------------------------------------------------------------------ the end

  /** Send nothing after what was sent; turn new requests away. */
  finish(code: number, reason: string): void {
    this.isOpen = false;
    this.handlers.turnAway();
    this.dispatch(this.session.finish(this.now(), code, reason));
  }

  /** Close, with handlers that still run: they are given up. A later call shortens the limit. */
  startClosing(code: number, reason: string, timeout = Infinity): void {
    this.isOpen = false;
    this.handlers.giveUp("the connection was closed");
    this.dispatch(this.session.close(this.now(), code, reason, timeout));
    this.requests.settle();
  }

  /** Close once the handlers that run have ended, or have had most of the time. */
  async close(code: number, reason: string, timeout: number): Promise<Report> {
    const { session, handlers } = this;
    const by = this.now() + timeout;
    if (handlers.busy && !session.closing && !session.ended) {
      const { closeTimeout, closeProgressTimeout } = session.config;
      const limit = Math.min(timeout, closeTimeout);
      this.isOpen = false;
      handlers.turnAway();
      await new Promise<void>((resolve) => {
        const rest = Math.min(limit / 4, closeProgressTimeout);
        const timer = setTimeout(resolve, limit - rest);
        handlers.onIdle = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    if (!session.ended) this.startClosing(code, reason, Math.max(0, by - this.now()));
    return this.ended;
  }

  /** End at once, waiting for nothing. */
  abort(code: number, reason: string): void {
    this.dispatch(this.session.abort(this.now(), reason, code));
    this.flush();
  }

  /** Leave the session to the next page that opens its store. */
  keep(): void {
    if (!this.#store) throw new TypeError("a session without a store cannot be kept");
    this.dispatch(this.session.leave(this.now(), "kept for the next page"));
    this.flush();
  }
}
