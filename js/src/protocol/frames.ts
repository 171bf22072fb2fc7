/**
 * The nouns on the wire: one array for each frame, as it travels (protocol.md, section 3).
 *
 * A frame is an array whose first element is its type. Types are ASCII letters, so that a hex dump
 * can be read; every letter has the *critical* bit 0x40 set (FRAME-3).
 */

/** The one protocol version that this library speaks (HELLO-10). */
export const VERSION = 1;

/** The WebSocket subprotocol that announces it (LINK-1). */
export const SUBPROTOCOL = "reliable-ws.v1";

/** Highest number: exact in floating point (NUM-3). */
export const MAX_NUMBER = Number.MAX_SAFE_INTEGER;

/** A frame type with this bit set must be understood; without it, it may be skipped (FRAME-3). */
export const CRITICAL = 0x40;

/** What every message weighs besides its content: the largest msgpack header (WINDOW-2). */
export const OVERHEAD = 6;

/** Most bytes of a method's name, or of a fault's code (CALL-14). */
export const LONGEST_NAME = 255;

/** Most bytes of a fault's message (CALL-14). */
export const LONGEST_WORDS = 1000;

/** The one extension code: a payload that is neither text nor bytes, packed on its own (MSG-3). */
export const EXT_VALUE = 1;

/** A value that a payload codec has packed: a message that is neither text nor bytes (MSG-3). */
export class Packed {
  constructor(readonly data: Uint8Array) {}
}

/** One message as it travels: text, bytes, or a packed value (MSG-2). */
export type Payload = string | Uint8Array | Packed;

// Frames (FRAME-4).
export const ACK = 0x41;
export const CALLS = 0x43;
export const CALL_ACK = 0x4b;
export const DONE = 0x44;
export const FINISH = 0x46;
export const HELLO = 0x48;
export const MESSAGES = 0x4d;
export const PART = 0x50;
export const PARTIAL = 0x25; // not critical: a peer that does not know it skips it
export const REFUSE = 0x58;
export const STOP = 0x53;
export const WANT = 0x4e;
export const WELCOME = 0x57;

// Entries of Calls (CALL-2).
export const CANCEL = 0x43;
export const CREDIT = 0x47;
export const FAULT = 0x45;
export const ITEM = 0x49;
export const PIECE = 0x50;
export const REPLY = 0x52;
export const REQUEST = 0x51;
export const VOID = 0x56;

/** What a Part is a slice of (PART-2). */
export const KIND_BYTES = 0;
export const KIND_TEXT = 1;
export const KIND_VALUE = 2;

/** First and last number of a run, both included. */
export type Range = [first: number, last: number];

/** What a side says of the direction that it *receives* (COUNT-1). */
export type Counters = [
  received: number,
  confirmed: number,
  handed: number,
  stopped: boolean,
  ranges: Range[],
];

/** What a side accepts, as it says in its greeting (LIMIT-1). */
export type Limits = [
  windowMessages: number,
  windowBytes: number,
  maxFrame: number,
  maxMessage: number,
  maxRequests: number,
  idle: number,
  ttl: number,
];

/** Where a side stands when a link begins: both directions (HELLO-4). */
export type Position = [counters: Counters, sent: number, first: number, partial: number];

/** Where a side stands with calls when a link begins (CALL-4). */
export type CallPosition = [received: number, sent: number, first: number];

/** The last of its direction, numbered like a message (CLOSE-1). */
export type Finish = [type: typeof FINISH, number: number, code: number, reason: string];

/** A slice of one message that is too large for one frame (PART-1). */
export type Part = [
  type: typeof PART,
  number: number,
  offset: number,
  total: number,
  kind: number,
  data: Uint8Array,
];

/** The acceptor's answer to Hello: the link is open (HELLO-6). */
export type Welcome = [
  type: typeof WELCOME,
  version: number,
  resumed: boolean,
  incarnation: number,
  position: Position,
  limits: Limits,
  calls: CallPosition | null,
  codec: string | null,
];

/** No (more) of this session here, and why (REFUSE-1). */
export type Refuse = [
  type: typeof REFUSE,
  code: number,
  reason: string,
  retry: number,
  counters: Counters | null,
];

/** One entry of a run of calls. The number of a Request is its id (CALL-15). */
export type Entry =
  | [type: typeof REQUEST, method: string, timeout: number | null, credit: number, Payload | null]
  | [type: typeof REPLY, request: number, Payload | null]
  | [type: typeof FAULT, request: number, code: string, message: string, Payload | null]
  | [type: typeof ITEM, request: number, Payload | null]
  | [type: typeof CANCEL, request: number]
  | [type: typeof CREDIT, request: number, total: number]
  | [type: typeof PIECE, data: Uint8Array]
  | [type: typeof VOID];

/** A frame that an acceptor may say; the codec has checked every field. */
export type Frame =
  | Welcome
  | Refuse
  | Part
  | Finish
  /** A run: payload i (from 0) has the number `first + i` (MSG-1). */
  | [type: typeof MESSAGES, first: number, payloads: Payload[]]
  /** How far the sender of it has come with what it receives (ACK-1). */
  | [type: typeof ACK, received: number, confirmed: number]
  | [type: typeof WANT, number: number]
  | [type: typeof PARTIAL, number: number, held: number]
  | [type: typeof STOP, counters: Counters]
  | [type: typeof DONE, counters: Counters]
  | [type: typeof CALLS, first: number, entries: Entry[]]
  | [type: typeof CALL_ACK, received: number];

/** Codes that this side says or looks for (section 12, CODE-1). Peers may send others. */
export const CODE = {
  FINISHED: 1000,
  GOING_AWAY: 1001,
  TOO_BIG: 1009,
  RESTART: 1012,
  MALFORMED: 4400,
  UNKNOWN: 4404,
  SUPERSEDED: 4409,
  ENDED: 4410,
  CODEC: 4415,
  VIOLATION: 4422,
  VERSION: 4426,
  ABORTED: 4499,
  SILENT: 4509,
} as const;

/** Whether a link that ended with this code may be followed by another (CODE-2). */
export const mayResume = (code: number | null) => code === null || code < 4400 || code > 4499;
