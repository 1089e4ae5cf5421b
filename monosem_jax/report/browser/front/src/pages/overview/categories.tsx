// The best feature against the best neuron for every label of the corpus.

import type { Category } from "../../records.ts";
import { routeToFeature } from "../../route.ts";
import type { Dictionary } from "../../site.ts";
import { decimals, visible } from "../../text.ts";
import { Absent } from "../../ui/note.tsx";
import { Strip } from "../../ui/versus.tsx";
import { count } from "./data.ts";

export function Categories({ dictionary, rows }: { dictionary: Dictionary; rows: Category[] }) {
  if (!rows.length) return <><h3>Labels</h3><Absent>The corpus has no labels: nothing says which kind of text a document is.</Absent></>;
  const won = rows.filter((r) => r.feature_correlation > r.neuron_correlation).length;
  return (
    <section>
      <h3>Does a feature know the kind of document?</h3>
      <p>
        Labels are of whole documents, so that even a perfect feature of a script reaches less than 1. In {won} of {rows.length} the best feature
        correlates more with the label than the best neuron.
      </p>
      <p class="keys small"><span><span class="key-dot s0" aria-hidden="true" />feature</span><span><span class="key-dot s1" aria-hidden="true" />neuron</span></p>
      <div class="scroll" tabIndex={0} role="region" aria-label="Labels">
        <table class="compared">
          <thead>
            <tr>
              <th scope="col">label</th><th scope="col">correlation, 0 to 1</th>
              <th scope="col" class="number">feature</th><th scope="col" class="number">neuron</th><th scope="col">better</th>
            </tr>
          </thead>
          <tbody>
            {rows.map((r) => {
              const ours = r.feature_correlation > r.neuron_correlation;
              return (
                <tr>
                  <th scope="row"><bdi>{visible(r.label)}</bdi> <span class="quiet">{count(r.tokens)} tokens</span></th>
                  <td><Strip dots={[{ value: r.neuron_correlation, tone: 1, hollow: true }, { value: r.feature_correlation, tone: 0 }]} /></td>
                  <td class={`number${ours ? " best" : ""}`}><a href={routeToFeature(dictionary.id, r.feature)}>{r.feature}</a> {decimals(r.feature_correlation)}</td>
                  <td class={`number${ours ? "" : " best"}`}><a href={routeToFeature(dictionary.id, r.neuron, "neurons")}>{r.neuron}</a> {decimals(r.neuron_correlation)}</td>
                  <td>{ours ? "feature" : "neuron"}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </section>
  );
}
