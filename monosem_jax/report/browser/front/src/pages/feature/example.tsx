// One example: its tokens, where it comes from, and on request which tokens cause the activation.

import { useMemo, useState } from "preact/hooks";
import type { Example, FeatureRecord } from "../../records.ts";
import { digits, signed, visible } from "../../text.ts";
import { pieces, textOf, windowAround } from "../../tokens.ts";
import { type Facts, type Shade, Tokens } from "../../ui/tokens.tsx";
import { peakOf } from "./bins.ts";
import { Causes } from "./causes.tsx";

export interface Shading {
  by: "activation" | "loss";
  most: number; // the value with the strongest shade
}

/** What makes the facts about a token: the weights of the feature on logits, by the text of a token. */
export interface LogitWeights {
  of: Map<string, number>;
  listed: number; // tokens at either end
}

export const logitWeights = (record: FeatureRecord): LogitWeights => ({
  of: new Map([...record.bottom_logits, ...record.top_logits]),
  listed: Math.min(record.top_logits.length, record.bottom_logits.length),
});

interface Props {
  example: Example;
  largest: number;
  logits: LogitWeights;
  shading: Shading;
  label: string; // "Top example 1"
  first: boolean;
  rank?: string;
}

export function OneExample({ example, largest, logits, shading, label, first, rank }: Props) {
  const [whole, setWhole] = useState(false);
  const [why, setWhy] = useState(false);
  const all = useMemo(() => pieces(example.tokens), [example]);
  const middle = Math.max(all.findIndex((p) => p.tokens.includes(example.peak)), 0);
  const [from, to] = whole ? [0, all.length] : windowAround(all.length, middle);
  const left = all.length - (to - from);
  const caused = why && example.sources ? contributions(example) : null;
  const values = caused ?? (shading.by === "loss" ? example.loss_effects : example.activations);
  const most = caused ? Math.max(...caused.map(Math.abs)) : shading.most;
  const shade: Shade = caused || shading.by === "loss" ? "diverging" : "fire";
  const peak = peakOf(example);
  const text = textOf(all.slice(from, to));
  return (
    <li class="example">
      <span class="value" title="activation at the underlined token">{rank ?? digits(peak)}</span>
      <div class="text">
        <Tokens
          tokens={example.tokens}
          all={all}
          from={from}
          to={to}
          peak={example.peak}
          values={values}
          most={most}
          shade={shade}
          label={`${label}, ${peak > 0 ? `activation ${digits(peak)}` : "does not fire on its token"}: ${text.slice(0, 600)}`}
          first={first}
          facts={(t) => factsOf(example, t, largest, logits, caused)}
        />
        <p class="meta small quiet">
          {example.label && <bdi class="tag">{visible(example.label)}</bdi>}
          {example.origin && <bdi class="origin" title={visible(example.origin)}>{visible(example.origin)}</bdi>}
          <span>context {example.context}, token {example.position}</span>
          {(left > 0 || whole) && (
            <button type="button" class="link" aria-expanded={whole} onClick={() => setWhole(!whole)}>
              {whole ? "less" : `more (${left} further ${left === 1 ? "piece" : "pieces"})`}
            </button>
          )}
          {example.sources && (
            <button type="button" class="link" aria-expanded={why} onClick={() => setWhy(!why)}>
              {why ? "hide causes" : "which tokens cause it?"}
            </button>
          )}
        </p>
        {why && example.sources && <Causes example={example} sources={example.sources} />}
      </div>
    </li>
  );
}

/** What each token of the window contributes to the activation at the peak: 0 where it is not listed. */
export function contributions(example: Example): number[] {
  const begin = example.position - example.peak;
  const found = example.tokens.map(() => 0);
  for (const s of example.sources?.tokens ?? []) {
    if (s.position - begin in found) found[s.position - begin] = s.direct + s.attention;
  }
  return found;
}

function factsOf(example: Example, t: number, largest: number, logits: LogitWeights, caused: number[] | null): Facts {
  const facts: Facts = [];
  const activation = example.activations[t] ?? 0;
  const part = largest > 0 ? ` (${Math.round((100 * activation) / largest)} % of the maximum)` : "";
  facts.push(["activation", activation > 0 ? `${digits(activation)}${part}` : "0: it does not fire"]);
  const id = example.token_ids[t];
  if (id !== undefined) facts.push(["token id", String(id)]);
  if (caused) facts.push(["causes at peak", caused[t] ? signed(caused[t] ?? 0, 3) : "not among the strongest"]);
  const weight = logits.of.get(example.tokens[t] ?? "");
  if (logits.listed > 0) {
    facts.push(["logit weight", weight === undefined ? `not among the ${logits.listed} highest or lowest` : signed(weight, 3)]);
  }
  const effect = example.loss_effects[t];
  if (effect !== undefined) facts.push(["loss if ablated", `${signed(effect, 4)} nats`]);
  return facts;
}
