// How points are coloured: a column of numbers along a ramp, or the largest seven of some categories.

import { digits, share } from "../../text.ts";
import type { Columns, NumberColumn } from "./columns.ts";
import type { Points } from "./points.ts";

export const STEPS = 64; // of a ramp
export const CATEGORIES = 7;
export const OTHER = 200; // places in the palette after the ramps and categories
export const NONE = 201;
export const FAINT = 202;

export interface Category {
  name: string;
  count: number;
  place: number; // in the palette
}

export interface Colouring {
  place: Uint8Array; // in the palette, of each point
  category: Int32Array | null; // number of the category of each point, -1: none
  categories: Category[]; // by falling count; those past the seventh are "other"
  ramp: { low: string; high: string; scale: string } | null;
  none: number; // points of which it is not known
}

export interface Choice {
  key: string;
  name: string;
  means: string;
  records: boolean; // needs the records of the dictionary
}

export const CHOICES: Choice[] = [
  { key: "size", name: "dictionary", means: "the dictionary that the feature is of", records: false },
  { key: "cluster", name: "cluster", means: "clusters that HDBSCAN finds in ten dimensions; the seven largest in colour", records: false },
  { key: "density", name: "density", means: "share of the tokens on which the feature fires, on a logarithmic scale", records: true },
  { key: "score", name: "judge’s score", means: "how well the explanation of the first judge predicts activations, of features that were judged", records: true },
  { key: "label", name: "label", means: "the label of documents with which the feature correlates most, from 0.1 on", records: true },
  { key: "proxy", name: "proxy", means: "the proxy with which the feature correlates most, from 0.1 on", records: true },
  { key: "proxy_correlation", name: "correlation with its proxy", means: "of the activations with the proxy that fits best", records: true },
  { key: "stability", name: "stability", means: "mean best correlation in dictionaries of other seeds", records: true },
  { key: "largest", name: "largest activation", means: "the maximum over the text", records: true },
];

const LEAST = 0.1;

export function colouring(key: string, p: Points, columns: Columns | undefined, setNames: string[]): Colouring {
  if (key === "cluster") return categories(p, (i) => (p.cluster[i]! < 0 ? undefined : `cluster ${p.cluster[i]}`));
  if (columns && key === "label") return categories(p, (i) => ((columns.number(i, "label_correlation") ?? 0) >= LEAST ? columns.label(i) : undefined));
  if (columns && key === "proxy") return categories(p, (i) => ((columns.number(i, "proxy_correlation") ?? 0) >= LEAST ? columns.proxy(i) : undefined));
  if (columns && key !== "size") return ramp(key as NumberColumn, p, columns);
  return categories(p, (i) => setNames[p.set[i]!], setNames);
}

function categories(p: Points, of: (i: number) => string | undefined, inOrder?: string[]): Colouring {
  const counts = new Map<string, number>((inOrder ?? []).map((name) => [name, 0]));
  const names: (string | undefined)[] = [];
  for (let i = 0; i < p.n; i++) {
    const name = of(i);
    names.push(name);
    if (name !== undefined) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const sorted = [...counts].sort((a, b) => (inOrder ? 0 : b[1] - a[1]));
  const found = sorted.map(([name, count], k) => ({ name, count, place: k < CATEGORIES ? STEPS + k : OTHER }));
  const number = new Map(found.map((c, k) => [c.name, k]));
  const category = Int32Array.from(names, (name) => (name === undefined ? -1 : (number.get(name) ?? -1)));
  const place = Uint8Array.from(category, (k) => (k < 0 ? NONE : found[k]!.place));
  return { place, category, categories: found, ramp: null, none: category.filter((k) => k < 0).length };
}

function ramp(key: NumberColumn, p: Points, columns: Columns): Colouring {
  const log = key === "density" || key === "largest";
  const values = new Float32Array(p.n);
  for (let i = 0; i < p.n; i++) {
    const x = columns.number(i, key);
    values[i] = x === null || (log && x <= 0) ? NaN : log ? Math.log10(x) : x;
  }
  const known = values.filter((x) => Number.isFinite(x)).sort();
  const correlation = !log && known.length > 0 && known[0]! >= -1 && known.at(-1)! <= 1;
  // between the 1st and the 99th hundredth, so that a few extreme features do not take all colours
  const at = (q: number) => known[Math.round(q * (known.length - 1))] ?? 0;
  const [low, high] = correlation ? [Math.min(0, at(0.01)), 1] : [at(0.01), at(0.99)];
  const scaled = (x: number) => Math.min(STEPS - 1, Math.max(0, Math.round(((x - low) / Math.max(high - low, 1e-9)) * (STEPS - 1))));
  const place = Uint8Array.from(values, (x) => (Number.isFinite(x) ? scaled(x) : NONE));
  const shown = (x: number) => (key === "density" ? share(10 ** x) : digits(log ? 10 ** x : x, 2));
  return {
    place, category: null, categories: [], none: p.n - known.length,
    ramp: { low: shown(low), high: shown(high), scale: log ? "logarithmic; ends at the 1st and 99th hundredth" : "linear" },
  };
}

type Rgb = [number, number, number];

/** The colours of the palette's places, from the custom properties of the page. */
export function palette(): Rgb[] {
  const style = getComputedStyle(document.documentElement);
  const of = (name: string): Rgb => hex(style.getPropertyValue(name));
  const found: Rgb[] = Array.from({ length: 203 }, () => [128, 128, 128]);
  const stops = [0, 1, 2, 3, 4].map((k) => of(`--ramp-${k}`));
  for (let s = 0; s < STEPS; s++) {
    const x = (s / (STEPS - 1)) * (stops.length - 1);
    const k = Math.min(stops.length - 2, Math.floor(x));
    found[s] = [0, 1, 2].map((c) => Math.round(stops[k]![c]! + (x - k) * (stops[k + 1]![c]! - stops[k]![c]!))) as Rgb;
  }
  SERIES.forEach((name, k) => (found[STEPS + k] = of(name)));
  found[OTHER] = of("--line-strong");
  found[NONE] = of("--line-strong");
  found[FAINT] = of("--line");
  return found;
}

export const SERIES = ["--s0", "--s1", "--s2", "--s3", "--s4", "--s5", "--ink"]; // of the categories

export function hex(colour: string): [number, number, number] {
  const text = colour.trim().slice(1);
  const long = text.length === 3 ? [...text].map((c) => c + c).join("") : text;
  return [0, 2, 4].map((k) => parseInt(long.slice(k, k + 2), 16)) as [number, number, number];
}
