// The columns of the table: what stands in a cell, and what it means.

import type { JSX } from "preact";
import { decimals, digits, share, visible } from "../../text.ts";
import { Chip } from "../../ui/chip.tsx";
import { Explained } from "../../ui/explained.tsx";
import { classOf } from "./filter.ts";
import type { Column, Table } from "./table.ts";

export interface ColumnOf {
  key: string; // of SORTS, or "text"
  title: string;
  means: string;
  width: string;
  needs?: Column; // shown only where a record has one
  cell: (table: Table, row: number, vocabulary: string[]) => JSX.Element | string;
}

const value = (table: Table, column: Column, row: number): number => table.columns[column][row] ?? NaN;
const known = (x: number): number | null => (Number.isNaN(x) ? null : x);

export const COLUMNS: ColumnOf[] = [
  {
    key: "feature", title: "Number", width: "4.5rem",
    means: "place of the feature in the dictionary",
    cell: (t, row) => String(value(t, "feature", row)),
  },
  { key: "text", title: "Explanation or top tokens", width: "minmax(0, 1fr)", cell: text,
    means: "what a judge says that the feature is, or the tokens on which it fires most often" },
  { key: "density", title: "Density", width: "10rem", cell: density,
    means: "share of the tokens of held-out text on which it fires; the bar is on a logarithmic scale from one in a million to all" },
  { key: "largest", title: "Maximum", width: "5rem", means: "its largest activation on held-out text",
    cell: (t, row) => digits(value(t, "largest", row), 3) },
  { key: "label", title: "Label (r)", width: "10.5rem", needs: "label",
    means: "the label of documents with which its activation correlates most, and the correlation; the star marks the best feature for a label",
    cell: (t, row) => named(t.dictionary.labels, value(t, "label", row), value(t, "label_correlation", row), value(t, "best", row)) },
  { key: "proxy", title: "Proxy (r)", width: "8.5rem", needs: "proxy",
    means: "the rule for tokens with which its activation correlates most, and the correlation",
    cell: (t, row) => named(t.dictionary.proxies, value(t, "proxy", row), value(t, "proxy_correlation", row), -1) },
  { key: "score", title: "Score | shuffled", width: "7.5rem", needs: "score",
    means: "how well the judge's explanation predicts the activations (Spearman), and the same with the explanation of another feature: only the difference counts",
    cell: score },
  { key: "stability", title: "Stability", width: "5rem", needs: "stability",
    means: "mean of its best correlations in dictionaries of other seeds",
    cell: (t, row) => decimals(known(value(t, "stability", row))) },
]; // prettier-ignore

function text(t: Table, row: number, vocabulary: string[]): JSX.Element {
  const explanation = t.text[row];
  if (explanation) return <Explained class="explained" text={explanation} />;
  const tokens = t.tokens[row] ?? [];
  if (tokens.length === 0) return <span class="quiet">{value(t, "density", row) === 0 ? "never fires" : "–"}</span>;
  return (
    <span class="tokens">
      {tokens.map((id) => <Chip token={vocabulary[id] ?? ""} most={40} />)}
    </span>
  );
}

const DECADES = 6;

function density(t: Table, row: number): JSX.Element {
  const x = value(t, "density", row);
  const kinds = classOf(x, t.dictionary.sets[t.set]?.tokens ?? 0);
  const kind = ["dead", "ultralow", "dense"].find((k) => kinds.includes(k));
  const length = x > 0 ? Math.max(0, Math.min(1, (Math.log10(x) + DECADES) / DECADES)) : 0;
  return (
    <>
      <span class="bar" aria-hidden="true"><span style={{ width: `${100 * length}%` }} /></span>
      <span>{kind === "dead" ? "dead" : share(x)}</span>
      {kind && kind !== "dead" && <span class="kind">{kind}</span>}
    </>
  );
}

function named(names: string[], index: number, correlation: number, best: number): JSX.Element | string {
  const name = names[index];
  if (name === undefined) return "–";
  return (
    <>
      {best >= 0 && <span class="star" title={`best feature for ${visible(names[best] ?? "")}`}>★<span class="unseen"> best feature for {visible(names[best] ?? "")},</span></span>}
      <bdi class="name">{visible(name)}</bdi> <span class="quiet">{decimals(known(correlation))}</span>
    </>
  );
}

function score(t: Table, row: number): JSX.Element | string {
  const own = known(value(t, "score", row));
  if (own === null) return "–";
  return <>{decimals(own)} <span class="quiet">| {decimals(known(value(t, "shuffled", row)))}</span></>;
}
