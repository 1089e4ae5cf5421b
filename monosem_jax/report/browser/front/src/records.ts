// The records of an analysis as they stand in files: monosem_jax/analysis/records.py says what each field means.

export interface Source {
  position: number;
  token: string;
  direct: number;
  attention: number;
  head: number;
}

export interface Sources {
  activation: number;
  bias: number;
  direct: number;
  attention: number;
  tokens: Source[];
}

export interface Example {
  context: number;
  position: number;
  peak: number;
  tokens: string[];
  activations: number[];
  origin: string;
  label: string;
  token_ids: number[];
  loss_effects: number[];
  sources: Sources | null;
}

export interface Interval {
  low: number;
  high: number;
  count: number;
  examples: Example[];
}

export interface Histogram {
  edges: number[];
  counts: number[];
}

export interface TopToken {
  id: number;
  token: string;
  fired: number;
  share_of_firings: number;
  share_of_occurrences: number;
  mean: number;
}

export interface Neighbour {
  set: string;
  feature: number;
  correlation: number | null;
  cosine: number | null;
}

export interface ProxyScore {
  proxy: string;
  form: string;
  pearson: number | null;
  specificity: (number | null)[];
  firings: number[];
  specificity_top: number | null;
  specificity_all: number | null;
  expected_value: number | null;
  sensitivity: number | null;
  positive: number;
}

export interface TokenInContext {
  id: number;
  token: string;
  share_of_firings: number;
  share_of_occurrences: number;
  occurrences: number;
  label: string | null;
  label_auc: number | null;
}

export interface LogitSummary {
  n_tokens: number;
  deviation: number;
  skewness: number;
  kurtosis: number;
}

export interface Explanation {
  judge: string;
  text: string;
  size: number;
  unit: string;
}

export interface Score {
  judge: string;
  kind: string;
  value: number | null;
  other: number | null;
  shuffled: number | null;
  samples: number;
  note: string;
}

export interface Ablation {
  loss_change_firing: number | null;
  loss_change_elsewhere: number | null;
  tokens_firing: number;
  tokens_elsewhere: number;
}

export interface Sample {
  prompt: string;
  strength: number;
  value: number;
  text: string;
}

export interface FeatureRecord {
  feature: number;
  density: number;
  largest: number;
  label: string | null;
  label_correlation: number | null;
  top_logits: [string, number][];
  bottom_logits: [string, number][];
  examples: Example[];
  set: string;
  fired: number;
  mean: number;
  nearest_label: string | null;
  nearest_label_correlation: number | null;
  log_histogram: Histogram | null;
  linear_histogram: Histogram | null;
  intervals: Interval[];
  random: Example[];
  top_tokens: TopToken[];
  token_in_context: TokenInContext | null;
  proxies: ProxyScore[];
  logits: LogitSummary | null;
  neighbours: Neighbour[];
  explanations: Explanation[];
  scores: Score[];
  ablation: Ablation | null;
  samples: Sample[];
  stability: number | null;
}

export interface Category {
  label: string;
  tokens: number;
  feature: number;
  feature_correlation: number;
  neuron: number;
  neuron_correlation: number;
}
