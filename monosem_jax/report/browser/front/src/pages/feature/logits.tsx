// What the feature makes more and less likely next.

import type { FeatureRecord, Histogram } from "../../records.ts";
import { json, padded } from "../../data.ts";
import type { Dictionary } from "../../site.ts";
import { decimals, digits, signed, visible, whole } from "../../text.ts";
import { Chip } from "../../ui/chip.tsx";
import { HistogramChart } from "../../ui/histogram.tsx";
import { useOptional } from "../../ui/loaded.tsx";
import { Absent, Term } from "../../ui/note.tsx";

export function Logits({ record, dictionary, set }: { record: FeatureRecord; dictionary: Dictionary; set: string }) {
  const all = [...record.top_logits, ...record.bottom_logits].map(([, weight]) => Math.abs(weight));
  const most = Math.max(...all, 1e-9);
  return (
    <section aria-labelledby="logits" class="panel">
      <div class="section-head"><h2 id="logits" tabIndex={-1}>Next token</h2></div>
      {all.length === 0 ? (
        <Absent>The records hold no logit weights of it.</Absent>
      ) : (
        <>
          <p class="small quiet">
            <Term means="the direct effect of the dictionary vector on the logit of each token, with the final normalisation folded in, shifted so that the median over tokens that are not rare is 0">
              Logit weights
            </Term>
            : which tokens it makes more and less likely.
          </p>
          <div class="logit-lists">
            <Ends title="More likely" pairs={record.top_logits} most={most} />
            <Ends title="Less likely" pairs={record.bottom_logits} most={most} />
          </div>
          <Distribution record={record} dictionary={dictionary} set={set} />
        </>
      )}
    </section>
  );
}

function Ends({ title, pairs, most }: { title: string; pairs: [string, number][]; most: number }) {
  return (
    <table class="logits">
      <caption class="small">{title}</caption>
      <tbody>
        {pairs.map(([token, weight]) => (
          <tr>
            <th scope="row"><Chip token={token} /></th>
            <td class="logit-bar" aria-hidden="true">
              <span class={weight < 0 ? "less" : "plus"} style={{ width: `${Math.min((100 * Math.abs(weight)) / most, 100)}%` }} />
            </td>
            <td class="number small">{signed(weight)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

interface Packed {
  low: number;
  high: number;
  counts: number[];
}

/** The histogram of logit weights, whose bins have equal widths. */
function unpackedOf(h: Packed | undefined): Histogram | undefined {
  return h && { counts: h.counts, edges: Array.from({ length: h.counts.length + 1 }, (_, i) => h.low + ((h.high - h.low) * i) / h.counts.length) };
}

function Distribution({ record, dictionary, set }: { record: FeatureRecord; dictionary: Dictionary; set: string }) {
  const has = Boolean(dictionary.has["logits"]) && set === "features";
  const chunk = Math.floor(record.feature / dictionary.chunk);
  const { value, problem } = useOptional<Record<string, Packed>>(
    () => (has ? json(`${dictionary.id}/logits/${padded(chunk)}`) : Promise.resolve({})),
    `${dictionary.id}/logits/${has ? chunk : ""}`,
  );
  const of = unpackedOf(value?.[record.feature]);
  const numbers = record.logits;
  return (
    <>
      {of && (
        <HistogramChart
          of={of}
          logY
          label={`Histogram of its logit weights over ${numbers ? whole(numbers.n_tokens) : "all"} tokens, from ${digits(of.edges[0] ?? 0)} to ${digits(of.edges[of.edges.length - 1] ?? 0)}`}
          unit="tokens"
          height={120}
        />
      )}
      {problem && <Absent>{problem}</Absent>}
      {!has && set === "features" && dictionary.absent["logits"] && <Absent>{visible(dictionary.absent["logits"])}</Absent>}
      {numbers && numbers.n_tokens > 0 && (
        <p class="small quiet caption">
          Over {whole(numbers.n_tokens)} tokens that are not rare{of ? ", counts on a log scale" : ""}: standard deviation {digits(numbers.deviation)}, skewness {decimals(numbers.skewness)},{" "}
          <Term means="a normal distribution has 3; a larger one means that few tokens get most of the effect">kurtosis</Term> {decimals(numbers.kurtosis)}.
        </p>
      )}
    </>
  );
}
