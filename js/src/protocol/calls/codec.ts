/** The entries of Calls: which fields each has (protocol.md, CALL-2). */

import { type Check, fields, natural, octets, orNull, payload, positive, text } from "../fields.js";
import {
  CANCEL,
  CREDIT,
  FAULT,
  ITEM,
  LONGEST_NAME,
  LONGEST_WORDS,
  PIECE,
  REPLY,
  REQUEST,
  VOID,
} from "../frames.js";

/** A payload, or nothing: then pieces came before (CALL-14). */
const content = orNull(payload);
const name = text(LONGEST_NAME);
const aboutRequest = fields(natural, positive, content);

const ENTRIES: { [type: number]: Check } = {
  [CANCEL]: fields(natural, positive),
  [CREDIT]: fields(natural, positive, natural),
  [FAULT]: fields(natural, positive, name, text(LONGEST_WORDS), content),
  [ITEM]: aboutRequest,
  [PIECE]: fields(natural, octets),
  [REPLY]: aboutRequest,
  [REQUEST]: fields(natural, name, orNull(natural), natural, content),
  [VOID]: fields(natural),
};

/** An entry, every field checked; of any size (CALL-23). */
export const entry: Check = (value) =>
  Array.isArray(value) && typeof value[0] === "number" && !!ENTRIES[value[0]]?.(value);
