// The curves of training, of the transformer and of the dictionary.

import { LineChart, type Line } from "../../ui/chart.tsx";
import { Absent } from "../../ui/note.tsx";
import { digits } from "../../text.ts";
import { type Curves, number, type OverviewData } from "./data.ts";

const DICTIONARY: { key: string; title: string; unit: string; caption: string; log: boolean }[] = [
  { key: "mse", title: "Dictionary: squared error", unit: "mean squared error (log scale)", caption: "Of the reconstruction, in the units of training.", log: true },
  { key: "l1", title: "Dictionary: L1", unit: "sum of activations a token (log scale)", caption: "What a sparsity penalty pushes down.", log: true },
  { key: "l0", title: "Dictionary: L0", unit: "features active on a token (log scale)", caption: "", log: true },
  { key: "silent", title: "Dictionary: silent features", unit: "features", caption: "Active on no token since the last count.", log: false },
];

export function Training({ data }: { data: OverviewData }) {
  const { dictionary, transformer } = data.curves;
  const resampled = data.resample_steps.length > 0;
  const charts = DICTIONARY.filter((c) => dictionary[c.key]);
  const loss = [line(transformer, "loss", "training", 0), line(transformer, "heldout_loss", "held-out", 1)].filter((l): l is Line => l !== null);
  return (
    <>
      {(charts.length > 0 || loss.length > 0) && (
        <div class="curves">
          {loss.length > 0 && <Loss data={data} lines={loss} />}
          {charts.map((c) => {
            const one = line(dictionary, c.key, c.title, 0);
            return one && (
              <LineChart
                title={c.title}
                says={`${c.unit}: from ${digits(one.y[0] ?? 0)} at step ${one.x[0]} to ${digits(one.y[one.y.length - 1] ?? 0)} at step ${one.x[one.x.length - 1]}.`}
                x={{ name: "step" }}
                y={{ name: c.unit, domain: c.log ? undefined : [0, Math.max(4, ...one.y)], log: c.log && one.y.every((v) => v > 0) }}
                lines={[one]}
                marks={data.resample_steps}
                marksName="resampling"
                caption={c.caption && <p>{c.caption}</p>}
                table={{ head: ["step", c.key], rows: one.x.map((x, i) => [x, digits(one.y[i] ?? 0, 4)]) }}
              />
            );
          })}
        </div>
      )}
      {loss.length === 0 && <Absent>There is no log of the transformer's training: it was imported, or its run has none.</Absent>}
      {charts.length === 0 && <Absent>There is no log of the dictionary's training: it was imported, or its run has none.</Absent>}
      {(charts.length > 0 || loss.length > 0) && (
        <p class="quiet small">
          {resampled && "Dotted lines: dead features were replaced (resampling). "}
          Long logs are thinned to 400 points, of which the smallest and the largest of each stretch are kept.
        </p>
      )}
    </>
  );
}

function line(curves: Curves, key: string, name: string, tone: number): Line | null {
  const found = curves[key];
  return found ? { name, x: found[0], y: found[1], tone, points: found[0].length < 16 } : null;
}

function Loss({ data, lines }: { data: OverviewData; lines: Line[] }) {
  const bigram = number(data.transformer, "bigram_loss");
  const heldout = number(data.transformer, "heldout_loss");
  const says = `${heldout === null ? "" : `Held-out loss ${heldout.toFixed(3)} nats a token`}${bigram === null ? "" : `, a bigram model ${bigram.toFixed(3)}`}.`;
  return (
    <LineChart
      title="Transformer: loss"
      says={says}
      x={{ name: "step" }}
      y={{ name: "nats per token" }}
      lines={lines}
      levels={bigram === null ? [] : [{ at: bigram, name: "bigrams" }]}
      caption={<p>{says}{bigram !== null && heldout !== null && (heldout < bigram ? " Below the dashed line it predicts better than a model that sees the previous token alone." : " It predicts no better than a model that sees the previous token alone.")}</p>}
      table={{ head: ["step", "curve", "nats"], rows: lines.flatMap((l) => l.x.map((x, i) => [x, l.name, digits(l.y[i] ?? 0, 4)])) }}
    />
  );
}
