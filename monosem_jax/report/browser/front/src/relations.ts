// What the browser knows of how dictionaries relate: monosem_jax/report/browser/relations*.py write it.

import { type Arrays, arrays, joined } from "./arrays.ts";
import { json, padded } from "./data.ts";
import type { AutomataTable, MapTable, Motifs, SplittingTable, StabilityTable, Told, UniversalityRow } from "./relations_types.ts";
import { routeToFeature } from "./route.ts";
import type { ComparedSet, Dictionary, Site } from "./site.ts";

export const PREFIX = "compared.sets";

export interface Gap {
  kind: string;
  reason: string;
}

export interface Comparison {
  sets: ComparedSet[];
  tokens: number | null; // on which everything was measured
  gaps: Gap[];
  has: Record<string, boolean>; // universality, stability, splitting, map, automata, motifs
  absent: Record<string, string>;
  universality?: { pairs: [number, number][]; chunk: number };
  stability?: StabilityTable & { chunk: number };
  splitting?: { sets: number[]; chunk: number; most_children: number; most_parents: number; rule: Record<string, number> };
  map?: MapTable;
  automata?: { sets: string[] };
  motifs?: { set: string };
}

export const comparison = (site: Site): Comparison | null => site.comparison as Comparison | null;

/** The place among the compared sets of a set of a dictionary, or -1. */
export const placeOf = (c: Comparison | null, dictionary: string, set = "features"): number =>
  c?.sets.findIndex((s) => s.dictionary === dictionary && s.set === set) ?? -1;

export const placeOfName = (c: Comparison | null, name: string): number => c?.sets.findIndex((s) => s.name === name) ?? -1;

/** The dictionary of the browser that has the records of a set, if there is one. */
export const dictionaryOf = (site: Site, set: ComparedSet | undefined): Dictionary | undefined =>
  set?.dictionary == null ? undefined : site.dictionaries.find((d) => d.id === set.dictionary);

/** The address of a feature of a compared set, or undefined when its records are not in the browser. */
export function addressOf(site: Site, set: ComparedSet | undefined, feature: number): string | undefined {
  const d = dictionaryOf(site, set);
  return d && set && feature >= 0 ? routeToFeature(d.id, feature, set.set) : undefined;
}

export const universality = (): Promise<UniversalityRow[]> => json(`${PREFIX}/universality`);
export const splitting = (): Promise<SplittingTable> => json(`${PREFIX}/splitting`);
export const told = (): Promise<Told[]> => json(`${PREFIX}/told`);
export const automata = (): Promise<Record<string, AutomataTable>> => json(`${PREFIX}/automata`);
export const motifs = (): Promise<Motifs> => json(`${PREFIX}/motifs`);

/** The best match of a feature of set `i` in set `j`, that one's best match in `i`, and the assignment one to one. */
export interface Match {
  feature: number; // -1: the feature never fires in this text
  correlation: number;
  back: number;
  back_correlation: number;
  one_to_one: number; // -1: it has none
  one_to_one_correlation: number;
}

export const wereMatched = (c: Comparison, i: number, j: number): boolean =>
  c.universality?.pairs.some(([a, b]) => a === i && b === j) ?? false;

export async function match(c: Comparison, i: number, j: number, feature: number): Promise<Match | null> {
  if (!c.universality || !wereMatched(c, i, j)) return null;
  const { chunk } = c.universality;
  const columns = await arrays(`${PREFIX}/match-${i}-${j}/${padded(Math.floor(feature / chunk))}`);
  return matchAt(columns, feature % chunk);
}

export const matchAt = (columns: Arrays, at: number): Match => ({
  feature: columns.feature?.[at] ?? -1,
  correlation: columns.correlation?.[at] ?? NaN,
  back: columns.back?.[at] ?? -1,
  back_correlation: columns.back_correlation?.[at] ?? NaN,
  one_to_one: columns.one_to_one?.[at] ?? -1,
  one_to_one_correlation: columns.one_to_one_correlation?.[at] ?? NaN,
});

/** All matches of set `i` in set `j`, as columns. */
export function allMatches(c: Comparison, i: number, j: number): Promise<Arrays> {
  const size = c.sets[i]?.n_features ?? 0;
  return whole(`match-${i}-${j}`, size, c.universality?.chunk ?? 1);
}

export const stabilities = (c: Comparison): Promise<Arrays> =>
  whole("stability", c.stability?.features ?? 0, c.stability?.chunk ?? 1);

export const points = (c: Comparison): Promise<Arrays> => whole("map", c.map?.points ?? 0, c.map?.chunk ?? 1);

async function whole(name: string, size: number, chunk: number): Promise<Arrays> {
  const numbers = Array.from({ length: Math.ceil(size / chunk) }, (_, k) => k);
  return joined(await Promise.all(numbers.map((k) => arrays(`${PREFIX}/${name}/${padded(k)}`))));
}

export const FIGURES = ["similarity", "chance", "cosine", "child_to_parent", "matched", "parent_to_child", "mass"] as const;
export type Figure = (typeof FIGURES)[number];

/** An edge of feature splitting, from one of its ends. */
export type Edge = Record<Figure, number> & {
  other: number; // the feature at the other end
  best: boolean; // whether the parent is the child's best one
};

export interface Edges {
  edges: Edge[]; // best parents first, then by falling similarity
  total: number; // how many there are; the browser holds the first of them
  cover: Record<string, number>; // of children together: share, mass, within, together
}

/** The children of a feature, `step` sizes up from the smallest dictionary. */
export const children = (c: Comparison, step: number, feature: number): Promise<Edges> => edges(c, `children-${step}`, feature);

/** The parents of a feature of the larger dictionary of a step. */
export const parents = (c: Comparison, step: number, feature: number): Promise<Edges> => edges(c, `parents-${step}`, feature);

async function edges(c: Comparison, name: string, feature: number): Promise<Edges> {
  const chunk = c.splitting?.chunk ?? 1;
  const columns = await arrays(`${PREFIX}/${name}/${padded(Math.floor(feature / chunk))}`);
  const at = feature % chunk;
  const found: Edge[] = [];
  for (let e = columns.start?.[at] ?? 0; e < (columns.start?.[at + 1] ?? 0); e++) {
    const figures = Object.fromEntries(FIGURES.map((f) => [f, columns[f]?.[e] ?? NaN])) as Record<Figure, number>;
    found.push({ other: columns.other?.[e] ?? -1, best: columns.best?.[e] === 1, ...figures });
  }
  const cover: Record<string, number> = {};
  for (const key of ["share", "mass", "within", "together"]) {
    const x = columns[`cover_${key}`]?.[at];
    if (x !== undefined && Number.isFinite(x)) cover[key] = x;
  }
  return { edges: found, total: columns.total?.[at] ?? 0, cover };
}
