// A store for tests of the core: it does what it is told, and has what the next process begins
// with.
import { StoredSession } from "../../dist/protocol/snapshot.js";

/** What the wall clock says when the monotonic one begins. */
export const WALL = 1_700_000_000_000;

export class DirectedStore {
  /**
   * `"keep"`: at once. `"wait"`: it keeps nothing, and says nothing. `"pretend"`: it says that it
   * keeps everything, and keeps nothing.
   */
  does = "keep";
  /** What the next process finds. */
  kept = null;
  #pending = null;

  /** Give it what changed, as often as it takes something; return the events. */
  give(session, now) {
    const events = [];
    for (let change; (change = session.takeChange(now, WALL + now)); ) {
      this.#pending = change;
      if (this.does === "wait") break;
      events.push(...this.#settle(session, now, this.does));
    }
    return events;
  }

  /** Do this from here on; `"lack room"`: refuse what waits, and keep what comes then. */
  direct(session, does, now) {
    const events = this.#pending ? this.#settle(session, now, does) : [];
    this.does = does === "lack room" ? "keep" : does;
    return [...events, ...this.give(session, now)];
  }

  #settle(session, now, does) {
    const change = this.#pending;
    this.#pending = null;
    if (does === "lack room") return session.unkept(now);
    if (does === "wait") this.#pending = change;
    if (does === "wait") return [];
    if (does === "keep") this.#keep(structuredClone(change)); // a store keeps copies
    return session.kept(now);
  }

  #keep({ session, facts, messages, confirmed, entries, received }) {
    const { messages: oldMessages = [], entries: oldEntries = [] } = this.kept ?? {};
    const newer = (runs, run, upto) =>
      [...runs, ...(run ? [run] : [])].filter(({ last }) => last > upto);
    this.kept = {
      session,
      facts,
      messages: newer(oldMessages, messages, confirmed),
      entries: newer(oldEntries, entries, received),
    };
  }

  /** What the next process begins with; `null` if nothing was kept. From there on it keeps. */
  restart() {
    this.does = "keep";
    this.#pending = null;
    return this.kept && new StoredSession(structuredClone(this.kept));
  }
}
