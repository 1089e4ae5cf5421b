// How the model writes on, as it is and with the feature changed.

import { useMemo } from "preact/hooks";
import type { Tokenizer } from "../../engine/tokenizer.ts";
import { direction } from "./flow.tsx";
import { pieces } from "./pieces.ts";

function Written({ title, tokenizer, ids, done, problem, other }: {
  title: string; tokenizer: Tokenizer; ids: number[]; done: boolean; problem?: string; other: number[] | null;
}) {
  const shown = useMemo(() => pieces(tokenizer, ids), [tokenizer, ids]);
  const text = shown.map((p) => p.text).join("");
  return (
    <section class="try-written">
      <h3>{title}</h3>
      {problem ? <p class="problem">{problem}</p> : (
        <p class="try-sample" dir={direction(text)} aria-busy={!done}>
          {shown.map((p) => (
            <span class={other && p.tokens.some((t) => ids[t] !== other[t]) ? "try-differs" : undefined}>{p.start ? "" : p.text.replaceAll("↵", "↵\n")}</span>
          ))}
          {!done && <span class="quiet"> …</span>}
        </p>
      )}
    </section>
  );
}

export interface Sample {
  ids: number[];
  done: boolean;
  problem?: string;
}

export function Continuations({ tokenizer, plain, changed, name }: {
  tokenizer: Tokenizer; plain: Sample; changed: Sample | null; name: string;
}) {
  return (
    <div class="try-side">
      <Written title="As it is" tokenizer={tokenizer} {...plain} other={null} />
      {changed && <Written title={name} tokenizer={tokenizer} {...changed} other={plain.ids} />}
    </div>
  );
}
