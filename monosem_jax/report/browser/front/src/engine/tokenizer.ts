/**
 * Byte-level BPE as Hugging Face's `tokenizers` does it, with the ids of `monosem_jax/text/tokenizer.py`: special tokens in
 * a text are plain text, and surrogates without a partner become U+FFFD.
 */
import { merge, pairKey, type Merges } from "./merges.ts";
import type { TokenizerData } from "./model.ts";

// GPT-2's pieces. White space is Unicode's, of which JavaScript's \s lacks U+0085 and has U+FEFF too many.
const PIECES =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** The printable character that stands for each byte (the table of GPT-2). */
export function byteAlphabet(): string[] {
  const printable = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(printable(b) ? b : next++));
}

export class Tokenizer {
  private readonly ofByte: Int32Array;
  private readonly ids = new Map<string, number>();
  private readonly merges: Merges = { rank: new Map(), joined: [] };
  private readonly known = new Map<string, number[]>();
  private readonly bytes: (Uint8Array | null)[];

  constructor(private readonly data: TokenizerData) {
    const alphabet = byteAlphabet(), byte = new Map(alphabet.map((c, b) => [c, b]));
    data.vocab.forEach((name, id) => name !== null && this.ids.set(name, id));
    this.ofByte = Int32Array.from(alphabet, (c) => this.ids.get(c) ?? -1);
    for (let i = 0; i < data.merges.length; i += 3) {
      this.merges.rank.set(pairKey(data.merges[i]!, data.merges[i + 1]!), i / 3);
      this.merges.joined.push(data.merges[i + 2]!);
    }
    const special = new Set(data.special);
    this.bytes = data.vocab.map((name, id) => {
      if (name === null || special.has(id)) return null;
      const found = [...name].map((c) => byte.get(c));
      return found.includes(undefined) ? null : Uint8Array.from(found as number[]);
    });
  }

  /** The ids of a text, without BOS. */
  encode(text: string): number[] {
    let whole = text; // TextEncoder replaces surrogates without a partner
    if (this.data.normalizer) whole = whole.normalize(this.data.normalizer);
    if (this.data.add_prefix_space && whole && !whole.startsWith(" ")) whole = ` ${whole}`;
    const found: number[] = [];
    for (const piece of this.data.use_regex ? whole.match(PIECES) ?? [] : whole ? [whole] : []) {
      for (const id of this.piece(piece)) found.push(id);
    }
    return found;
  }

  /** The bytes of a token; null for a special token, and for an id without a token. */
  bytesOf(id: number): Uint8Array | null {
    return this.bytes[id] ?? null;
  }

  /** The name of a special token, and "" for an id without a token. */
  nameOf(id: number): string {
    return this.data.vocab[id] ?? "";
  }

  /** The text of tokens; bytes that are no character become U+FFFD. */
  decode(ids: ArrayLike<number>): string {
    const parts: number[] = [];
    for (let i = 0; i < ids.length; i++) for (const b of this.bytes[ids[i]!] ?? []) parts.push(b);
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(parts));
  }

  private piece(piece: string): number[] {
    const before = this.known.get(piece);
    if (before) return before;
    const bytes = new TextEncoder().encode(piece);
    let found: number[] | null = null;
    if (this.data.ignore_merges) {
      const whole = this.ids.get(byteNames(bytes));
      if (whole !== undefined) found = [whole];
    }
    found ??= merge(Int32Array.from(bytes, (b) => this.ofByte[b]!), this.merges);
    if (piece.length < 64 && this.known.size < 20_000) this.known.set(piece, found);
    return found;
  }
}

const ALPHABET = byteAlphabet();

function byteNames(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => ALPHABET[b]).join("");
}
