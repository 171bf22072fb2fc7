/**
 * A store in the browser's IndexedDB: what a page has accepted survives its reload, the crash of its
 * tab and of the browser.
 *
 * Theory of operation. A database has one row for each run of messages, and a small one for each
 * session. A change is one transaction, and it is kept when that is complete. One page has the
 * store at a time: it holds a Web Lock. A lock can be lost without a word (the page was in the
 * back/forward cache, or another one has stolen it), so each page that takes the store writes a
 * token of its own, and every transaction looks whether that is still there.
 */

import { openDB, type DBSchema, type IDBPDatabase, type IDBPTransaction } from "idb";

import { ReliableWSError, StoreFull } from "../protocol/errors.js";
import type { Change, Run, Stored } from "../protocol/stored.js";
import type { HeldStore, Store } from "../storePort.js";
import { StoreInUse, StoreLost, StoreTooNew } from "./errors.js";
import { Lock } from "./lock.js";

export { StoreInUse, StoreLost, StoreTooNew };

/** How a store is written. */
export interface IndexedDBOptions {
  /**
   * - `"relaxed"`, the default: what is accepted survives the tab and the browser. A power cut may
   *   lose the last moments.
   * - `"strict"`: it survives a power cut, too, as far as the browser and the disk keep their word.
   *   A commit takes longer: 1.9 instead of 1.3 ms in Chromium, 6.5 instead of 1.0 ms in Firefox,
   *   in our measurements.
   */
  durability?: "relaxed" | "strict";
  /**
   * Whether a page waits while another tab has the store, and takes over when that one goes. Default:
   * `connect()` throws `StoreInUse`.
   */
  wait?: boolean;
  /**
   * Whether the browser is asked, once, not to clear the database when the disk is full
   * (`navigator.storage.persist()`). Firefox asks the user. Default: true.
   */
  persist?: boolean;
}

const VERSION = 1;

/** Messages and entries of calls are kept in rows of the same form. */
const MESSAGES = 0;
const ENTRIES = 1;

/** Something that somebody waits for. */
interface Gate {
  promise: Promise<void>;
  open: () => void;
  fail: (error: unknown) => void;
}

/** So many sessions that have ended are kept, for those who ask what became of their messages. */
const MAX_ENDED = 16;

type Row = Pick<Change, "session" | "facts" | "until">;

interface Tables extends DBSchema {
  /** `token`: of the page that has the store. `asked`: the browser was asked to keep it. */
  meta: { key: string; value: string | true };
  sessions: { key: IDBValidKey; value: Row };
  /** By session, kind, and the number of the last one in it. */
  runs: { key: IDBValidKey; value: Run };
}

const NAMES = ["meta", "sessions", "runs"] as const;

type Transaction = IDBPTransaction<Tables, typeof NAMES, "readwrite">;

/**
 * Return a store in the database `reliable-ws:<name>` of this origin. A connection opens it.
 *
 * A store has one session, and so belongs to one connection at a time: give each connection of a page
 * a name of its own. The next page that connects with that name goes on with the session.
 *
 * @throws TypeError The name is empty.
 */
export function indexedDB(name: string, options: IndexedDBOptions = {}): Store {
  if (!name) throw new TypeError('indexedDB(name): give the store a name, as in "orders"');
  return {
    async open(signal) {
      if (!globalThis.indexedDB) throw new StoreLost(name, "this runtime has no IndexedDB");
      const held = new HeldDatabase(name, options);
      await held.open(signal);
      return held;
    },
  };
}

class HeldDatabase implements HeldStore {
  sessions: readonly Stored[] = [];
  #lock: Lock;
  #token = "";
  #db: IDBPDatabase<Tables> | undefined;
  #transaction: Transaction | undefined;
  /** What is being kept. */
  #work: Promise<unknown> = Promise.resolve();
  /** While the page is in the back/forward cache: what waits for its return. */
  #away: Gate | undefined;
  #regaining: Promise<void> | undefined;

  constructor(
    readonly name: string,
    readonly options: IndexedDBOptions,
  ) {
    this.#lock = new Lock(name);
    globalThis.addEventListener("pagehide", this.#hide);
  }

  async open(signal = new AbortController().signal): Promise<void> {
    try {
      await this.#lock.take(this.options.wait ? signal : undefined);
      this.#token = crypto.randomUUID();
      this.sessions = await this.#attempt(() => this.#read());
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  keep(change: Change): Promise<void> {
    const work = this.#attempt(() => this.#write(change));
    this.#work = work.catch(() => {}); // the caller is told
    return work;
  }

  /** A page tells of its return twice (resume, pageshow): the second call joins the first. */
  regain(): Promise<void> {
    return (this.#regaining ??= this.#regain().finally(() => (this.#regaining = undefined)));
  }

  async #regain(): Promise<void> {
    const away = this.#away;
    try {
      await this.#lock.take();
      if (away) {
        const transaction = await this.#begin();
        await Promise.all([this.#look(transaction), transaction.done]);
      }
      this.#away = undefined;
      away?.open();
    } catch (error) {
      away?.fail(error);
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#work;
    globalThis.removeEventListener("pagehide", this.#hide);
    this.#forgetDatabase();
    await this.#lock.free();
  }

  /**
   * The page goes into the back/forward cache: let others have the store. An open transaction would
   * stop them, in WebKit for as long as the page is there. So it is undone, and done again later.
   */
  #hide = ({ persisted }: { persisted?: boolean }): void => {
    if (!persisted) return;
    this.#away ??= makeGate();
    this.#transaction?.abort();
    void this.#lock.free();
  };

  /** Do some work. If the database is gone under it, open that again, once. */
  async #attempt<T>(work: () => Promise<T>): Promise<T> {
    for (let failures = 0; ; ) {
      await this.#away?.promise;
      try {
        return await work();
      } catch (error) {
        if (error instanceof ReliableWSError) throw error;
        const { name, message } = error as DOMException;
        if (name === "QuotaExceededError") throw new StoreFull();
        if (name === "VersionError") throw new StoreTooNew(this.name, error);
        if (this.#away) continue;
        this.#forgetDatabase();
        if (failures++) throw new StoreLost(this.name, message, error);
      }
    }
  }

  #forgetDatabase = (): void => {
    this.#db?.close();
    this.#db = undefined;
  };

  async #begin(): Promise<Transaction> {
    this.#db ??= await openDB<Tables>(`reliable-ws:${this.name}`, VERSION, {
      upgrade(db) {
        db.createObjectStore("meta");
        db.createObjectStore("sessions", { keyPath: "session" });
        db.createObjectStore("runs");
      },
      terminated: this.#forgetDatabase,
    });
    const { durability = "relaxed" } = this.options;
    const transaction = this.#db.transaction(NAMES, "readwrite", { durability });
    const over = () => (this.#transaction = undefined);
    transaction.done.then(over, over);
    return (this.#transaction = transaction);
  }

  /** Let a transaction come to nothing unless the store is still this page's. */
  async #look(transaction: Transaction): Promise<void> {
    const token = await transaction.objectStore("meta").get("token");
    if (token === this.#token) return;
    transaction.abort();
    throw token
      ? new StoreInUse(this.name)
      : new StoreLost(this.name, "the browser has cleared the database");
  }

  async #write({ session, facts, messages, entries, confirmed, received, until }: Change) {
    const transaction = await this.#begin();
    const runs = transaction.objectStore("runs");
    const work: Promise<unknown>[] = [
      this.#look(transaction),
      transaction.objectStore("sessions").put({ session, facts, until }),
      runs.delete(runsOf(session, MESSAGES, confirmed)),
      runs.delete(runsOf(session, ENTRIES, received)),
    ];
    if (messages) work.push(runs.put(messages, [keyOf(session), MESSAGES, messages.last]));
    if (entries) work.push(runs.put(entries, [keyOf(session), ENTRIES, entries.last]));
    if (until !== null) work.push(forgetEnded(transaction));
    await Promise.all([...work, transaction.done]);
  }

  /** Read everything, and note whose the store is from now on. */
  async #read(): Promise<Stored[]> {
    const transaction = await this.#begin();
    const meta = transaction.objectStore("meta");
    const asks = this.options.persist !== false;
    const [stored, asked] = await Promise.all([
      forgetEnded(transaction).then((rows) => Promise.all(rows.map(read(transaction)))),
      meta.get("asked"),
      asks && meta.put(true, "asked"),
      meta.put(this.#token, "token"),
      transaction.done,
    ]);
    // The answer changes nothing. Firefox waits with it until the user has decided.
    if (asks && !asked) navigator.storage?.persist?.().catch(() => {});
    return stored;
  }
}

function makeGate(): Gate {
  const gate = {} as Gate;
  gate.promise = new Promise((open, fail) => Object.assign(gate, { open, fail }));
  gate.promise.catch(() => {}); // those who wait are told
  return gate;
}

/** The id of a session, as a key: it never lies in memory that threads share. */
const keyOf = (session: Uint8Array) => session as Uint8Array<ArrayBuffer>;

/** The keys of a session's runs of one kind, up to the one that ends with `last`. */
const runsOf = (session: Uint8Array, kind: number, last = Infinity) =>
  IDBKeyRange.bound([keyOf(session), kind], [keyOf(session), kind, last]);

/** What reads a session. */
const read = (transaction: Transaction) => async (row: Row): Promise<Stored> => {
  const runs = transaction.objectStore("runs");
  const [messages, entries] = await Promise.all([
    runs.getAll(runsOf(row.session, MESSAGES)),
    runs.getAll(runsOf(row.session, ENTRIES)),
  ]);
  return { ...row, messages, entries };
};

/** Delete the sessions that have ended, unless somebody may ask for them. Return the others. */
async function forgetEnded(transaction: Transaction): Promise<Row[]> {
  const sessions = transaction.objectStore("sessions");
  const runs = transaction.objectStore("runs");
  const rows = await sessions.getAll();
  rows.sort((one, other) => (other.until ?? Infinity) - (one.until ?? Infinity));
  const kept: Row[] = [];
  for (const row of rows) {
    const { session, until } = row;
    const messages = runsOf(session, MESSAGES);
    const inTime = until === null || (until > Date.now() && kept.length < MAX_ENDED);
    if (inTime && (until === null || (await runs.count(messages)))) {
      kept.unshift(row); // the newest one last
    } else {
      await Promise.all([
        sessions.delete(keyOf(session)),
        runs.delete(messages),
        runs.delete(runsOf(session, ENTRIES)),
      ]);
    }
  }
  return kept;
}
