// All judges and kinds of scores, by set.

import { decimals, visible } from "../../text.ts";
import { Absent } from "../../ui/note.tsx";
import type { JudgeRow, JudgeSummary } from "./data.ts";

const NAMES: Record<string, string> = { random: "random directions" };
const MEANS: Record<string, string> = {
  simulation: "rank correlation of the activations predicted from the explanation with those measured; 0 by chance",
  detection: "balanced accuracy of saying in which texts the feature fires; 0.5 by chance",
  fuzzing: "balanced accuracy of saying whether the marked tokens are those of the feature; 0.5 by chance",
  logits: "share of next tokens said right: are they made likelier? 0.5 by chance",
};

export function Judges({ rows }: { rows: JudgeRow[] }) {
  if (!rows.length) return <><h3>Explanations</h3><Absent>No judge was asked (kind judge of the analysis).</Absent></>;
  const sets = [...new Set(rows.map((r) => r.set))];
  const judges = [...new Set(rows.map((r) => r.judge))];
  const found = (judge: string, set: string, kind: string): JudgeSummary | undefined =>
    rows.find((r) => r.judge === judge && r.set === set)?.summaries.find((s) => s.kind === kind && s.group === "all");
  const kinds = [...new Set(rows.flatMap((r) => r.summaries.map((s) => s.kind)))];
  const lines = judges.flatMap((judge) => kinds.map((kind) => ({ judge, kind })).filter(({ kind }) => sets.some((s) => found(judge, s, kind))));
  return (
    <section>
      <h3>Can an explanation predict it?</h3>
      <p>A judge writes an explanation of each feature drawn and predicts from it. Mean scores; in brackets: with the explanation of another feature.</p>
      <div class="scroll" tabIndex={0} role="region" aria-label="Judges">
        <table>
          <thead><tr><th scope="col">judge</th><th scope="col">score</th>{sets.map((s) => <th scope="col" class="number">{NAMES[s] ?? visible(s)}</th>)}</tr></thead>
          <tbody>
            {lines.map(({ judge, kind }, i) => (
              <tr>
                <th scope="row">{lines[i - 1]?.judge === judge ? <span class="unseen">{visible(judge)}</span> : visible(judge)}</th>
                <td title={MEANS[kind] ?? ""}>{visible(kind)}</td>
                {sets.map((s) => {
                  const one = found(judge, s, kind);
                  return <td class="number">{one ? <>{decimals(one.mean)} <span class="quiet">({decimals(one.shuffled_mean)})</span></> : "–"}</td>;
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <dl class="terms small">{kinds.filter((k) => MEANS[k]).map((k) => <div><dt>{k}</dt><dd>{MEANS[k]}</dd></div>)}</dl>
    </section>
  );
}
