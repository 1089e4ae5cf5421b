// data/ID/overview.js: what monosem_jax/report/browser/overview.py writes.

import { json } from "../../data.ts";
import type { Category } from "../../records.ts";
import type { Dictionary } from "../../site.ts";

export type Numbers = Record<string, number | string | null | undefined>;
export type Curves = Record<string, [number[], number[]]>; // key → steps, values

export interface Spectrum {
  edges: number[]; // log10 of densities
  counts: number[];
  l0: number[]; // share of L0
  dead: number;
  n: number;
}

export interface ProxyBest {
  set: string;
  feature: number;
  pearson?: number;
  specificity_top?: number;
  specificity_all?: number;
  sensitivity?: number;
  lowest: number | null; // specificity where it is barely active
}

export interface ProxyRow {
  proxy: string;
  about: string;
  positive: number;
  best: ProxyBest[];
}

export interface JudgeSummary {
  kind: string;
  group: string;
  n: number;
  mean?: number;
  median?: number;
  shuffled_mean?: number;
}

export interface JudgeRow {
  set: string;
  judge: string;
  single_token_share: number | null;
  summaries: JudgeSummary[];
}

export interface Start {
  feature: number;
  value: number;
  tokens: string[];
}

export interface OverviewData {
  dictionary: Numbers;
  transformer: Numbers | null;
  evidence: Numbers;
  curves: { dictionary: Curves; transformer: Curves };
  resample_steps: number[];
  density: Spectrum;
  density_tokens: number;
  categories: Category[];
  gaps: { kind: string; reason: string }[];
  proxies: ProxyRow[];
  health: Record<string, Numbers>;
  probes: Record<string, Numbers>;
  judges: JudgeRow[];
  start: Record<string, Start[]>;
}

export const loadOverview = (d: Dictionary): Promise<OverviewData> => json<OverviewData>(`${d.id}/overview`);

/** The number of a key, or null when it was not measured. */
export const number = (values: Numbers | null | undefined, key: string): number | null => {
  const value = values?.[key];
  return typeof value === "number" && Number.isFinite(value) ? value : null;
};

/** A share as per cent, with one decimal where it matters. */
export const percent = (x: number | null | undefined, decimals = 1): string =>
  x == null ? "–" : `${(100 * x).toFixed(Math.abs(x) >= 0.9995 ? 0 : decimals).replace("-", "−")} %`;

export const count = (n: number): string => n.toLocaleString("en-US");
