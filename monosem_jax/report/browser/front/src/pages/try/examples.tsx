// Texts to begin with: contexts from the records of features that are best for a label.

import { useEffect, useState } from "preact/hooks";
import { Tokenizer } from "../../engine/tokenizer.ts";
import type { Example } from "../../records.ts";
import { type Dictionary, record } from "../../site.ts";
import { visible } from "../../text.ts";
import type { Known } from "./names.ts";

const SHOWN = 8;

/** The text of an example, without tokens that are no text. */
function textOf(example: Example, tokenizer: Tokenizer): string {
  return example.token_ids.length ? tokenizer.decode(example.token_ids) : example.tokens.join("");
}

/** The text of the strongest example of a feature, or "" when it has none. */
export async function exampleOf(d: Dictionary, tokenizer: Tokenizer, feature: number): Promise<string> {
  const found = await record(d, "features", feature);
  const example = found?.examples[0] ?? found?.intervals.at(-1)?.examples[0];
  return example ? textOf(example, tokenizer) : "";
}

/** Features to show first: those that are best for a label, else the one with the strongest activation. */
export function suggested(known: Map<number, Known>): Known[] {
  const best = [...known.values()].filter((k) => k.best && k.largest > 0);
  if (best.length) return best.sort((a, b) => (a.best < b.best ? -1 : 1));
  const strongest = [...known.values()].sort((a, b) => b.largest - a.largest)[0];
  return strongest ? [strongest] : [];
}

export function Examples({ dictionary, tokenizer, known, choose }: {
  dictionary: Dictionary; tokenizer: Tokenizer; known: Map<number, Known>; choose: (text: string, feature: number) => void;
}) {
  const [all, setAll] = useState(false);
  const [problem, setProblem] = useState("");
  const found = suggested(known);
  useEffect(() => setProblem(""), [dictionary.id]);
  const pick = (feature: number) => exampleOf(dictionary, tokenizer, feature).then(
    (text) => choose(text, feature),
    (error: Error) => setProblem(error.message),
  );
  return (
    <div class="row try-examples">
      <span class="quiet small">Examples from the records:</span>
      {found.slice(0, all ? undefined : SHOWN).map((k) => (
        <button type="button" class="small" onClick={() => void pick(k.feature)} title={`The strongest example of feature ${k.feature}`}>
          <bdi>{visible(k.best || `feature ${k.feature}`)}</bdi>
        </button>
      ))}
      {found.length > SHOWN && !all && <button type="button" class="small" onClick={() => setAll(true)}>{found.length - SHOWN} more</button>}
      {problem && <span class="problem">{problem}</span>}
    </div>
  );
}
