// Which features are shown, and in what order: all of it stands in the address.

import type { Dictionary } from "../../site.ts";
import type { Found } from "../../search.ts";
import type { Column, Table } from "./table.ts";

export const DENSE = 0.01;
export const ULTRALOW = 1e-6;
export const ULTRALOW_TOKENS = 1e7; // with fewer, a density below 1e-6 cannot be told from one a few times higher

export const CLASSES: Record<string, string> = {
  alive: "alive",
  dead: "dead",
  ultralow: "ultralow",
  dense: "dense",
};

export const SORTS: Record<string, string> = {
  match: "how well it matches",
  feature: "number",
  density: "density",
  largest: "maximum",
  label: "correlation with a label",
  proxy: "correlation with a proxy",
  score: "score of the judge",
  gain: "score minus shuffled",
  stability: "stability",
};

/** The keys of the address, apart from `set`. Numbers that are not there are NaN and ask nothing. */
export interface Filter {
  q: string;
  sort: string;
  descending: boolean;
  label: number; // index of a label, -1: any
  proxy: number;
  least: number; // correlation with that label or proxy (with both: with each)
  min: number; // density
  max: number;
  peak: number; // maximum
  score: number;
  gain: number; // score minus shuffled
  stable: number;
  class: string;
  best: boolean; // the best feature for a label
}

export function filterOf(query: URLSearchParams, d: Dictionary): Filter {
  const number = (key: string) => {
    const text = query.get(key);
    return text === null || text.trim() === "" ? NaN : Number(text);
  };
  const q = query.get("q") ?? "";
  const asked = query.get("sort") ?? "";
  const sort = Object.hasOwn(SORTS, asked) && (asked !== "match" || q) ? asked : q ? "match" : "feature";
  const dir = query.get("dir");
  const kind = query.get("class") ?? "";
  return {
    q, sort,
    descending: dir === "desc" || (dir !== "asc" && sort !== "feature"),
    label: d.labels.indexOf(query.get("label") ?? ""),
    proxy: d.proxies.indexOf(query.get("proxy") ?? ""),
    least: number("least"), min: number("min"), max: number("max"), peak: number("peak"),
    score: number("score"), gain: number("gain"), stable: number("stable"),
    class: Object.hasOwn(CLASSES, kind) ? kind : "",
    best: query.get("best") === "1",
  }; // prettier-ignore
}

/** Keys that narrow the choice: "clear" removes them. */
export const NARROWING = ["q", "label", "proxy", "least", "min", "max", "peak", "score", "gain", "stable", "class", "best"];

type Test = (row: number) => boolean;

function tests(table: Table, f: Filter, found: Found | null, tokens: number): Test[] {
  const c = table.columns;
  const all: Test[] = [];
  const least = (column: Column, value: number) => {
    if (!Number.isNaN(value)) all.push((row) => at(c[column], row) >= value);
  };
  if (found) all.push((row) => at(found.rank, row) > 0);
  if (f.label >= 0) all.push((row) => at(c.label, row) === f.label);
  if (f.proxy >= 0) all.push((row) => at(c.proxy, row) === f.proxy);
  if (f.label >= 0 || f.proxy < 0) least("label_correlation", f.least);
  if (f.proxy >= 0) least("proxy_correlation", f.least);
  least("density", f.min);
  if (!Number.isNaN(f.max)) all.push((row) => at(c.density, row) <= f.max);
  least("largest", f.peak);
  least("score", f.score);
  if (!Number.isNaN(f.gain)) all.push((row) => at(c.score, row) - at(c.shuffled, row) >= f.gain - 1e-9);
  least("stability", f.stable);
  if (f.best) all.push((row) => at(c.best, row) >= 0);
  if (f.class) all.push((row) => classOf(at(c.density, row), tokens).includes(f.class));
  return all;
}

const at = (values: ArrayLike<number>, row: number): number => values[row] ?? NaN;

/** What a density makes of a feature; which are ultralow cannot be told from few tokens. */
export function classOf(density: number, tokens: number): string[] {
  if (density === 0) return ["dead"];
  if (density < ULTRALOW && tokens >= ULTRALOW_TOKENS) return ["alive", "ultralow"];
  return density > DENSE ? ["alive", "dense"] : ["alive"];
}

function keys(table: Table, f: Filter, found: Found | null): ((row: number) => number) | null {
  const c = table.columns;
  switch (f.sort) {
    case "match":
      // Ranks are whole numbers: what fits a label decides between equals.
      return found
        ? (row) => at(found.rank, row) + Math.max(0, at(c.label_correlation, row) || 0) / 3 + (at(c.best, row) >= 0 ? 0.5 : 0)
        : null;
    case "label":
      return (row) => at(c.label_correlation, row);
    case "proxy":
      return (row) => at(c.proxy_correlation, row);
    case "gain":
      return (row) => at(c.score, row) - at(c.shuffled, row);
    case "feature":
      return null; // the order of the table
    default:
      return (row) => at(c[f.sort as Column], row);
  }
}

/** The places of the records that pass, in order; those without the value they are sorted by come last. */
export function ordered(table: Table, f: Filter, found: Found | null): Uint32Array {
  const all = tests(table, f, found, table.dictionary.sets[table.set]?.tokens ?? 0);
  const rows = new Uint32Array(table.records);
  let count = 0;
  for (let row = 0; row < table.records; row++) {
    if (table.known[row] === 1 && all.every((test) => test(row))) rows[count++] = row;
  }
  const kept = rows.subarray(0, count);
  const key = keys(table, f, found);
  if (key) {
    const sign = f.descending ? -1 : 1;
    const values = new Float64Array(table.records).fill(Infinity);
    for (const row of kept) {
      const value = key(row);
      if (!Number.isNaN(value)) values[row] = sign * value;
    }
    kept.sort((a, b) => (values[a] ?? 0) - (values[b] ?? 0) || a - b);
  } else if (f.descending && f.sort === "feature") {
    kept.reverse();
  }
  return kept;
}
