// Bytes at the ends of a token that are no character by themselves: what they begin or continue. Pure functions.

export interface Fragment {
  text: string; // as the token has it
  bytes?: number[]; // not for text
  begins: boolean; // the first byte of a character is among them
}

const TAIL = /^(?:\\x[89ab][0-9a-f]){1,3}/; // continues a character of the token before
const HEAD = /\\x[c-f][0-9a-f](?:\\x[89ab][0-9a-f]){0,2}$/; // begins a character that the next token continues

const bytesOf = (text: string): number[] => [...text.matchAll(/\\x(..)/g)].map((m) => parseInt(m[1] ?? "", 16));
/** The bytes of a character that begins with `lead`; 0 where none does. */
export const lengthOf = (lead: number): number => (lead >= 0xf8 ? 0 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 0);

/** The parts of a token in their order. Escapes that make a whole character were written so in the text. */
export function fragments(token: string): Fragment[] {
  const found: Fragment[] = [];
  const tail = TAIL.exec(token)?.[0] ?? "";
  const head = HEAD.exec(token.slice(tail.length))?.[0] ?? "";
  const bytes = bytesOf(head);
  const divided = head !== "" && bytes.length < lengthOf(bytes[0] ?? 0);
  const text = token.slice(tail.length, divided ? token.length - head.length : undefined);
  if (tail) found.push({ text: tail, bytes: bytesOf(tail), begins: false });
  if (text || found.length + Number(divided) === 0) found.push({ text, begins: false });
  if (divided) found.push({ text: head, bytes, begins: true });
  return found;
}

const SCRIPTS = ["Latin", "Greek", "Cyrillic", "Hebrew", "Arabic", "Devanagari", "Bengali", "Tamil", "Thai", "Georgian", "Hangul", "Hiragana", "Katakana", "Han"];
const KINDS: [string, RegExp][] = [
  ...SCRIPTS.map((s): [string, RegExp] => [s === "Han" ? "Chinese" : s === "Hangul" ? "Korean" : s, new RegExp(`\\p{Script=${s}}`, "u")]),
  ["emoji", /\p{Emoji_Presentation}/u],
  ["accents", /\p{M}/u],
  ["punctuation", /\p{P}/u],
  ["symbols", /\p{S}/u],
];
const SAMPLED = 64;

/** Which kinds of characters may begin with these bytes, such as "Arabic"; "" where nothing can be said. */
export function kindsOf(bytes: number[]): string {
  const lead = bytes[0] ?? 0;
  const n = lengthOf(lead);
  const left = 6 * (n - bytes.length);
  let code = lead & (0xff >> (n + 1));
  for (const b of bytes.slice(1)) code = (code << 6) | (b & 0x3f);
  const least = [0, 0, 0x80, 0x800, 0x10000][n] ?? 0;
  const [first, last] = [Math.max(code << left, least), Math.min((code << left) + 2 ** left - 1, 0x10ffff)];
  if (n === 0 || bytes.length >= n || first > last) return "";
  const step = Math.max(1, (last - first + 1) / SAMPLED);
  const counts = new Map<string, number>();
  for (let c = first; c <= last; c += step) {
    const kind = KINDS.find(([, is]) => is.test(String.fromCodePoint(Math.floor(c))))?.[0];
    if (kind) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  const known = [...counts].sort((a, b) => b[1] - a[1]);
  return known.filter(([, count]) => 4 * count >= (known[0]?.[1] ?? 0)).slice(0, 3).map(([kind]) => kind).join(" or ");
}
