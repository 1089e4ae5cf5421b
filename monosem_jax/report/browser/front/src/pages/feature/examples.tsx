// The examples of a feature: the strongest, by interval of activation, in bins of one's own, and at random.

import { useEffect, useMemo, useState } from "preact/hooks";
import type { Example, FeatureRecord } from "../../records.ts";
import { go, type Route, withQuery } from "../../route.ts";
import { digits, signed, whole } from "../../text.ts";
import { Absent } from "../../ui/note.tsx";
import { Legend } from "../../ui/tokens.tsx";
import { binned, cutPoints, firing, peakOf } from "./bins.ts";
import { type LogitWeights, logitWeights, OneExample, type Shading } from "./example.tsx";

interface Props {
  record: FeatureRecord;
  route: Route;
}

export function TopExamples({ record, route }: Props) {
  const effects = record.examples.flatMap((e) => e.loss_effects);
  const by = route.query.get("shade") === "loss" && effects.length > 0 ? "loss" : "activation";
  const most = by === "loss" ? Math.max(...effects.map(Math.abs), 1e-6) : record.largest;
  const choose = (to: string) => go(withQuery(route, { shade: to }), true);
  return (
    <section aria-labelledby="examples" class="top-examples">
      <div class="section-head">
        <h2 id="examples" tabIndex={-1}>Top examples</h2>
        {effects.length > 0 && (
          <div class="segmented" role="group" aria-label="Shade tokens by">
            <button type="button" aria-pressed={by === "activation"} onClick={() => choose("")}>activation</button>
            <button type="button" aria-pressed={by === "loss"} onClick={() => choose("loss")}>loss if ablated</button>
          </div>
        )}
      </div>
      {record.examples.length === 0 ? (
        <Absent>{record.density === 0 ? "It fired on no token, so there are no examples." : "The records hold no examples of it."}</Absent>
      ) : (
        <>
          {by === "loss" ? (
            <Legend shade="diverging" low={signed(-most, 2)} high={signed(most, 2)}>
              {"Change of the loss on a token, in nats, when the feature is ablated; blue: the feature helped to predict that token."}
            </Legend>
          ) : (
            <Legend shade="fire" low="0" high={digits(record.largest)}>Share of the maximum. Underlined: the token of the example.</Legend>
          )}
          <List examples={record.examples} record={record} shading={{ by, most }} label="Top example" />
        </>
      )}
    </section>
  );
}

/** Examples by interval of activation, or in bins between cut points that someone typed. */
export function Intervals({ record, route }: Props) {
  const own = route.query.get("bins") ?? "";
  const { cuts, problem } = useMemo(() => cutPoints(own), [own]);
  const known = useMemo(() => firing(record), [record]);
  if (known.length === 0) return null;
  const bins = cuts.length > 0 ? binned(known, cuts, record.largest) : [];
  const intervals = record.intervals.filter((i) => i.examples.length > 0);
  return (
    <section aria-labelledby="intervals">
      <div class="section-head">
        <h2 id="intervals" tabIndex={-1}>By activation</h2>
        <Cuts own={own} problem={problem} apply={(text) => go(withQuery(route, { bins: text }), true)} />
      </div>
      {bins.length > 0 ? (
        <p class="small quiet">
          All {whole(known.length)} examples at hand, by the share of the maximum at their token. They are the top examples and those drawn from
          each interval, so bins with more examples need not hold more firings.
        </p>
      ) : intervals.length > 0 ? (
        <p class="small quiet">Drawn uniformly from the firings in each of {record.intervals.length} equal intervals between 0 and the maximum.</p>
      ) : (
        <Absent>The records hold no examples by interval; cut points group the {whole(known.length)} top examples.</Absent>
      )}
      {bins.map((bin) => (
        <Group
          title={`${digits(bin.low)} to ${digits(bin.high)} of the maximum`}
          values={`${digits(bin.low * record.largest)} – ${digits(bin.high * record.largest)}`}
          count={`${whole(bin.examples.length)} ${bin.examples.length === 1 ? "example" : "examples"}`}
          examples={bin.examples}
          record={record}
        />
      ))}
      {bins.length === 0 && intervals.map((i) => (
        <Group
          title={`${part(i.low, record)} to ${part(i.high, record)} of the maximum`}
          values={`${digits(i.low)} – ${digits(i.high)}`}
          count={`${whole(i.count)} ${i.count === 1 ? "firing" : "firings"}`}
          examples={i.examples}
          record={record}
        />
      ))}
    </section>
  );
}

export function RandomExamples({ record }: { record: FeatureRecord }) {
  if (record.random.length === 0) return null;
  const fires = record.random.filter((e) => peakOf(e) > 0).length;
  return (
    <section aria-labelledby="random">
      <div class="section-head"><h2 id="random" tabIndex={-1}>Random tokens</h2></div>
      <p class="small quiet">
        Windows around tokens drawn from all text, firing or not: it fires on {fires === 0 ? "none" : fires} of these {record.random.length}.
      </p>
      <List examples={record.random} record={record} shading={{ by: "activation", most: record.largest }} label="Random example" short />
    </section>
  );
}

/** A border of an interval as a fraction of the maximum. */
function part(value: number, record: FeatureRecord): string {
  const n = record.intervals.length;
  const k = Math.round((n * value) / record.largest);
  return k === 0 || k === n ? String(k / n) : `${k}/${n}`;
}

function Cuts({ own, problem, apply }: { own: string; problem: string; apply: (text: string) => void }) {
  const [text, setText] = useState(own);
  useEffect(() => setText(own), [own]);
  const wrong = cutPoints(text).problem || problem;
  const group = () => wrong === "" && apply(text.trim());
  return (
    <div class="cuts">
      <label for="cut-points" class="small quiet">own cut points</label>
      <input
        id="cut-points"
        type="text"
        value={text}
        placeholder="0.1, 0.5, 0.9"
        aria-describedby="cut-help"
        aria-invalid={wrong !== ""}
        onInput={(e) => setText(e.currentTarget.value)}
        onKeyDown={(e) => e.key === "Enter" && group()}
      />
      <button type="button" disabled={wrong !== "" || text.trim() === own} onClick={group}>group</button>
      {own && <button type="button" onClick={() => apply("")}>intervals</button>}
      <span id="cut-help" class={wrong ? "problem small" : "unseen"} role={wrong ? "alert" : undefined}>
        {wrong || "numbers between 0 and 1, in units of the maximum"}
      </span>
    </div>
  );
}

function Group(props: { title: string; values: string; count: string; examples: Example[]; record: FeatureRecord }) {
  const { title, values, count, examples, record } = props;
  return (
    <div class="interval">
      <h3 class="interval-head">
        <span>{title}</span> <span class="quiet small">{values}</span> <span class="quiet small">{count}</span>
      </h3>
      {examples.length > 0 ? (
        <List examples={examples} record={record} shading={{ by: "activation", most: record.largest }} label={`Example, ${title},`} short />
      ) : (
        <p class="quiet small">none</p>
      )}
    </div>
  );
}

interface ListProps {
  examples: Example[];
  record: FeatureRecord;
  shading: Shading;
  label: string;
  short?: boolean;
}

function List({ examples, record, shading, label, short }: ListProps) {
  const logits: LogitWeights = useMemo(() => logitWeights(record), [record]);
  return (
    <ol class={short ? "examples short" : "examples"} data-contexts>
      {examples.map((example, i) => (
        <OneExample
          key={`${record.feature}/${example.context}/${example.position}/${i}`}
          example={example}
          largest={record.largest}
          logits={logits}
          shading={shading}
          label={`${label} ${i + 1}`}
          first={i === 0}
        />
      ))}
    </ol>
  );
}
