/** Text as UTF-8. */

/** The one encoder. */
export const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Return the text that these bytes are. Throws if they are not UTF-8. */
export const decodeText = (data: Uint8Array): string => decoder.decode(data);

/** Return how many bytes a text takes as UTF-8. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 0x7f) bytes += unit > 0x7ff ? 2 : 1;
    if (unit >= 0xd800 && unit < 0xdc00) i++; // two units take four bytes
  }
  return bytes;
}

/** Return as much of a text of ours as fits so many bytes. */
export function clipped(text: string, longest: number): string {
  const bytes = new Uint8Array(longest);
  return text.slice(0, encoder.encodeInto(text.toWellFormed(), bytes).read);
}
