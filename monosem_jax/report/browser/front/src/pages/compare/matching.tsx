// How well the features of two sets match, both ways, beside what they match without being the same.

import type { UniversalityRow } from "../../relations_types.ts";
import { decimals, share, visible, whole } from "../../text.ts";
import { Term } from "../../ui/note.tsx";
import type { Side } from "./sides.ts";

interface Column {
  title: string;
  row: UniversalityRow;
  series: string; // class of its colour
}

export function Matching({ a, b, rows }: { a: Side; b: Side; rows: UniversalityRow[] }) {
  const of = (x: string, y: string) => rows.find((r) => r.a === x && r.b === y);
  const there = of(a.set.name, b.set.name);
  const back = of(b.set.name, a.set.name);
  const columns: Column[] = [
    ...(there ? [{ title: `${a.name} in ${b.name}`, row: there, series: "pair-0" }] : []),
    ...(back ? [{ title: `${b.name} in ${a.name}`, row: back, series: "pair-1" }] : []),
  ];
  // what the first dictionary matches in a shuffled transformer, and how neurons of two transformers match
  const first = [there, back].find((r) => r?.role_a === "dictionary")?.a;
  const control = rows.find((r) => r.a === first && r.role_b === "control");
  const neurons = rows.find((r) => r.kind === "neurons of two models");
  const baselines = [control, neurons].filter((r): r is UniversalityRow => r !== undefined && !columns.some((c) => c.row === r || c.row.a === r.b));
  const all: Column[] = [
    ...columns,
    ...baselines.map((row) => ({ title: `${row.a} in ${row.b}`, row, series: row.role_b === "control" ? "pair-2" : "pair-3" })),
  ];
  return (
    <>
      <p>
        For each feature the feature of the other set whose activations correlate most with its own, over {whole(there?.tokens ?? back?.tokens ?? 0)} held-out tokens.
        The best of thousands is above 0 without any relation: read it beside the last columns.
      </p>
      <div class="scroll" tabIndex={0} role="region" aria-label="Medians of best matches">
        <table class="measures">
          <thead><tr><th scope="col">measure</th>{all.map((c) => <th scope="col" class="number">{visible(c.title)}{baselines.includes(c.row) && <><br />baseline</>}</th>)}</tr></thead>
          <tbody>
            {MEASURES.map(([name, means, value]) => (
              <tr><th scope="row"><Term means={means}>{name}</Term></th>{all.map((c) => <td class="number">{value(c.row)}</td>)}</tr>
            ))}
          </tbody>
        </table>
      </div>
      <Distribution columns={all} />
    </>
  );
}

const range = (r: [number, number] | null | undefined): string => (r ? `${decimals(r[0], 3)} to ${decimals(r[1], 3)}` : "–");

const MEASURES: [string, string, (r: UniversalityRow) => string][] = [
  ["median correlation", "of the features that fire with their best matches", (r) => decimals(r.median, 3)],
  ["95 % interval", "of the median: a bootstrap over features", (r) => range(r.interval)],
  ["in itself", "median best correlation with another feature of the same set: how much of a match is repetition", (r) => decimals(r.own_median, 3)],
  ["10 % to 90 %", "of the features", (r) => (r.quantiles.length ? `${decimals(r.quantiles[1])} to ${decimals(r.quantiles[5])}` : "–")],
  ["one to one", "median with the assignment that uses no feature twice", (r) => decimals(r.one_to_one_median, 3)],
  ["same in both", "share of the one-to-one pairs that are best matches too", (r) => (r.one_to_one_same == null ? "–" : share(r.one_to_one_same))],
  ["fire", "features that fire in this text", (r) => `${whole(r.alive)} of ${whole(r.features)}`],
  ["logit weights", "median correlation of the logit weights of matched features", (r) => decimals(r.logit_median)],
  ["attributions", "median correlation of the attribution vectors of matched features", (r) => decimals(r.attribution_median_of_matched)],
  ["cosine", "median cosine of the dictionary vectors of matched features, within one transformer", (r) => decimals(r.cosine_median)],
  ["MMCS", "mean of the largest cosine of each dictionary vector with any of the other set, within one transformer", (r) => decimals(r.mmcs)],
  ["exact", "whether all pairs were compared, or candidates with this error", (r) => (r.exact ? "yes" : `candidates, ± ${decimals(r.error, 3)}`)],
];

const WIDTH = 640;
const HEIGHT = 200;
const LEFT = 44;
const BOTTOM = 34;

function Distribution({ columns }: { columns: Column[] }) {
  const bins = columns[0]?.row.counts.length ?? 0;
  if (bins === 0) return null;
  const low = firstUsed(columns);
  const shares = columns.map((c) => c.row.counts.map((n) => n / Math.max(1, c.row.alive)));
  const top = Math.max(...shares.flat(), 0.01);
  const edge = (k: number) => -1 + (2 * k) / bins;
  const x = (v: number) => LEFT + ((v - edge(low)) / (1 - edge(low))) * (WIDTH - LEFT - 20);
  const y = (v: number) => 10 + (1 - v / top) * (HEIGHT - BOTTOM - 10);
  const ticks = [-1, -0.5, 0, 0.25, 0.5, 0.75, 1].filter((v) => v >= edge(low));
  return (
    <figure class="pair-chart">
      <figcaption>
        <strong>Correlation of each feature with its best match</strong>
        <span class="row pair-keys">{columns.map((c) => <span><svg width="22" height="8" aria-hidden="true"><path d="M0,4H22" class={`pair-line ${c.series}`} /></svg> {visible(c.title)}</span>)}</span>
      </figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={columns.map((c) => `${c.title}: median ${decimals(c.row.median)}`).join("; ")}>
        {ticks.map((v) => <g><path d={`M${x(v)},10V${HEIGHT - BOTTOM}`} class="pair-grid" /><text x={x(v)} y={HEIGHT - BOTTOM + 16} text-anchor="middle">{String(v).replace("-", "−")}</text></g>)}
        {[0, top].map((v) => <text x={LEFT - 6} y={y(v) + 4} text-anchor="end">{v === 0 ? "0" : share(v)}</text>)}
        <text x={(LEFT + WIDTH) / 2} y={HEIGHT - 3} text-anchor="middle">correlation; height: share of the features in each bin</text>
        {columns.map((c, k) => (
          <g>
            <path class={`pair-line ${c.series}`} d={steps(shares[k]!, low, (b) => x(edge(b)), y)} />
            {c.row.median !== null && <path class={`pair-line ${c.series} median`} d={`M${x(c.row.median)},10V${HEIGHT - BOTTOM}`} />}
          </g>
        ))}
      </svg>
    </figure>
  );
}

const firstUsed = (columns: Column[]): number => {
  const used = columns.map((c) => c.row.counts.findIndex((n) => n > 0)).filter((k) => k >= 0);
  const half = (columns[0]?.row.counts.length ?? 0) / 2;
  return Math.min(half, ...used); // from 0 on, unless there are negative ones
};

function steps(values: number[], low: number, x: (bin: number) => number, y: (v: number) => number): string {
  let path = `M${x(low)},${y(0)}`;
  for (let k = low; k < values.length; k++) path += `V${y(values[k]!)}H${x(k + 1)}`;
  return `${path}V${y(0)}`;
}
