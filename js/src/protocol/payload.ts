/**
 * A message between the application's value and what travels (protocol.md, section 5).
 *
 * Text and bytes travel as they are. Any other value is packed on its own by a codec, so that a
 * link never has to understand it: it is decoded only when it is handed over.
 */

import { NotSerializable, PayloadError } from "./errors.js";
import { OVERHEAD, Packed, type Payload } from "./frames.js";
import { utf8Length } from "./utf8.js";

/**
 * How values that are neither strings nor `Uint8Array`s become bytes, and back.
 *
 * It packs messages, and what calls carry: the parameters of a request, the result of a handler,
 * each item of a stream, and the data of an error. Both sides need the same codec, so each greets
 * with its name (HELLO-18). A peer whose codec has another name is refused (4415).
 */
export interface PayloadCodec {
  /** 1 to 32 visible ASCII characters; `msgpack` for plain msgpack. */
  readonly name: string;
  /** Return the value as bytes. Throws anything if the value cannot be sent. */
  encode(value: unknown): Uint8Array;
  /** Return the value again. Throws anything if it is none, or too much of one (MSG-6). */
  decode(data: Uint8Array): unknown;
}

const NIL = 0xc0;

/** The codec of whoever gives none. It knows one value: nothing, which is msgpack's nil. */
export const NO_CODEC: PayloadCodec = {
  name: "msgpack",
  encode(value) {
    if (value === null || value === undefined) return Uint8Array.of(NIL);
    throw new TypeError(
      "without a codec only strings and Uint8Arrays can be sent: " +
        'give connect() `codec: msgpack` from "reliable-ws/msgpack"',
    );
  },
  decode(data) {
    if (data.length === 1 && data[0] === NIL) return null;
    throw new TypeError('give connect() `codec: msgpack` from "reliable-ws/msgpack" to read it');
  },
};

/**
 * Return what travels for a value. Nothing mutable is kept: what the caller changes later is not
 * sent. `ArrayBuffer`s and views of one are bytes.
 *
 * @throws NotSerializable The codec cannot pack it, or a string has a lone surrogate.
 */
export function seal(value: unknown, codec: PayloadCodec): Payload {
  if (typeof value === "string") {
    if (!value.isWellFormed()) throw new NotSerializable("a string with a lone surrogate");
    return value;
  }
  const bytes = bytesOf(value);
  if (bytes) return bytes.slice();
  try {
    return new Packed(codec.encode(value));
  } catch (error) {
    throw new NotSerializable((error as Error).message, { cause: error });
  }
}

/** Return the bytes that a value is, or `null`. */
export function bytesOf(value: unknown): Uint8Array | null {
  if (value instanceof Uint8Array) return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (!ArrayBuffer.isView(value)) return null;
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

/**
 * Return the application's value.
 *
 * @throws PayloadError The codec cannot unpack it (MSG-4). It has the message's `number`.
 */
export function openPayload(payload: Payload, number: number, codec: PayloadCodec): unknown {
  if (!(payload instanceof Packed)) return payload;
  try {
    return codec.decode(payload.data);
  } catch (error) {
    throw new PayloadError(number, payload.data, error);
  }
}

/** Return what a payload weighs in windows and credits (WINDOW-2). */
export function weightOf(payload: Payload): number {
  if (typeof payload === "string") return utf8Length(payload) + OVERHEAD;
  return (payload instanceof Packed ? payload.data : payload).length + OVERHEAD;
}
