// What a feature is called in lists and graphs: its top tokens, its label, the beginning of its explanation.

import { useEffect, useState } from "preact/hooks";
import { type Comparison, comparison, dictionaryOf, told } from "./relations.ts";
import type { ToldFeature } from "./relations_types.ts";
import { type ComparedSet, type Dictionary, type IndexColumns, indexSegment, segments, type Site, vocabulary } from "./site.ts";

export interface Named {
  tokens: string[];
  label: string; // "" where none is known
  text: string; // explanation
  density?: number;
}

/** The place of a feature in the index of a set, or null when it has no record. */
export async function rowOf(d: Dictionary, set: string, feature: number): Promise<{ columns: IndexColumns; at: number } | null> {
  const info = d.sets[set];
  if (!info || feature < 0) return null;
  // records are in rising order of features, so that record k is of feature k or a later one
  let low = 0;
  let high = Math.min(segments(d, set) - 1, Math.floor(feature / d.segment));
  if (info.records === info.n_features) low = high;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const columns = await indexSegment(d, set, middle);
    const first = columns.feature[0] ?? Infinity;
    const last = columns.feature.at(-1) ?? -Infinity;
    if (feature < first) high = middle - 1;
    else if (feature > last) low = middle + 1;
    else {
      const at = columns.feature.indexOf(feature);
      return at < 0 ? null : { columns, at };
    }
  }
  return null;
}

/** The strings of the tokens, and the label, of a row of an index. */
export function namedRow(d: Dictionary, columns: IndexColumns, at: number, strings: string[]): Named {
  const label = columns.label[at] ?? -1;
  return {
    tokens: (columns.tokens[at] ?? []).map((id) => strings[id] ?? ""),
    label: label >= 0 && (columns.label_correlation[at] ?? 0) >= 0.1 ? (d.labels[label] ?? "") : "",
    text: columns.text[at] ?? "",
    density: columns.density[at],
  };
}

let families: Promise<Map<string, Named>> | undefined;

/** Tokens of features that the comparison tells of, for dictionaries whose records are not in the browser. */
function toldNames(c: Comparison): Promise<Map<string, Named>> {
  families ??= !c.has.splitting
    ? Promise.resolve(new Map())
    : told().then((rows) => {
        const found = new Map<string, Named>();
        const add = (f: ToldFeature): void => {
          found.set(`${f.set}/${f.feature}`, { tokens: f.tokens.map(([t]) => t), label: f.label ?? "", text: "" });
          f.children?.forEach(add);
        };
        rows.forEach((row) => add(row.feature));
        return found;
      });
  return families;
}

async function named(site: Site, set: ComparedSet, feature: number): Promise<Named | undefined> {
  const d = dictionaryOf(site, set);
  if (d) {
    const [row, strings] = await Promise.all([rowOf(d, set.set, feature), vocabulary(d)]);
    if (row) return namedRow(d, row.columns, row.at, strings);
  }
  const c = comparison(site);
  return c ? (await toldNames(c)).get(`${set.name}/${feature}`) : undefined;
}

export type Wanted = { set: ComparedSet; feature: number };
export const nameKey = (set: ComparedSet, feature: number): string => `${set.name}/${feature}`;

/** The names of features, by `nameKey`, as they come in; those that are not known stay out. */
export function useNames(site: Site, wanted: Wanted[]): Map<string, Named> {
  const [found, setFound] = useState(new Map<string, Named>());
  const key = wanted.map((w) => nameKey(w.set, w.feature)).join("|");
  useEffect(() => {
    let current = true;
    const left = wanted.map((w) =>
      named(site, w.set, w.feature).then(
        (name) => [nameKey(w.set, w.feature), name] as const,
        () => [nameKey(w.set, w.feature), undefined] as const, // a name is missing, the rest is shown
      ),
    );
    void Promise.all(left).then((names) => {
      const known = names.filter((n): n is readonly [string, Named] => n[1] !== undefined);
      if (current) setFound(new Map(known));
    });
    return () => {
      current = false;
    };
  }, [key]);
  return found;
}
