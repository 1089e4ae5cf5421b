// The best feature of every proxy, beside the best neuron, the best feature of the control, and the best direction.

import { routeToFeature } from "../../route.ts";
import type { Dictionary } from "../../site.ts";
import { decimals, visible } from "../../text.ts";
import { Absent } from "../../ui/note.tsx";
import { Strip } from "../../ui/versus.tsx";
import { count, percent, type ProxyBest, type ProxyRow } from "./data.ts";
import { asInPaper } from "./figures.ts";

const PAPER: Record<string, number> = { arabic: 0.74, dna: 0.8, base64: 0.38, hebrew: 0.55 };
const NAMES: Record<string, string> = { features: "feature", neurons: "neuron", control: "control", random: "random direction" };
const TONES: Record<string, number> = { features: 0, neurons: 1, control: 3, random: 6 };

export function Proxies({ dictionary, rows }: { dictionary: Dictionary; rows: ProxyRow[] }) {
  if (!rows.length) return <><h3>Proxies</h3><Absent>The analysis had no proxies (kinds of text that are told apart token by token).</Absent></>;
  const sets = Object.keys(NAMES).filter((s) => rows.some((r) => r.best.some((b) => b.set === s)));
  const paper = asInPaper(dictionary.site, dictionary.run) && rows.some((r) => r.proxy in PAPER);
  const won = rows.filter((r) => of(r, "features") > Math.max(...sets.filter((s) => s !== "features").map((s) => of(r, s)))).length;
  return (
    <section>
      <h3>Does a feature fire where the text is of a kind?</h3>
      <p>
        A proxy says token by token whether the text is Arabic, DNA, a comment. For each, the best of every set was chosen on training text and
        measured on held-out text. {sets.length > 1 && `In ${won} of ${rows.length} the feature correlates more than every other.`}
      </p>
      <p class="keys small">{sets.map((s) => <span><span class={`key-dot s${TONES[s]}`} aria-hidden="true" />{NAMES[s]}</span>)}</p>
      <div class="scroll" tabIndex={0} role="region" aria-label="Proxies">
        <table class="compared">
          <thead>
            <tr>
              <th scope="col">proxy</th>
              <th scope="col">correlation, 0 to 1</th>
              {sets.map((s) => <th scope="col" class="number">{NAMES[s]}</th>)}
              {paper && <th scope="col" class="number" title="feature of A/1 (4,096 features) on The Pile, about 40 million tokens">paper</th>}
              <th scope="col" class="number" title="share of the feature's firings on which the proxy holds: where it is barely active, and where it is strongest">specificity, weak → strong</th>
              <th scope="col" class="number" title="share of all its firings on which the proxy holds">all</th>
              <th scope="col" class="number" title="share of the proxy's tokens on which the feature fires">sensitivity</th>
              <th scope="col" class="number" title="the same of the neuron">neuron: spec., sens.</th>
            </tr>
          </thead>
          <tbody>{rows.map((row) => <Row dictionary={dictionary} row={row} sets={sets} paper={paper} />)}</tbody>
        </table>
      </div>
      <p class="quiet small">
        Specificity: share of the firings on which the proxy holds. Sensitivity: share of the proxy's tokens on which it fires. Bold: the largest correlation.
        {paper && " Paper: features of A/1 on The Pile, other text than here."}
      </p>
    </section>
  );
}

const best = (row: ProxyRow, set: string): ProxyBest | undefined => row.best.find((b) => b.set === set);
const of = (row: ProxyRow, set: string): number => best(row, set)?.pearson ?? -1;

function Row({ dictionary, row, sets, paper }: { dictionary: Dictionary; row: ProxyRow; sets: string[]; paper: boolean }) {
  const feature = best(row, "features");
  const neuron = best(row, "neurons");
  const largest = Math.max(...sets.map((s) => of(row, s)));
  return (
    <tr>
      <th scope="row" title={visible(row.about)}><bdi>{visible(row.proxy)}</bdi> <span class="quiet">{count(row.positive)} tokens</span></th>
      <td><Strip dots={[...sets].reverse().map((s) => ({ value: best(row, s)?.pearson ?? null, tone: TONES[s] ?? 6, hollow: s !== "features" }))} /></td>
      {sets.map((s) => {
        const b = best(row, s);
        return (
          <td class={`number${b && b.pearson === largest ? " best" : ""}`}>
            {b && <><a href={routeToFeature(dictionary.id, b.feature, s)}>{b.feature}</a> {decimals(b.pearson)}</>}
          </td>
        );
      })}
      {paper && <td class="number quiet">{decimals(PAPER[row.proxy] ?? null)}</td>}
      <td class="number">{percent(feature?.lowest, 0)} → {percent(feature?.specificity_top, 0)}</td>
      <td class="number">{percent(feature?.specificity_all, 0)}</td>
      <td class="number">{percent(feature?.sensitivity, 0)}</td>
      <td class="number quiet">{neuron ? `${percent(neuron.specificity_all, 0)}, ${percent(neuron.sensitivity, 0)}` : ""}</td>
    </tr>
  );
}
