// What a comparison says about how far a kind of relation can be trusted.

import type { Comparison } from "../../relations.ts";
import { visible, whole } from "../../text.ts";
import { Warning } from "../../ui/note.tsx";

const ENOUGH = 1_000_000; // tokens

/** Warnings of a page: few tokens, and what could not be said about this kind. */
export function Rough({ c, kind }: { c: Comparison; kind: string }) {
  const gaps = c.gaps.filter((gap) => String(gap.kind).startsWith(kind));
  const few = c.tokens !== null && c.tokens < ENOUGH && kind !== "map";
  return (
    <>
      {few && <Warning>{whole(c.tokens ?? 0)} tokens were read: correlations and similarities of rare features are rough below {whole(ENOUGH)}.</Warning>}
      {gaps.map((gap) => <Warning>{visible(String(gap.kind))}: {visible(String(gap.reason))}</Warning>)}
    </>
  );
}
