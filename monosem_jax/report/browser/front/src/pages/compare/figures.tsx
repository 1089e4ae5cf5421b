// Two dictionaries by their figures and density spectra, from their overviews.

import { json } from "../../data.ts";
import type { Dictionary } from "../../site.ts";
import { digits, share, visible, whole } from "../../text.ts";
import { useLoaded } from "../../ui/loaded.tsx";
import { Term, Warning } from "../../ui/note.tsx";

interface Summary {
  [name: string]: unknown;
}

interface Overview {
  dictionary: Summary;
  evidence: Summary;
  density: { edges: number[]; counts: number[]; dead: number; n: number };
  density_tokens: number;
}

type Measure = [string, string, (o: Overview) => string, string];

const number = (s: Summary, key: string): number | null => (typeof s[key] === "number" && Number.isFinite(s[key]) ? (s[key] as number) : null);
const shown = (x: number | null, as: (x: number) => string): string => (x === null ? "–" : as(x));
const percent = (x: number): string => `${digits(100 * x)} %`;

const MEASURES: Measure[] = [
  ["features", "size of the dictionary", (o) => shown(number(o.dictionary, "n_features"), whole), ""],
  ["L0", "features that are active on a token, in the mean", (o) => shown(number(o.dictionary, "l0"), (x) => digits(x)), "compare dictionaries at equal L0 only"],
  ["loss recovered (mean)", "share of the loss that replacing the activations by their mean costs, which the reconstruction wins back", (o) => shown(number(o.dictionary, "loss_recovered_mean"), percent), "higher is better at equal L0"],
  ["loss recovered (zero)", "the same beside zeros", (o) => shown(number(o.dictionary, "loss_recovered_zero"), percent), "easier than beside the mean"],
  ["variance explained", "of the activations", (o) => shown(number(o.dictionary, "variance_explained"), percent), ""],
  ["dead", "features that never fired in the held-out text", (o) => shown(number(o.dictionary, "dead"), whole), "depends on how much text was read"],
  ["dense", "features that fire on more than a hundredth of the tokens", (o) => shown(number(o.dictionary, "dense"), whole), "dense features seldom mean one thing"],
  ["L0 from dense features", "share of all firings that features above 1 % density carry", (o) => shown(number(o.dictionary, "l0_share_above_1pct"), percent), "a low L0 can come from few dense features"],
  ["median density", "of the features that fire", (o) => shown(number(o.dictionary, "median_density"), share), ""],
  ["judge’s score", "mean score of the first judge", (o) => shown(number(o.evidence, "judge_score"), (x) => digits(x, 2)), "read it beside the next row"],
  ["with shuffled explanations", "the same with the explanation of another feature", (o) => shown(number(o.evidence, "judge_score_shuffled"), (x) => digits(x, 2)), ""],
  ["rows trained on", "activations seen in training, with repetition", (o) => shown(number(o.dictionary, "rows_trained"), whole), ""],
  ["records measured on", "tokens of the text of the records", (o) => whole(o.density_tokens), "densities below about ten firings are rough"],
];

export function Figures({ a, b }: { a: Dictionary; b: Dictionary }) {
  const both = useLoaded(() => Promise.all([a, b].map((d) => json<Overview>(`${d.id}/overview`))), `${a.id}|${b.id}`);
  if (!both) return <p class="quiet">Loading…</p>;
  const [left, right] = both as [Overview, Overview];
  return (
    <section>
      <h2>Figures</h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="Figures of both">
        <table class="measures">
          <thead><tr><th scope="col">measure</th><th scope="col" class="number">{visible(a.name)}</th><th scope="col" class="number">{visible(b.name)}</th><th scope="col">warning</th></tr></thead>
          <tbody>
            {MEASURES.map(([name, means, value, warning]) => (
              <tr><th scope="row"><Term means={means}>{name}</Term></th><td class="number">{value(left)}</td><td class="number">{value(right)}</td><td class="quiet small">{warning}</td></tr>
            ))}
          </tbody>
        </table>
      </div>
      {apart(left, right) && <Warning>Their L0 differ by more than a quarter: loss recovered cannot be compared directly.</Warning>}
      <Spectra names={[a.name, b.name]} both={[left, right]} />
    </section>
  );
}

function apart(a: Overview, b: Overview): boolean {
  const [x, y] = [number(a.dictionary, "l0"), number(b.dictionary, "l0")];
  return x !== null && y !== null && Math.max(x, y) > 1.25 * Math.min(x, y);
}

const WIDTH = 640;
const HEIGHT = 200;
const LEFT = 44;
const BOTTOM = 34;

/** Density spectra over one another, as shares of the features of each. */
function Spectra({ names, both }: { names: string[]; both: [Overview, Overview] }) {
  const edges = both[0].density.edges;
  const used = both.flatMap(({ density }) => density.counts.flatMap((n, k) => (n > 0 ? [k] : [])));
  if (used.length === 0) return null;
  const [low, high] = [Math.min(...used), Math.max(...used) + 1];
  const shares = both.map(({ density }) => density.counts.map((n) => n / Math.max(1, density.n)));
  const top = Math.max(...shares.flat());
  const x = (k: number) => LEFT + ((k - low) / (high - low)) * (WIDTH - LEFT - 20);
  const y = (v: number) => 10 + (1 - v / top) * (HEIGHT - BOTTOM - 10);
  const decades = edges.flatMap((e, k) => (k >= low && k <= high && Math.abs(e - Math.round(e)) < 1e-6 ? [[Math.round(e), k] as const] : []));
  return (
    <figure class="pair-chart">
      <figcaption>
        <strong>Density spectra</strong>
        <span class="row pair-keys">
          {names.map((name, k) => <span><svg width="22" height="8" aria-hidden="true"><path d="M0,4H22" class={`pair-line pair-${k}`} /></svg> {visible(name)} <span class="quiet small">{whole(both[k]!.density.dead)} dead</span></span>)}
        </span>
      </figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`Density spectra of ${names.join(" and ")}`}>
        {decades.map(([e, k]) => <g><path d={`M${x(k)},10V${HEIGHT - BOTTOM}`} class="pair-grid" /><text x={x(k)} y={HEIGHT - BOTTOM + 16} text-anchor="middle">{share(10 ** e)}</text></g>)}
        <text x={LEFT - 6} y={y(top) + 4} text-anchor="end">{share(top)}</text>
        <text x={LEFT - 6} y={y(0) + 4} text-anchor="end">0</text>
        <text x={(LEFT + WIDTH) / 2} y={HEIGHT - 3} text-anchor="middle">density (share of tokens); height: share of the features in a tenth of a decade</text>
        {shares.map((values, k) => {
          let path = `M${x(low)},${y(0)}`;
          for (let bin = low; bin < high; bin++) path += `V${y(values[bin] ?? 0)}H${x(bin + 1)}`;
          return <path class={`pair-line pair-${k}`} d={`${path}V${y(0)}`} />;
        })}
      </svg>
    </figure>
  );
}
