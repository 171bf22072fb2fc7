/** What the deadlines of this package have in common: milliseconds of the driver's clock. */

/** Milliseconds by which a tick may be late before the lateness is taken for our own (LIVE-4). */
export const OVERSLEPT = 1000;
