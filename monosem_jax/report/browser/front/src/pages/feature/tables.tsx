// Tables: on which tokens it fires, proxies, what ablation and steering do, and its nearest features.

import { indexSegment, type Dictionary, vocabulary } from "../../site.ts";
import type { FeatureRecord, Neighbour, ProxyScore, TokenInContext } from "../../records.ts";
import { routeToFeature } from "../../route.ts";
import { decimals, digits, share, signed, visible, whole } from "../../text.ts";
import { Chip } from "../../ui/chip.tsx";
import { useOptional } from "../../ui/loaded.tsx";
import { Term } from "../../ui/note.tsx";
import { Scroll } from "../../ui/scroll.tsx";
import { nameOf } from "./sets.ts";

export function TopTokens({ record }: { record: FeatureRecord }) {
  if (record.top_tokens.length === 0) return null;
  return (
    <section aria-labelledby="top-tokens" class="panel">
      <div class="section-head"><h2 id="top-tokens" tabIndex={-1}>Tokens on which it fires</h2></div>
      <Scroll label="Tokens on which it fires">
        <table class="small">
          <thead>
            <tr>
              <th>token</th><th class="number">id</th>
              <th class="number"><Term means="the share of the feature's firings that are on this token">of firings</Term></th>
              <th class="number"><Term means="the share of the token's own occurrences on which the feature fires">of the token</Term></th>
              <th class="number"><Term means="mean activation on it when it fires">mean</Term></th>
            </tr>
          </thead>
          <tbody>
            {record.top_tokens.map((t) => (
              <tr>
                <td><Chip token={t.token} most={40} /></td>
                <td class="number quiet">{t.id}</td>
                <td class="number">{percent(t.share_of_firings)}</td>
                <td class="number">{percent(t.share_of_occurrences)}</td>
                <td class="number">{digits(t.mean)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
      {record.token_in_context && <InContext of={record.token_in_context} />}
    </section>
  );
}

function InContext({ of }: { of: TokenInContext }) {
  return (
    <p class="small">
      <b>A token in context:</b> {percent(of.share_of_firings)} of its firings are on <Chip token={of.token} most={40} />, yet it fires on{" "}
      {percent(of.share_of_occurrences)} of that token's {whole(of.occurrences)} occurrences.{" "}
      {of.label !== null && of.label_auc !== null && (
        <>The label <bdi class="tag">{visible(of.label)}</bdi> tells those from the others with an area under the ROC curve of {decimals(of.label_auc)} (0.5: not at all).</>
      )}
    </p>
  );
}

export function Proxies({ record }: { record: FeatureRecord }) {
  if (record.proxies.length === 0) return null;
  const sorted = [...record.proxies].sort((a, b) => (b.pearson ?? -2) - (a.pearson ?? -2));
  return (
    <section aria-labelledby="proxies" class="panel">
      <div class="section-head"><h2 id="proxies" tabIndex={-1}>Proxies</h2></div>
      <Scroll label="Proxies">
        <table class="small">
          <thead>
            <tr>
              <th>proxy</th>
              <th class="number"><Term means="Pearson correlation of the activation with the proxy in the form named beside it">Pearson</Term></th>
              <th class="number"><Term means="the share of the firings in the highest interval of activation on which the proxy holds">specificity, top</Term></th>
              <th class="number"><Term means="the same over all firings">all</Term></th>
              <th class="number"><Term means="the same with firings weighted by their activation">weighted</Term></th>
              <th class="number"><Term means="the share of the tokens on which the proxy holds on which the feature fires">sensitivity</Term></th>
              <th class="number">tokens</th>
            </tr>
          </thead>
          <tbody>{sorted.map((p) => <ProxyRow of={p} />)}</tbody>
        </table>
      </Scroll>
    </section>
  );
}

function ProxyRow({ of }: { of: ProxyScore }) {
  return (
    <tr>
      <td>{visible(of.proxy)} <span class="quiet">{visible(of.form)}</span></td>
      <td class="number">{decimals(of.pearson)}</td>
      <td class="number">{optional(of.specificity_top)}</td>
      <td class="number">{optional(of.specificity_all)}</td>
      <td class="number">{optional(of.expected_value)}</td>
      <td class="number">{optional(of.sensitivity)}</td>
      <td class="number quiet">{whole(of.positive)}</td>
    </tr>
  );
}

export function Effects({ record }: { record: FeatureRecord }) {
  const { ablation, samples } = record;
  if (!ablation && samples.length === 0) return null;
  return (
    <section aria-labelledby="effects" class="panel">
      <div class="section-head"><h2 id="effects" tabIndex={-1}>Effects</h2></div>
      {ablation && (
        <>
          <p class="small quiet">Ablated on every token of the contexts of the top examples, keeping the dictionary's error, it changes the loss on the next token by</p>
          <dl class="facts">
            <div><dt>where it fires</dt><dd>{nats(ablation.loss_change_firing)}</dd><dd class="quiet small">{whole(ablation.tokens_firing)} tokens</dd></div>
            <div><dt>elsewhere</dt><dd>{nats(ablation.loss_change_elsewhere)}</dd><dd class="quiet small">{whole(ablation.tokens_elsewhere)} tokens</dd></div>
          </dl>
        </>
      )}
      {samples.length > 0 && (
        <>
          <h3>Steering</h3>
          <p class="small quiet">Text sampled from a prompt with the feature held at a value, in units of its maximum.</p>
          {samples.map((s) => (
            <figure class="sample">
              <figcaption class="small quiet">held at {signed(s.strength, 1)} × the maximum ({digits(s.value)})</figcaption>
              <p dir="auto"><span class="quiet">{lines(s.prompt)}</span>{lines(s.text)}</p>
            </figure>
          ))}
        </>
      )}
    </section>
  );
}

export function Neighbours({ record, dictionary }: { record: FeatureRecord; dictionary: Dictionary }) {
  const sets = [...new Set(record.neighbours.map((n) => n.set))];
  if (sets.length === 0) return null;
  return (
    <section aria-labelledby="neighbours" class="panel">
      <div class="section-head"><h2 id="neighbours" tabIndex={-1}>Nearest</h2></div>
      <p class="small quiet">
        By <Term means="Pearson correlation of activations over the scanned tokens">correlation</Term> of activations, with the{" "}
        <Term means="cosine of the angle between the two dictionary vectors">cosine</Term> of directions.
      </p>
      <div class="neighbours">
        {sets.map((set) => <Nearest set={set} of={record.neighbours.filter((n) => n.set === set)} dictionary={dictionary} />)}
      </div>
    </section>
  );
}

const SHOWN = 10;

function Nearest({ set, of, dictionary }: { set: string; of: Neighbour[]; dictionary: Dictionary }) {
  const hints = useHints(dictionary, set, of);
  const known = set in dictionary.sets;
  const row = (n: Neighbour) => (
    <tr>
      <th scope="row">{known ? <a href={routeToFeature(dictionary.id, n.feature, set)}>{n.feature}</a> : n.feature}</th>
      <td class="number">{decimals(n.correlation)}</td>
      <td class="number quiet">{decimals(n.cosine)}</td>
      {hints && <td class="hint">{hints(n.feature)}</td>}
    </tr>
  );
  return (
    <Scroll label={set === "features" ? "Nearest in this dictionary" : `Nearest: ${set}`}>
      <table class="small">
        <caption>{set === "features" ? "in this dictionary" : set}</caption>
        <thead><tr><th>{nameOf(set).toLowerCase()}</th><th class="number">corr.</th><th class="number">cosine</th>{hints && <th>fires on</th>}</tr></thead>
        <tbody>{of.slice(0, SHOWN).map(row)}</tbody>
      </table>
      {of.length > SHOWN && (
        <details class="small"><summary>{of.length - SHOWN} more</summary><table class="small"><tbody>{of.slice(SHOWN).map(row)}</tbody></table></details>
      )}
    </Scroll>
  );
}

/** What each neighbour fires on, from the index of its set: its label if it correlates with one, and its top tokens. */
function useHints(dictionary: Dictionary, set: string, of: Neighbour[]) {
  const info = dictionary.sets[set];
  const complete = info !== undefined && info.records === info.n_features; // then a record's place is its number
  const wanted = complete ? [...new Set(of.map((n) => Math.floor(n.feature / dictionary.segment)))] : [];
  const { value } = useOptional(
    async () => {
      const [texts, ...parts] = await Promise.all([vocabulary(dictionary), ...wanted.map((s) => indexSegment(dictionary, set, s))]);
      return { texts, parts: new Map(wanted.map((s, i) => [s, parts[i]])) };
    },
    `${dictionary.id}/${set}/${wanted.join()}`,
  );
  if (!complete || !value) return null;
  return (feature: number) => {
    const part = value.parts.get(Math.floor(feature / dictionary.segment));
    const at = feature % dictionary.segment;
    const label = dictionary.labels[part?.label[at] ?? -1];
    const strong = (part?.label_correlation[at] ?? 0) > 0.2;
    return (
      <>
        {label !== undefined && strong && <bdi class="tag">{visible(label)}</bdi>}
        {(part?.tokens[at] ?? []).map((t) => <Chip token={value.texts[t] ?? ""} most={14} />)}
      </>
    );
  };
}

const percent = (x: number): string => share(x);
const optional = (x: number | null): string => (x === null ? "–" : share(x));
const nats = (x: number | null): string => (x === null ? "not measured" : `${signed(x, 4)} nats`);
const lines = (text: string): string => text.split("\n").map(visible).join("\n");
