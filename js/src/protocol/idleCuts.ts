/** How long a path lets a WebSocket be silent: learned from those that it cut (LIVE-8). */

/** A shorter silence before a cut is no sign of a time-out. Milliseconds. */
const LEAST_SILENCE = 1000;

/** So many WebSockets in a row must have been cut after about the same silence. */
const ALIKE = 3;

/** How much the longest of these silences may exceed the shortest. */
const SPREAD = 1.25;

export class IdleCuts {
  /** Milliseconds of silence after which the path cuts, as far as is known. */
  limit = Infinity;
  #silences: number[] = []; // of the newest WebSockets, all of which were cut

  /**
   * Take in that a WebSocket is gone; return whether that has taught a limit.
   *
   * @param silence How long this side had said nothing when it was cut; 0: it was not cut, or had
   *   been silent for as long before.
   */
  lost(silence: number): boolean {
    const silences = this.#silences;
    if (silence < LEAST_SILENCE) {
      this.#silences = [];
      return false;
    }
    silences.push(silence);
    if (silences.length < ALIKE) return false;
    const shortest = Math.min(...silences);
    if (Math.max(...silences) > shortest * SPREAD) {
      silences.shift();
      return false;
    }
    this.#silences = [];
    if (shortest >= this.limit) return false;
    this.limit = shortest;
    return true;
  }
}
