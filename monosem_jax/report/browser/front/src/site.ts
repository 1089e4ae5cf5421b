// What the browser holds: data/site.js and the columns of a set's index.

import { json, padded } from "./data.ts";
import type { FeatureRecord } from "./records.ts";

export interface SetInfo {
  n_features: number; // of the set
  records: number; // of them that have a record
  tokens: number; // of the text on which they were measured
}

export interface Dictionary {
  id: string;
  name: string;
  run: Record<string, string | number | null>; // what was trained on what: see the overview
  site: string;
  n_features: number;
  sets: Record<string, SetInfo>; // features, neurons, control, random
  chunk: number; // features of a chunk of records
  segment: number; // records of a segment of the index
  figures?: Record<string, number | string | null>; // a few numbers of its overview, for tables of all dictionaries
  labels: string[];
  proxies: string[];
  has: Record<string, boolean>; // overview, search, decoder, model, rating, …
  absent: Record<string, string>; // why something is not there
}

export interface ComparedSet {
  name: string;
  role: string;
  n_features: number;
  dictionary: string | null; // id of the dictionary in this browser, if its records are here
  set: string; // which of its sets
  model?: string; // hash of the transformer's parameters
  architecture?: string | null;
  seed?: number | null;
  site?: string;
}

export interface Site {
  format: number;
  title: string;
  version: string;
  dictionaries: Dictionary[];
  comparison: { sets: ComparedSet[]; has: Record<string, boolean>; absent: Record<string, string> } | null;
}

export const FORMAT = 1;

export const loadSite = (): Promise<Site> => json<Site>("site");

/** The columns of the index of a set (see INDEX_COLUMNS of records_io.py), for one segment of its records. */
export interface IndexColumns {
  feature: number[];
  density: number[];
  largest: number[];
  tokens: number[][];
  label: number[];
  label_correlation: (number | null)[];
  proxy: number[];
  proxy_correlation: (number | null)[];
  score: (number | null)[];
  shuffled: (number | null)[];
  stability: (number | null)[];
  text: string[]; // the explanation of the first judge, cut to 100 characters
  best: number[]; // the label for which it is the best feature, or -1
}

export const segments = (d: Dictionary, set: string): number => Math.ceil((d.sets[set]?.records ?? 0) / d.segment);

export const indexSegment = (d: Dictionary, set: string, segment: number): Promise<IndexColumns> =>
  json<IndexColumns>(`${d.id}/${set}/index-${segment}`);

/** The text of every token of a dictionary's tokenizer. */
export const vocabulary = (d: Dictionary): Promise<string[]> => json<string[]>(`${d.id}/vocabulary`);

/** The record of a feature, or null when it has none. Rejects with MissingData. */
export async function record(d: Dictionary, set: string, feature: number): Promise<FeatureRecord | null> {
  const chunk = await json<FeatureRecord[]>(`${d.id}/${set}/${padded(Math.floor(feature / d.chunk))}`);
  return chunk.find((r) => r.feature === feature) ?? null;
}

