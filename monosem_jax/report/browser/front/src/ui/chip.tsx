// A token by itself, as a chip. Bytes that are no character by themselves are set apart, and say what they begin or continue.

import { type Fragment, fragments, kindsOf } from "../bytes.ts";
import { loneToken } from "../text.ts";
import "../styles/chip.css";

const LONGEST = 24;
export const shortened = (text: string, most = LONGEST): string => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** `most`: characters of it that are shown; the title has more. */
export function Chip({ token, most = LONGEST }: { token: string; most?: number }) {
  const parts = fragments(token);
  if (!parts.some((p) => p.bytes)) {
    const text = loneToken(token);
    return <bdi class="token-chip" title={text.length > most ? text.slice(0, 300) : undefined}>{shortened(text, most)}</bdi>;
  }
  return (
    <bdi class="token-chip" dir="ltr" title={parts.filter((p) => p.bytes).map(means).join("; ")}>
      {parts.map((p) => (p.bytes ? <Bytes of={p} /> : <bdi>{shortened(loneToken(p.text), most)}</bdi>))}
    </bdi>
  );
}

/** The same in plain text, for drawings. */
export const chipText = (token: string): string =>
  fragments(token).map((p) => (!p.bytes ? loneToken(p.text) : p.begins ? `${hex(p)}…` : `…${hex(p)}`)).join("");

const hex = ({ bytes = [] }: Fragment): string => bytes.map((b) => b.toString(16).toUpperCase().padStart(2, "0")).join(" ");
const called = (of: Fragment): string => `${(of.bytes?.length ?? 0) > 1 ? "bytes" : "byte"} ${hex(of)}`;

/** Three dots stand where the rest of the character is: in the token before, or in the next one. */
const Bytes = ({ of }: { of: Fragment }) => (
  <span class="token-bytes">
    <span class="unseen">{(of.bytes?.length ?? 0) > 1 ? "bytes " : "byte "}</span>
    {of.begins ? `${hex(of)}…` : `…${hex(of)}`}
  </span>
);

function means(of: Fragment): string {
  if (!of.begins) return `${called(of)}: part of a character that begins in the token before`;
  const kinds = kindsOf(of.bytes ?? []);
  return `${called(of)}: the beginning of a character${kinds && ` (${kinds})`}; the rest is in the next token`;
}
