/** What may become of a store. `StoreFull` is an error of the protocol core. */

import { ReliableWSError } from "../protocol/errors.js";

/** Another tab has the store, or has taken it over. */
export class StoreInUse extends ReliableWSError {
  constructor(name: string) {
    super(
      "StoreInUse",
      `the store "${name}" is in use by another tab: close that one, or give \`wait: true\``,
    );
  }
}

/** The browser has no such database, has taken it away, or cannot write to it. */
export class StoreLost extends ReliableWSError {
  constructor(name: string, why: string, cause?: unknown) {
    super("StoreLost", `the store "${name}" is lost: ${why}`, { cause });
  }
}

/** A newer release of this library has written the store: this page is an old one. */
export class StoreTooNew extends ReliableWSError {
  constructor(name: string, cause?: unknown) {
    super("StoreTooNew", `a newer page has written the store "${name}": reload this one`, {
      cause,
    });
  }
}
