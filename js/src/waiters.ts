/** Call `listener` when the signal is aborted, until the function that this returns is called. */
export function onAbort(signal: AbortSignal | undefined, listener: () => void): () => void {
  signal?.addEventListener("abort", listener);
  return () => signal?.removeEventListener("abort", listener);
}

/** Promises that wait until a growing number has reached theirs. */
export class Thresholds {
  // In order of their numbers: nearly every wait is for a higher number than the one before.
  #waiting: { number: number; resolve: () => void; reject: (error: unknown) => void }[] = [];

  /** Return a promise that is resolved when `number` is reached. */
  wait(number: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiting = this.#waiting;
      let at = waiting.length;
      while (at && waiting[at - 1]!.number > number) at -= 1;
      waiting.splice(at, 0, { number, resolve, reject });
    });
  }

  /** Resolve those that wait for `number` or less. */
  reach(number: number): void {
    const waiting = this.#waiting;
    let count = 0;
    while (count < waiting.length && waiting[count]!.number <= number) count += 1;
    for (const { resolve } of waiting.splice(0, count)) resolve();
  }

  /** End the wait of those that wait for more than `above`, as `error` says of each number. */
  settle(error: (number: number) => unknown, above = 0): void {
    const kept = this.#waiting.filter(({ number }) => number <= above);
    const over = this.#waiting.slice(kept.length);
    this.#waiting = kept;
    for (const { number, resolve, reject } of over) {
      const why = error(number);
      if (why) reject(why);
      else resolve();
    }
  }
}
