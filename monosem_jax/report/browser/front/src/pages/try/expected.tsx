// What the model expects after a token, before and after a change.

import type { Predictions } from "../../engine/predictions.ts";
import type { Tokenizer } from "../../engine/tokenizer.ts";
import { Chip } from "../../ui/chip.tsx";
import { tokenText } from "./pieces.ts";

interface Row {
  token: number;
  before: number;
  after: number | null;
}

/** The tokens most expected before, and those most expected after that are not among them. */
export function rows(token: number, before: Predictions, after: Predictions | null): Row[] {
  const found = new Map<number, Row>();
  const add = ({ tokens, p, other, k }: Predictions, changed: boolean) => {
    for (let i = token * k; i < (token + 1) * k; i++) {
      const row = changed ? { before: other[i]!, after: p[i]! } : { before: p[i]!, after: after ? other[i]! : null };
      if (!found.has(tokens[i]!)) found.set(tokens[i]!, { token: tokens[i]!, ...row });
    }
  };
  add(before, false);
  if (after) add(after, true);
  return [...found.values()].sort((a, b) => (b.after ?? b.before) - (a.after ?? a.before) || b.before - a.before);
}

const percent = (p: number) => (p >= 0.0995 ? `${(100 * p).toFixed(0)} %` : p >= 0.0005 ? `${(100 * p).toFixed(1)} %` : "< 0.1 %");

export function Expected({ tokenizer, list, next, changed }: {
  tokenizer: Tokenizer; list: Row[]; next: number | null; changed: boolean;
}) {
  const most = Math.max(...list.map((r) => Math.max(r.before, r.after ?? 0)), 1e-9);
  const bar = (p: number, name: string) => (
    <span class={`try-bar ${name}`} aria-hidden="true"><span style={{ width: `${(100 * p) / most}%` }} /></span>
  );
  return (
    <div class="scroll">
      <table class="try-expected">
        <thead>
          <tr><th scope="col">next token</th><th scope="col" class="number">{changed ? "before" : "probability"}</th>{changed && <th scope="col" class="number">after</th>}<th scope="col"><span class="unseen">bars</span></th></tr>
        </thead>
        <tbody>
          {list.map((row) => (
            <tr>
              <td>
                <Chip token={tokenText(tokenizer, row.token)} />
                {row.token === next && <span class="small quiet"> follows in the text</span>}
              </td>
              <td class="number">{percent(row.before)}</td>
              {changed && <td class="number">{row.after === null ? "…" : percent(row.after)}</td>}
              <td class="try-bars">{bar(row.before, "")}{changed && row.after !== null && bar(row.after, "try-after")}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
