// What could not be measured, and what this browser holds.

import { routeTo } from "../../route.ts";
import type { Dictionary } from "../../site.ts";
import { visible } from "../../text.ts";
import { count } from "./data.ts";

export const Gaps = ({ rows }: { rows: { kind: string; reason: string }[] }) => (
  <dl class="terms">{rows.map((g) => <div><dt>{visible(g.kind)}</dt><dd>{visible(g.reason)}</dd></div>)}</dl>
);

const SETS: Record<string, string> = {
  features: "features of the dictionary",
  neurons: "neurons of the model",
  control: "features of a dictionary of a model with shuffled weights",
  random: "random directions",
};

export function Holds({ dictionary }: { dictionary: Dictionary }) {
  const absent = Object.values(dictionary.absent);
  return (
    <section>
      <h2>What this browser holds</h2>
      <div class="scroll">
        <table>
          <thead><tr><th scope="col">set</th><th scope="col" class="number">size</th><th scope="col" class="number">with a record</th><th scope="col" class="number">tokens read</th></tr></thead>
          <tbody>
            {Object.entries(dictionary.sets).map(([name, s]) => (
              <tr>
                <th scope="row"><a href={routeTo(dictionary.id, "features", "", { set: name === "features" ? "" : name })}>{SETS[name] ?? visible(name)}</a></th>
                <td class="number">{count(s.n_features)}</td>
                <td class="number">{count(s.records)}</td>
                <td class="number">{count(s.tokens)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {absent.length > 0 && <p class="quiet small">Not here: {absent.map(visible).join("; ")}.</p>}
    </section>
  );
}
