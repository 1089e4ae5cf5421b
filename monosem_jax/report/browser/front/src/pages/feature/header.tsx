// The head of a feature's page: what it is, how often and how strongly it fires, and what to be careful about.

import type { FeatureRecord, Neighbour } from "../../records.ts";
import { routeToFeature } from "../../route.ts";
import type { Dictionary } from "../../site.ts";
import { decimals, digits, share, visible, whole } from "../../text.ts";
import { Explained } from "../../ui/explained.tsx";
import { Term, Warning } from "../../ui/note.tsx";
import { bestExplanation } from "./evidence.tsx";
import { meaningOf, nameOf } from "./sets.ts";

interface Props {
  record: FeatureRecord;
  dictionary: Dictionary;
  set: string;
}

const ENOUGH = 1e7; // tokens that tell a density below 1e-6

export function Header({ record, dictionary, set }: Props) {
  const tokens = dictionary.sets[set]?.tokens ?? 0;
  const explanation = bestExplanation(record);
  const neuron = set === "neurons" ? undefined : nearestNeuron(record);
  return (
    <header class="feature-head">
      <h1>
        {nameOf(set)} {record.feature} <Label record={record} />
      </h1>
      {explanation && (
        <p class="gist">
          <Explained text={gist(explanation.text)} /> <span class="quiet small">says {visible(explanation.judge)}</span>
        </p>
      )}
      {set !== "features" && <p class="quiet">This is {meaningOf(set)}.</p>}
      <dl class="facts">
        <Fact name="density" means={`the share of ${whole(tokens)} held-out tokens on which it fires`} value={share(record.density)} more={times(record)} />
        <Fact name="maximum" means="its largest activation" value={record.density === 0 ? "–" : digits(record.largest)} more={record.mean > 0 ? `mean ${digits(record.mean)} when it fires` : ""} />
        {record.stability !== null && (
          <Fact name="stability" means="the mean of its best correlations in dictionaries that differ by their seed alone: 1 is the same feature in all, above 0.7 counts as found again" value={decimals(record.stability)} more="across seeds" />
        )}
        {record.nearest_label !== null && record.nearest_label_correlation !== null && (
          <Fact
            name="nearest label"
            means="the category of documents with which its activation correlates most, and that Pearson correlation"
            value={visible(record.nearest_label)}
            more={`correlation ${decimals(record.nearest_label_correlation)}`}
          />
        )}
        {neuron && (
          <div>
            <dt><Term means="the neuron whose activation correlates most with this feature’s, and that Pearson correlation: near 1 means that the feature is that neuron">nearest neuron</Term></dt>
            <dd>{"neurons" in dictionary.sets ? <a href={routeToFeature(dictionary.id, neuron.feature, "neurons")}>{neuron.feature}</a> : neuron.feature}</dd>
            <dd class="quiet small">correlation {decimals(neuron.correlation)}</dd>
          </div>
        )}
      </dl>
      {warnings(record, set, tokens).map((text) => <Warning>{text}</Warning>)}
    </header>
  );
}

const nearestNeuron = (record: FeatureRecord): Neighbour | undefined =>
  record.neighbours.filter((n) => n.set === "neurons").sort((a, b) => (b.correlation ?? -2) - (a.correlation ?? -2))[0];

function Label({ record }: { record: FeatureRecord }) {
  if (record.label === null) return null;
  const r = record.label_correlation;
  return (
    <bdi class="best-label" title="of all features, it is the best one for this category of documents">
      best for {visible(record.label)}{r !== null && <span class="small"> r = {decimals(r)}</span>}
    </bdi>
  );
}

function Fact({ name, means, value, more }: { name: string; means: string; value: string; more: string }) {
  return (
    <div>
      <dt><Term means={means}>{name}</Term></dt>
      <dd><bdi>{value}</bdi></dd>
      {more && <dd class="quiet small">{more}</dd>}
    </div>
  );
}

const times = (record: FeatureRecord) => (record.fired > 0 ? `${whole(record.fired)} firings` : "");

/** The first line of an explanation, cut at a word. */
function gist(text: string): string {
  const [line = ""] = text.split("\n");
  return line.length > 160 ? `${line.slice(0, 160).replace(/\s+\S*$/, "")}…` : line;
}

function warnings(record: FeatureRecord, set: string, tokens: number): string[] {
  const few = tokens > 0 && tokens < ENOUGH ? ` ${whole(tokens)} tokens are too few to tell dead from very rare.` : "";
  if (record.density === 0) return [`Dead: it fires on none of the ${whole(tokens)} tokens.${few}`];
  const found: string[] = [];
  if (record.density < 1e-6) found.push("Ultralow density: it fires on less than one token in a million, so examples are few and may not be typical.");
  if (record.fired > 0 && record.fired < 20) found.push(`It fired ${whole(record.fired)} ${record.fired === 1 ? "time" : "times"} only: histograms and scores say little.`);
  if (set === "features" && record.density > 0.1) found.push("Very dense: it fires on more than 10 % of tokens. Such features carry much of the number of active features (L0), and are seldom about one thing.");
  else if (set === "features" && record.density > 0.01) found.push("Dense: it fires on more than 1 % of tokens.");
  return found;
}
