// The tables of a comparison as they stand in files: universality.json, splitting.json, map.json, automata.json,
// motifs.json and stability.json, whose fields monosem_jax/analysis explains.

type Quantiles = number[] | null;
export type TokenShare = [string, number];

export interface UniversalityRow {
  a: string;
  b: string;
  role_a: string;
  role_b: string;
  kind: string;
  tokens: number;
  exact: boolean;
  error: number;
  features: number;
  alive: number;
  median: number | null;
  interval: [number, number] | null;
  median_dead_0: number | null;
  quantiles: number[];
  counts: number[]; // in equal bins from -1 to 1
  one_to_one_median?: number | null;
  one_to_one_interval?: [number, number] | null;
  one_to_one_same?: number | null;
  own_median?: number | null; // best match with another feature of the same set
  logit_median?: number | null;
  attribution_median_of_matched?: number | null;
  mmcs?: number | null;
  cosine_median?: number | null;
}

export interface StabilityTable {
  of: string;
  seeds: string[];
  above: number;
  stable: number;
  features: number;
  alive: number;
  median: number | null;
  interval: [number, number] | null;
}

export interface StepSide {
  children: number[]; // how many features have 0, 1, 2, and 3 or more
  parents: number[];
  similarity: Quantiles;
  chance: Quantiles;
  cosine: Quantiles;
  child_to_parent: Quantiles;
  matched: Quantiles;
  parent_to_child: Quantiles;
  mass: Quantiles;
}

export interface SplittingStep {
  parents: string;
  children: string;
  considered: number[];
  omitted: number[];
  edges: number;
  all: StepSide;
  best: StepSide;
  merges: number;
  implied: Record<string, number | null>;
  cover?: Record<string, Quantiles>;
  siblings?: Record<string, Quantiles> | null;
  cosine_same_best: number | null;
}

export interface FamilyRule {
  roots: number;
  with_two: number;
  monotone: number;
  ended: number;
  quantiles: Quantiles[];
  largest_component_share?: number | null;
}

export interface SplittingTable {
  sets: string[];
  sizes: number[];
  rule: Record<string, number>;
  steps: SplittingStep[];
  same_size: SplittingStep[];
  families: { implied_least: number; all: FamilyRule; best: FamilyRule; implied: FamilyRule };
}

export interface ToldFeature {
  set: string;
  feature: number;
  fired: number;
  tokens: TokenShare[];
  label: string | null;
  label_lift: number | null;
  n_children?: number;
  share?: number | null;
  children?: ToldFeature[];
}

export interface Told {
  why: string; // "clear split" or "label"
  score?: number;
  label_of?: string;
  correlation?: number;
  level: number;
  feature: ToldFeature;
}

export interface MapTable {
  sets: string[];
  sizes: number[];
  places: number[]; // of its sets among those of the comparison
  rule: Record<string, number>;
  points: number;
  chunk: number;
  clusters: number;
  unclustered: number;
  median_cluster: number | null;
  clusters_of_several_sizes: number;
  joins: { parents: string; children: string; pairs: number; together: number | null; shuffled: number | null; clustered: number | null }[];
}

export interface AutomatonNode {
  feature: number;
  density: number;
  maximum: number;
  tokens: TokenShare[];
  logits: TokenShare[];
  label: string;
}

export interface AutomatonEdge {
  source: number;
  target: number;
  weight: number;
  rate: number;
  base: number;
  token: string;
  joint: number;
  lift: number | null;
  lift_apart: number | null;
  check: {
    held: number;
    unheld: number;
    random: number;
    difference: number;
    low: number;
    high: number;
    above_random: number;
    above_random_low: number;
    confirmed: boolean;
  };
}

export interface Automaton {
  kind: string;
  nodes: AutomatonNode[];
  edges: AutomatonEdge[];
  score: number;
  expected: number;
  false_share: number;
  confirmed: boolean;
  followed: {
    prompt: string;
    held_tokens: number;
    texts: string[];
    pieces: string[][];
    fires: number[][][];
    running: number[];
    plain_texts: string[];
    plain_running: number[];
  } | null;
}

export interface AutomataTable {
  set: string;
  n_features: number;
  edges: number;
  kinds: { kind: string; looked_at: number; found: number; least: number | null; expected: number | null; deviations: number | null }[];
  automata: Automaton[];
  checked_edges: number;
  confirmed_edges: number;
  random_checked: number;
  random_confirmed: number;
  crossed_checked: number;
  crossed_confirmed: number;
  agreement: number | null;
  confirmed: number;
}

export interface Motifs {
  set: string;
  one_token: Record<string, number>;
  families: { token: string; features: [number, { share_of_firings: number; share_of_occurrences: number; label: string | null; label_auc: number | null }][]; labels: string[] }[];
  told_apart: number;
  told_apart_shuffled: number;
  trigrams: { feature: number; first: string; second: string; third: string; share: number; rate: number; rate_elsewhere: number; followed: number; documents: number }[];
  trigram_candidates: number;
  trigrams_shuffled: number;
  memorised: { feature: number; share: number; firings: number; documents: number; text: string }[];
  memorised_shuffled: number;
}
