/** The limits and timeouts of a session, with their defaults. */

import { MAX_NUMBER, type Limits } from "./frames.js";

const KIB = 1024;
const MIB = 1024 * KIB;

/** Below this a transport's frame limit ends the session instead of being halved (PART-14). */
export const MIN_FRAME = 4 * KIB;

/** A peer that takes less could have every answer fail (LIMIT-1). */
export const MIN_MESSAGE = 1000;

/** A peer that announces a shorter idle time cannot keep us busy with heartbeats (LIVE-7). */
export const LEAST_IDLE = 1000;

/**
 * Limits and timeouts of a session. Times are in milliseconds, sizes in bytes.
 *
 * Each side has its own. The greeting tells the peer what it has to respect (protocol.md, sections
 * 8 and 13).
 */
export interface Config {
  /** The most time from opening a WebSocket to the end of the greeting. Default: 10,000. */
  openTimeout: number;
  /**
   * A WebSocket on which nothing arrived for so long is dropped. Each side sends something in every
   * third of it. A page announces no longer time than its server does: the server's heartbeats are
   * its clock while it is hidden. Default: 20,000.
   */
  idleTimeout: number;
  /**
   * A WebSocket on which a message in parts stands still for so long is dropped. It stands still
   * when neither 64 KiB of it nor its end have come. Default: 60,000.
   */
  partTimeout: number;
  /**
   * How long this side keeps a session after the last contact with the peer. A gap that is longer
   * than the shorter of both sides' values ends the session. Default: 120,000.
   */
  sessionTtl: number;
  /**
   * The same for a session with a store, which outlives its page or process: it is used instead of
   * `sessionTtl`, if it is longer. Default: 7 days.
   */
  storedTtl: number;
  /**
   * `close()` gives up when the peer has made no progress for so long. A WebSocket that died
   * unnoticed is dropped after `idleTimeout`; the rest of this time is for another one to bring the
   * end (CLOSE-23). Default: 30,000.
   */
  closeProgressTimeout: number;
  /**
   * `close()` gives up after so long in which nothing new arrived at the peer, though its
   * application makes progress. Default: 300,000.
   */
  closeTimeout: number;
  /** How many unconfirmed messages the peer may have in flight to this side. Default: 32,768. */
  windowMessages: number;
  /** How many bytes of them. Default: 4 MiB. */
  windowBytes: number;
  /**
   * How many accepted, unconfirmed messages this side holds before `send()` throws. Default:
   * `windowMessages`.
   */
  outboxMessages: number;
  /** How many bytes of them. Default: `windowBytes`. */
  outboxBytes: number;
  /** The largest WebSocket message that this side takes; at least 4096. Default: 1 MiB. */
  maxFrame: number;
  /**
   * The largest message that this side takes, at least 1000. A message larger than a frame travels
   * in parts. Default: 64 MiB.
   */
  maxMessage: number;
  /** How many requests the peer may have open at the same time. Default: 1024. */
  maxRequests: number;
  /**
   * How long an ack may wait for other frames to travel with, if nobody waits for it. Default: 25.
   */
  ackDelay: number;
  /** The most messages in one WebSocket message. Default: 1024. */
  batchMessages: number;
  /** The most bytes of several messages in one WebSocket message. Default: 64 KiB. */
  batchBytes: number;
}

/** The values of whoever gives none. */
export const DEFAULTS: Readonly<Config> = {
  openTimeout: 10_000,
  idleTimeout: 20_000,
  partTimeout: 60_000,
  sessionTtl: 120_000,
  storedTtl: 7 * 86_400_000,
  closeProgressTimeout: 30_000,
  closeTimeout: 300_000,
  windowMessages: 32_768,
  windowBytes: 4 * MIB,
  outboxMessages: 32_768,
  outboxBytes: 4 * MIB,
  maxFrame: MIB,
  maxMessage: 64 * MIB,
  maxRequests: 1024,
  ackDelay: 25,
  batchMessages: 1024,
  batchBytes: 64 * KIB,
};

const LEAST: Partial<Config> = { maxFrame: MIN_FRAME, maxMessage: MIN_MESSAGE };

/**
 * Return the defaults with some values changed. Fields that are `undefined`, and fields that
 * `Config` does not have, change nothing.
 *
 * @throws RangeError A value is out of range. The message names the field.
 */
export function configure(changes: Partial<Config> = {}): Readonly<Config> {
  const config: Config = { ...DEFAULTS };
  config.outboxMessages = changes.windowMessages ?? config.outboxMessages;
  config.outboxBytes = changes.windowBytes ?? config.outboxBytes;
  for (const name of Object.keys(DEFAULTS) as (keyof Config)[]) {
    const value = changes[name];
    if (value === undefined) continue;
    const least = LEAST[name] ?? 1;
    if (!(value >= least && value <= MAX_NUMBER && Number.isInteger(value))) {
      throw new RangeError(`config.${name} must be an integer from ${least} on, not ${value}`);
    }
    config[name] = value;
  }
  return config;
}

/** Return what the greeting says, for a transport that takes `maxFrame` bytes (LIMIT-1). */
export function limitsOf(config: Config, maxFrame: number, idle = config.idleTimeout): Limits {
  return [
    config.windowMessages,
    config.windowBytes,
    maxFrame,
    config.maxMessage,
    config.maxRequests,
    Math.max(1, Math.floor(idle)),
    config.sessionTtl,
  ];
}
