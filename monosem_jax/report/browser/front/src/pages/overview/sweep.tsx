// All dictionaries of the browser: how sparse against how faithful. Numbers come from the manifest alone.

import { routeTo } from "../../route.ts";
import type { Dictionary, Site } from "../../site.ts";
import { decimals, digits, visible } from "../../text.ts";
import { type Point, Scatter } from "../../ui/chart.tsx";
import { count, number, percent } from "./data.ts";

const SPARSITY: Record<string, string> = { l1_coefficient: "L1", k: "k", l0_coefficient: "L0 weight", target_l0: "target L0" };

export function Sweep({ site, dictionary }: { site: Site; dictionary: Dictionary }) {
  const all = site.dictionaries;
  const mean = all.every((d) => number(d.figures, "loss_recovered_zero") === null);
  const key = mean ? "loss_recovered_mean" : "loss_recovered_zero";
  const sizes = [...new Set(all.map((d) => d.n_features))].sort((a, b) => a - b);
  const points: Point[] = all.flatMap((d) => {
    const [l0, loss] = [number(d.figures, "l0"), number(d.figures, key)];
    if (l0 === null || loss === null || l0 <= 0) return [];
    const tone = sizes.indexOf(d.n_features) % 7;
    return [{ x: l0, y: loss, name: visible(d.name), tone, href: routeTo(d.id, "overview"), current: d.id === dictionary.id }];
  });
  const joined = sizes.map((n) => points.filter((p) => all.some((d) => routeTo(d.id, "overview") === p.href && d.n_features === n)).sort((a, b) => a.x - b.x)).filter((l) => l.length > 1);
  return (
    <section>
      <h2>All {all.length} dictionaries</h2>
      <p>Further left is sparser, further up is more faithful: compare at equal L0. A point opens its dictionary.</p>
      {points.length > 1 && (
        <Scatter
          title="L0 against loss recovered"
          says={points.map((p) => `${p.name}: L0 ${digits(p.x)}, loss recovered ${percent(p.y)}`).join("; ")}
          x={{ name: "L0: features active on a token (log scale)", log: true }}
          y={{ name: `loss recovered, ${mean ? "mean" : "zero"} ablation`, format: (x) => `${Number((100 * x).toPrecision(4))} %` }}
          points={points}
          joined={joined}
          height={300}
          caption={sizes.length > 1 && <p class="keys">{sizes.map((n, i) => <span><span class={`key-dot s${i % 7}`} aria-hidden="true" />{count(n)} features</span>)}</p>}
        />
      )}
      <div class="scroll" tabIndex={0} role="region" aria-label="All dictionaries">
        <table class="compared">
          <thead>
            <tr>
              {["dictionary", "features", "sparsity", "L0", "loss recovered", "variance", "L0 by > 1 %", "dead", "twins", "judge", "probe k = 1"].map((h, i) => (
                <th scope="col" class={i ? "number" : ""}>{h}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {all.map((d) => {
              const f = (k: string) => number(d.figures, k);
              const sparsity = Object.entries(SPARSITY).flatMap(([k, name]) => (f(k) === null ? [] : [`${name} ${digits(f(k) ?? 0)}`]));
              const whole = (x: number | null) => (x === null ? "–" : count(x));
              return (
                <tr aria-current={d.id === dictionary.id ? "true" : undefined}>
                  <th scope="row"><a href={routeTo(d.id, "overview")}>{visible(d.name)}</a></th>
                  <td class="number">{count(d.n_features)}</td>
                  <td class="number">{sparsity.join(", ") || "–"}</td>
                  <td class="number">{f("l0") === null ? "–" : digits(f("l0") ?? 0)}</td>
                  <td class="number">{percent(f(key))}</td>
                  <td class="number">{percent(f("variance_explained"))}</td>
                  <td class="number">{percent(f("l0_share_above_1pct"), 0)}</td>
                  <td class="number">{whole(f("dead"))}</td>
                  <td class="number">{whole(f("twins"))}</td>
                  <td class="number">{decimals(f("judge_score"))}</td>
                  <td class="number">{percent(f("probe_k1"))}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      <p class="quiet small">
        L0, loss recovered, variance, the share of L0 and dead features are of the evaluation at the end of each training, on its held-out tokens: L0 above is
        of the tokens of the analysis and differs a little. Twins, judge and probe are of the analysis.
      </p>
    </section>
  );
}
