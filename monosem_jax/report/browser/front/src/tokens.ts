// Tokens as they are shown in a context: characters put together from the bytes of several tokens, white space made
// visible, the direction of the text, and the part of a long context around a token. Pure functions.

import { lengthOf } from "./bytes.ts";
import { visible } from "./text.ts";

export interface Segment {
  text: string;
  blank: boolean; // a symbol for white space, or for a token without text
}

/** What is drawn as one span: the text of one token, or a character whose bytes lie in several tokens. */
export interface Piece {
  segments: Segment[];
  tokens: number[]; // places of the tokens that it belongs to, ascending
  shared: boolean; // a character of several tokens
}

const BYTE = /\\x([89a-f][0-9a-f])/g; // how tokens write bytes that are no characters by themselves
const LONGEST = 400; // characters of a piece that are shown

interface Item {
  token: number;
  text: string; // as the token has it
  byte: number; // -1: text
}

function items(token: string, place: number): Item[] {
  const found: Item[] = [];
  let end = 0;
  for (const match of token.matchAll(BYTE)) {
    if (match.index > end) found.push({ token: place, text: token.slice(end, match.index), byte: -1 });
    found.push({ token: place, text: match[0], byte: parseInt(match[1] ?? "", 16) });
    end = match.index + match[0].length;
  }
  if (end < token.length || token === "") found.push({ token: place, text: token.slice(end), byte: -1 });
  return found;
}

/** The character whose bytes begin at item `at`, and how many they are, if they lie in two tokens or more. One that lies
 * in a single token would have been decoded there: such a token spells the escapes out. */
function character(all: Item[], at: number): { text: string; n: number } | null {
  const n = lengthOf(all[at]?.byte ?? -1);
  const bytes = all.slice(at, at + n);
  if (n === 0 || bytes.length < n || bytes.some((b) => b.byte < 0) || bytes[0]?.token === bytes[n - 1]?.token) return null;
  try {
    return { text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes, (b) => b.byte)), n };
  } catch {
    return null;
  }
}

/** The tokens of a context as pieces, in the order of the text. Every token belongs to at least one. */
export function pieces(tokens: readonly string[]): Piece[] {
  const all = tokens.flatMap(items);
  const found: Piece[] = [];
  let text = "";
  const flush = (token: number) => {
    if (text !== "") found.push({ segments: segments(text, tokens[token]), tokens: [token], shared: false });
    text = "";
  };
  for (let i = 0; i < all.length; ) {
    const item = all[i] as Item;
    const made = item.byte < 0 ? null : character(all, i);
    if (made) {
      flush(item.token);
      const parts = all.slice(i, i + made.n).map((b) => b.token);
      found.push({ segments: segments(made.text), tokens: [...new Set(parts)], shared: true });
      i += made.n;
    } else {
      text += item.text;
      i += 1;
    }
    const next = all[i];
    if (next && next.token === item.token) continue;
    if (item.text === "" && text === "") found.push({ segments: [{ text: "∅", blank: true }], tokens: [item.token], shared: false });
    flush(item.token);
  }
  return found;
}

/** The text of (a part of) a token inside a context: single spaces stay unless they are all of the token, other white
 * space is shown by symbols. */
export function segments(text: string, token = text): Segment[] {
  const cut = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  if (token === " ") return [{ text: "␣", blank: true }];
  return cut
    .split(/( {2,}|[\n\t\r]+)/)
    .filter((part) => part !== "")
    .map((part) => {
      if (/^ {2,}$/.test(part)) return { text: part.length > 4 ? `␣×${part.length}` : "␣".repeat(part.length), blank: true };
      return { text: visible(part), blank: /^[\n\t\r]+$/.test(part) };
    });
}

export const textOf = (all: readonly Piece[]): string => all.map((p) => p.segments.map((s) => s.text).join("")).join("");

const LETTER = /\p{L}/gu;
const RIGHT_TO_LEFT = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}\p{Script=Samaritan}\p{Script=Mandaic}]/u;
const SPECIAL = /<[a-z_|]+>/g; // <bos> and the like are no part of the text

/** The direction of a text: right to left where a third or more of its letters are of such a script. Not half of them,
 * since markup, placeholders and names in such texts are Latin. */
export function direction(text: string): "ltr" | "rtl" {
  if (!/[\u0590-\uffff]/.test(text)) return "ltr"; // most text
  const letters = text.replace(SPECIAL, "").match(LETTER) ?? [];
  const rtl = letters.filter((c) => RIGHT_TO_LEFT.test(c)).length;
  return rtl > 0 && 3 * rtl >= letters.length ? "rtl" : "ltr";
}

/** The part [from, to) of `n` pieces that is shown around piece `peak`: all of them where few would be left out. */
export function windowAround(n: number, peak: number, before = 28, after = 12): [number, number] {
  if (n <= before + after + 6) return [0, n];
  const from = Math.max(0, Math.min(peak - before, n - before - after - 1));
  return [from, Math.min(n, Math.max(peak + after + 1, from + before + after + 1))];
}
