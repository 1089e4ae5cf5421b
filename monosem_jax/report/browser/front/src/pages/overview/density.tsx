// How often features fire, and which of them carry L0: dense features are few and carry much.

import { Bars } from "../../ui/chart.tsx";
import { count, type OverviewData, percent } from "./data.ts";

const RAISED: Record<string, string> = { "-": "⁻", "0": "⁰", "1": "¹", "2": "²", "3": "³", "4": "⁴", "5": "⁵", "6": "⁶", "7": "⁷", "8": "⁸" };

/** A density from its log10: "1 %", "0.1 %", and "10⁻⁵" where per cent would be long. */
const density = (log: number): string =>
  log >= -4 ? `${Number((100 * 10 ** log).toPrecision(2))} %` : `10${[...String(Math.round(log))].map((c) => RAISED[c] ?? "").join("")}`;

export function Density({ data }: { data: OverviewData }) {
  const { edges, counts, l0, dead, n } = data.density;
  const filled = counts.flatMap((c, i) => (c ? [i] : []));
  const first = edges[filled[0] ?? 0] ?? -6;
  const last = edges[(filled[filled.length - 1] ?? 0) + 1] ?? 0;
  const domain: [number, number] = [Math.min(-4, Math.floor(first)), Math.max(-0.5, last)];
  const sum = (values: number[], from: number, to: number) =>
    values.reduce((total, v, i) => (((edges[i] ?? 0) >= from - 1e-9 && (edges[i] ?? 0) < to - 1e-9) ? total + v : total), 0);
  const [dense, denser] = [sum(counts, -2, 9), sum(counts, -1, 9)];
  const [carried, more] = [sum(l0, -2, 9), sum(l0, -1, 9)];
  const says = `${count(dense)} of ${count(n)} features fire on more than 1 % of tokens and carry ${percent(carried, 0)} of L0; ${denser ? `${count(denser)} on more than 10 % carry ${percent(more, 0)}` : "none fires on more than 10 %"}. ${dead ? `${count(dead)} never fired` : "All fired"}.`;
  const marks = [{ at: -2, name: "1 %" }, { at: -1, name: "10 %" }];
  const shaded = first < -6 ? [{ from: domain[0], to: -6, name: "ultralow" }] : [];
  const axis = { name: "density: share of tokens on which a feature fires (log scale)", format: density, domain };
  const ticks = [-8, -7, -6, -5, -4, -3, -2, -1, 0];
  const common = { edges, marks, shaded, ticks, x: axis, toned: (i: number) => ((edges[i] ?? 0) >= -2 - 1e-9 ? 1 : 0) };
  return (
    <section>
      <h2>How often features fire</h2>
      <p>{says}</p>
      <div class="spectrum">
        <Bars {...common} title="Features by density" says={says} values={counts} y={{ name: "features" }} beside={{ name: "dead", value: dead }} height={190} bare />
        <Bars
          {...common}
          title="L0 carried by them"
          says={`Share of L0 by density. ${says}`}
          values={l0}
          y={{ name: "share of L0", format: (x) => `${Number((100 * x).toPrecision(3))} %` }}
          beside={{ name: "dead", value: null }}
          height={180}
          caption={
            <p>
              Bins of a tenth of a decade; orange: on more than 1 % of tokens. Measured on {count(data.density_tokens)} tokens
              {first >= -6 ? `, so that nothing below one in ${count(data.density_tokens)} can be seen.` : ". Shaded: ultralow, fewer than one token in a million."}
            </p>
          }
          table={{
            head: ["density from", "to", "features", "share of L0"],
            rows: filled.map((i) => [density2(edges[i]), density2(edges[i + 1]), counts[i] ?? 0, percent(l0[i])]),
          }}
        />
      </div>
    </section>
  );
}

const density2 = (log: number | undefined): string => (10 ** (log ?? 0)).toPrecision(2);
