// What judges say that the feature is, and how well they predict it from that.

import { json } from "../../data.ts";
import type { Explanation, FeatureRecord, Score } from "../../records.ts";
import type { Dictionary } from "../../site.ts";
import { decimals, visible, whole } from "../../text.ts";
import { Explained } from "../../ui/explained.tsx";
import { useOptional } from "../../ui/loaded.tsx";
import { Term } from "../../ui/note.tsx";

const KINDS: Record<string, string> = {
  simulation: "Spearman correlation of the activations that the judge predicts from the explanation with the true ones",
  detection: "balanced accuracy of telling windows in which it fires from random ones without a firing",
  fuzzing: "balanced accuracy of telling windows in which the firing tokens are marked from windows with random marks",
  logits: "accuracy of telling 50 tokens that it makes likely from 50 random ones",
};

/** The explanation whose judge predicts best; of judges without a score, the first. */
export function bestExplanation(record: FeatureRecord): Explanation | undefined {
  const score = (e: Explanation) => record.scores.find((s) => s.judge === e.judge && s.kind === "simulation")?.value ?? -2;
  return [...record.explanations].sort((a, b) => score(b) - score(a))[0];
}

interface Summary {
  evidence?: Record<string, unknown>;
}

export function Evidence({ record, dictionary }: { record: FeatureRecord; dictionary: Dictionary }) {
  const judges = [...new Set([...record.explanations, ...record.scores].map((x) => x.judge))];
  const asked = judges.length > 0;
  const { value } = useOptional<Summary>(() => (asked ? json(`${dictionary.id}/overview`) : Promise.resolve({})), `${dictionary.id}/${asked}`);
  if (!asked) return null;
  return (
    <section aria-labelledby="explanations" class="panel wide">
      <div class="section-head"><h2 id="explanations" tabIndex={-1}>Explanations</h2></div>
      <p class="small quiet">
        Each judge explains the feature from examples, and predicts it on others from its explanation alone. The ring is the same with another
        feature's explanation: what the judge gets without understanding.
      </p>
      <div class="judges">
        {judges.map((judge) => (
          <article>
            <h3>{visible(judge)}</h3>
            {record.explanations.filter((e) => e.judge === judge).map((e) => <Said explanation={e} />)}
            <Scores scores={record.scores.filter((s) => s.judge === judge)} />
            <Typical summary={value} judge={judge} />
          </article>
        ))}
      </div>
    </section>
  );
}

function Said({ explanation }: { explanation: Explanation }) {
  const lines = explanation.text.split("\n");
  return (
    <>
      <blockquote class="said" tabIndex={0} aria-label="Explanation">{lines.map((line) => <Explained class="line" text={line} />)}</blockquote>
      <p class="small quiet">{whole(explanation.size)} {visible(explanation.unit)}</p>
    </>
  );
}

/** The mean scores of features and of neurons in the evidence of the analysis, which is about its first judge. */
function Typical({ summary, judge }: { summary: Summary | undefined; judge: string }) {
  const evidence = summary?.evidence ?? {};
  if (evidence["judge"] !== judge) return null;
  const row = (kind: string, key: string) => {
    const [features, neurons] = [evidence[key], evidence[`${key}_neurons`]];
    if (typeof features !== "number") return "";
    return `${kind} ${decimals(features)}${typeof neurons === "number" ? ` (neurons ${decimals(neurons)})` : ""}`;
  };
  const rows = [row("simulation", "judge_score"), row("logits", "judge_logits")].filter((text) => text !== "");
  if (rows.length === 0) return null;
  return <p class="small quiet">For comparison, the mean over all features that it judged: {rows.join(", ")}.</p>;
}

function Scores({ scores }: { scores: Score[] }) {
  if (scores.length === 0) return null;
  return (
    <table class="scores small">
      <thead class="unseen"><tr><th>score</th><th>value</th><th>bar</th><th>for comparison</th></tr></thead>
      <tbody>
        {scores.map((s) => (
          <tr>
            <th scope="row">{KINDS[s.kind] ? <Term means={KINDS[s.kind] ?? ""}>{s.kind}</Term> : visible(s.kind)}</th>
            {s.value === null ? (
              <td colSpan={3} class="quiet">not measured{s.note ? `: ${visible(s.note)}` : ""}</td>
            ) : (
              <>
                <td class="number strong" title={`over ${whole(s.samples)} predictions`}>{decimals(s.value)}</td>
                <td><Meter value={s.value} shuffled={s.shuffled} /></td>
                <td class="quiet">{compared(s)}</td>
              </>
            )}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const compared = (s: Score): string =>
  [s.shuffled === null ? "" : `shuffled ${decimals(s.shuffled)}`, visible(s.note)].filter((text) => text !== "").join(" · ");

function Meter({ value, shuffled }: { value: number; shuffled: number | null }) {
  const x = (v: number) => 4 + 92 * Math.max(0, Math.min(v, 1));
  return (
    <svg class="meter" viewBox="0 0 100 12" aria-hidden="true">
      <line class="grid" x1={4} x2={96} y1={6} y2={6} />
      <line class="filled" x1={4} x2={x(value)} y1={6} y2={6} />
      {shuffled !== null && <circle class="ring" cx={x(shuffled)} cy={6} r={3.5} />}
      <circle class="dot" cx={x(value)} cy={6} r={3.5} />
    </svg>
  );
}
