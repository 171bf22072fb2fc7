/** Payloads of calls that are too large for one entry, cut and put together again (CALL-5). */

import { Violation, violation } from "../errors.js";
import { CODE, type Entry, OVERHEAD, PIECE, type Payload } from "../frames.js";
import { pack, unpack } from "../pack.js";
import { payload as isPayload } from "../fields.js";

/** Most bytes of an entry; so every one fits, alone, any frame that a greeting may ask for. */
export const LARGEST_ENTRY = 3808;

/** Most bytes of a piece besides its data. */
export const PIECE_HEADER = 8;

/** Return the slices of a payload, packed. */
export function cut(payload: Payload): Entry[] {
  const packed = pack(payload);
  const length = LARGEST_ENTRY - PIECE_HEADER;
  const pieces: Entry[] = [];
  for (let offset = 0; offset < packed.length; offset += length) {
    pieces.push([PIECE, packed.subarray(offset, offset + length)]);
  }
  return pieces;
}

/** The peer's pieces, until the entry comes that they belong to. */
export class Pieces {
  /** Bytes held. */
  size = 0;
  /** Whether it stood still until the last link ended (CALL-46). */
  stoodStill = false;
  readonly #most: number;
  readonly #pieces: Uint8Array[] = [];

  constructor(maxMessage: number) {
    this.#most = maxMessage + OVERHEAD;
  }

  /** All of them, one behind the other. */
  get data(): Uint8Array {
    const data = new Uint8Array(this.size);
    let at = 0;
    for (const piece of this.#pieces) {
      data.set(piece, at);
      at += piece.length;
    }
    return data;
  }

  /** Keep a slice (CALL-25). */
  add(data: Uint8Array): void {
    if (this.size + data.length > this.#most) {
      throw violation("a call above the announced limit");
    }
    this.size += data.length;
    this.#pieces.push(data);
  }
}

/** Return the payload of an entry with these pieces before it (CALL-24). */
export function whole(payload: Payload | null, pieces: Pieces | null): Payload {
  if (payload !== null) {
    if (pieces) throw violation("pieces that belong to nothing");
    return payload;
  }
  let value: unknown;
  try {
    value = unpack(pieces!.data);
  } catch {
    // Whatever is wrong, the peer sent it: no pieces, too.
  }
  if (!isPayload(value)) {
    throw new Violation(CODE.MALFORMED, "pieces that make no payload"); // CALL-42
  }
  return value as Payload;
}
