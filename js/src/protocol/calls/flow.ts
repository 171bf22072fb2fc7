/**
 * The streams that we read: items that came, and credit for more (CALL-7).
 *
 * Theory of operation. The window of messages does not bound items of streams: each stream has a
 * credit of its own, in bytes. A request for a stream grants the first credit. The driver grants
 * more as the application reads (`grant` has the total since the beginning, so a credit that comes
 * twice does no harm). The peer may send items while what it has sent is below the total. So it can
 * exceed the credit by one item, and `count` accepts that.
 *
 * Credits are entries in the queue of calls, and the peer acks them like all entries. At most
 * `CREDITS` of them are unacked. The others wait, one for each stream: a newer total replaces an
 * older one.
 */

import { CREDIT, type Entry } from "../frames.js";

/** Most credits on their way. The rest wait, so a peer that acks nothing cannot make them grow. */
const CREDITS = 64;

export class Streams {
  /** Request -> bytes of items in all that are granted, and that came. */
  readonly #streams = new Map<number, { granted: number; got: number }>();
  #sent: number[] = []; // numbers of credits not received yet, ascending
  readonly #owed = new Set<number>(); // requests whose credit waits, in order

  /** Let items come. */
  begin(request: number, credit: number): void {
    this.#streams.set(request, { granted: credit, got: 0 });
  }

  /** Forget a request. */
  end(request: number): void {
    this.#streams.delete(request);
    this.#owed.delete(request);
  }

  /** Owe the peer credit for so many bytes in all. */
  grant(request: number, total: number): void {
    const stream = this.#streams.get(request);
    if (stream && total > stream.granted) {
      stream.granted = total;
      this.#owed.add(request);
    }
  }

  /** Count an item; `false` if there was no credit for it. */
  count(request: number, weight: number): boolean {
    const stream = this.#streams.get(request);
    if (!stream || stream.got >= stream.granted) return false;
    stream.got += weight;
    return true;
  }

  /** Queue what is owed and may be sent now. `put` returns the number of the entry, or 0. */
  send(put: (entry: Entry) => number): void {
    for (const request of this.#owed) {
      if (this.#sent.length >= CREDITS) return;
      this.#owed.delete(request);
      const number = put([CREDIT, request, this.#streams.get(request)!.granted]);
      if (number) this.#sent.push(number);
    }
  }

  /** Note what the peer has received. */
  release(received: number): void {
    this.#sent = this.#sent.filter((number) => number > received);
  }

  /** Return each request with the credit that is left of what it was granted. */
  room(): [request: number, credit: number][] {
    return [...this.#streams].map(([request, { granted, got }]) => [request, granted - got]);
  }

  /** Send no more credit. */
  stop(): void {
    this.#owed.clear();
    this.#sent = [];
  }
}
