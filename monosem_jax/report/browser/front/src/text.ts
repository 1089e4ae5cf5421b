// Text of unknown origin, made visible where it has no glyph; the same rules as monosem_jax/report/text.py.

const NAMED: Record<string, string> = { "\n": "↵", "\t": "⇥", "\x7f": "␡" };
const JOINERS = "\u200c\u200d"; // invisible, but Persian, Indic scripts and emoji fall apart without them
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cn}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/u;
const PLAIN = /^[\x20-\x7e]*$/;

function escaped(c: string): string {
  const n = c.codePointAt(0) ?? 0;
  const hex = (digits: number) => n.toString(16).padStart(digits, "0");
  return n < 256 ? `\\x${hex(2)}` : n < 65536 ? `\\u${hex(4)}` : `\\U${hex(8)}`;
}

function shown(c: string): string {
  const named = NAMED[c];
  if (named !== undefined) return named;
  const n = c.codePointAt(0) ?? 0;
  if (n < 32) return String.fromCharCode(0x2400 + n);
  return HIDDEN.test(c) && !JOINERS.includes(c) ? escaped(c) : c;
}

/** The text with control, format and unassigned characters replaced by symbols or \xNN; spaces are kept. */
export const visible = (text: string): string => (PLAIN.test(text) ? text : [...text].map(shown).join(""));

const boxed = (space: string): string => [...space].map((c) => (c === " " ? "␣" : "\n\t\r".includes(c) ? shown(c) : escaped(c))).join("");

/** A token outside any context: spaces at its ends are shown by symbols too. */
export function loneToken(token: string): string {
  const core = token.replace(/^ +| +$/g, "");
  if (core === "" || /^\s*$/.test(token)) return boxed(token);
  const start = token.indexOf(core);
  return "␣".repeat(start) + visible(core) + "␣".repeat(token.length - start - core.length);
}

/** A share such as 0.00123 as "0.12 %"; small ones as one token in so many. */
export function share(x: number): string {
  if (x === 0) return "never";
  if (x >= 0.0005) return `${digits(100 * x, 2)} %`;
  return `1 in ${Math.round(1 / x).toLocaleString("en-US")}`;
}

/** A number with that many significant digits, without an exponent where it can be. */
export function digits(x: number, n = 3): string {
  if (!Number.isFinite(x)) return "–";
  if (x !== 0 && (Math.abs(x) < 1e-4 || Math.abs(x) >= 1e7)) return x.toExponential(n - 1).replace("-", "−");
  return String(Number(x.toPrecision(n))).replace("-", "−");
}

/** A number with two decimals, or a dash where there is none. */
export const decimals = (x: number | null | undefined, n = 2): string => (x == null || !Number.isFinite(x) ? "–" : x.toFixed(n).replace("-", "−"));

export const signed = (x: number, n = 2): string => `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(n)}`;

export const whole = (n: number): string => n.toLocaleString("en-US");
