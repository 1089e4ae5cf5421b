// Tokens as pieces of text: tokens whose bytes make one character together are one piece.

import type { Tokenizer } from "../../engine/tokenizer.ts";
import { visible } from "../../text.ts";

export interface Piece {
  tokens: number[]; // places in the text
  text: string; // as it is shown
  start: boolean; // the token that begins a context
}

/** How many bytes of a character are missing after `bytes`, when `missing` were before. */
function missingAfter(bytes: Uint8Array, missing: number): number {
  for (const b of bytes) {
    if (missing && b >= 0x80 && b < 0xc0) missing--;
    else missing = b >= 0xf0 ? 3 : b >= 0xe0 ? 2 : b >= 0xc0 ? 1 : 0;
  }
  return missing;
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The text of bytes; those that are no character are shown as \xNN. */
export function textOfBytes(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch {
    let text = "";
    for (let i = 0; i < bytes.length; ) {
      const length = [1, 2, 3, 4].find((n) => i + n <= bytes.length && isText(bytes.subarray(i, i + n)));
      text += length ? strict.decode(bytes.subarray(i, i + length)) : `\\x${bytes[i]!.toString(16).padStart(2, "0")}`;
      i += length ?? 1;
    }
    return text;
  }
}

function isText(bytes: Uint8Array): boolean {
  try {
    return strict.decode(bytes).length > 0;
  } catch {
    return false;
  }
}

/** The pieces of tokens `ids`. */
export function pieces(tokenizer: Tokenizer, ids: ArrayLike<number>): Piece[] {
  const found: Piece[] = [];
  let places: number[] = [], bytes: number[] = [], missing = 0;
  const end = () => {
    if (places.length) found.push({ tokens: places, text: visible(textOfBytes(Uint8Array.from(bytes))), start: false });
    [places, bytes, missing] = [[], [], 0];
  };
  for (let i = 0; i < ids.length; i++) {
    const own = tokenizer.bytesOf(ids[i]!);
    if (!own) {
      end();
      found.push({ tokens: [i], text: "", start: true });
      continue;
    }
    places.push(i);
    bytes.push(...own);
    missing = missingAfter(own, missing);
    if (!missing) end();
  }
  end();
  return found;
}

/** One token by itself: its text, or its bytes where they are no text. */
export function tokenText(tokenizer: Tokenizer, id: number): string {
  const bytes = tokenizer.bytesOf(id);
  return bytes ? textOfBytes(bytes) : tokenizer.nameOf(id);
}
