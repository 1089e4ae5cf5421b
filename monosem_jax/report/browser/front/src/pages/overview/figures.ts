// The headline figures: each with its meaning, the rule by which it is judged, and a warning where the rule is broken.

import { decimals, digits } from "../../text.ts";
import { count, number, type Numbers, type OverviewData, percent } from "./data.ts";

export interface Versus {
  name: string;
  value: number | null;
  text: string;
  ours?: boolean;
}

export interface Headline {
  name: string;
  value: string;
  meaning: string;
  detail?: string;
  rule: string; // what counts as good, said beside the number whether it is met or not
  warnings: string[];
  versus?: { rows: Versus[]; from: number; to: number };
  paper?: string; // the paper's value with its condition, where it can be compared
}

export interface Group {
  question: string;
  figures: Headline[];
}

const OTHERS: [string, string][] = [["neurons", "neurons"], ["control", "control"], ["random", "random directions"]];

/** Whether the paper's figures are of the same kind of site: the hidden layer of the MLP of a transformer of one layer. */
export const asInPaper = (site: string, run: Numbers): boolean => site === "mlp_hidden.0" && run["transformer layers"] === 1;

export function headlines(data: OverviewData, run: Numbers, site: string): Group[] {
  const paper = asInPaper(site, run);
  const found: Group[] = [
    { question: "Does it hold what the model needs?", figures: [recovered(data, paper), explained(data), model(data)] },
    { question: "Is it sparse?", figures: [sparsity(data, run, paper), dead(data, paper), twins(data)] },
    { question: "Do its features mean something?", figures: [judge(data, paper), probes(data), fms(data), stability(data)] },
  ].map((g) => ({ question: g.question, figures: g.figures.filter((f): f is Headline => f !== null) }));
  return found.filter((g) => g.figures.length > 0);
}

function recovered({ dictionary: d }: OverviewData, paper: boolean): Headline | null {
  const zero = number(d, "loss_recovered_zero");
  const mean = number(d, "loss_recovered_mean");
  if (zero === null && mean === null) return null;
  const [intact, ablated] = [number(d, "ce_intact"), number(d, "ce_zero_ablation") ?? number(d, "ce_mean_ablation")];
  const reconstructed = number(d, "ce_reconstructed");
  const room = intact !== null && ablated !== null ? ablated - intact : null;
  const warnings = [];
  if (room !== null && room < 0.1) warnings.push(`The site is worth only ${digits(room, 2)} nats: the share says little.`);
  const worst = Math.min(zero ?? 1, mean ?? 1);
  if (worst < 0.7) warnings.push("Much of what the model computes here is not in the dictionary.");
  const losses = intact !== null && reconstructed !== null && ablated !== null
    ? `Intact ${intact.toFixed(3)}, reconstructed ${reconstructed.toFixed(3)}, ablated ${ablated.toFixed(3)} nats a token`
    : "";
  const tokens = number(d, "evaluated_tokens");
  return {
    name: "Loss recovered",
    value: percent(zero ?? mean),
    meaning: "Share of what ablating the site costs the model that the reconstruction wins back: (ablated − reconstructed) / (ablated − intact).",
    detail: losses && `${losses}${tokens === null ? "" : `, on ${count(tokens)} held-out tokens`}.`,
    versus: {
      from: 0,
      to: 1,
      rows: [
        { name: "zero ablation", value: zero, text: percent(zero), ours: true },
        { name: "mean ablation", value: mean, text: percent(mean), ours: true },
      ].filter((r) => r.value !== null),
    },
    rule: "Warned below 70 %, and where ablation costs less than 0.1 nats. Zero ablation is a weak baseline and flatters: believe the lower one.",
    warnings,
    paper: paper ? "79 % (A/1: 4,096 features) and 94.5 % (A/5: 131,072 features), zero ablation, on The Pile" : undefined,
  };
}

function explained({ dictionary: d }: OverviewData): Headline | null {
  const value = number(d, "variance_explained");
  if (value === null) return null;
  return {
    name: "Variance explained",
    value: percent(value),
    meaning: "1 − squared error / squared deviation from the mean, over held-out tokens.",
    rule: "Warned below 70 %. Not all variance matters to the model: loss recovered is the better question.",
    warnings: value < 0.7 ? ["A large part of the activations is not reconstructed."] : [],
  };
}

function model({ transformer: t }: OverviewData): Headline | null {
  const [loss, bigram] = [number(t, "heldout_loss"), number(t, "bigram_loss")];
  if (loss === null) return null;
  return {
    name: "The model's loss",
    value: loss.toFixed(2),
    meaning: `Nats per token on held-out text.${bigram === null ? "" : ` A model that sees the previous token alone (bigrams) reaches ${bigram.toFixed(2)}.`}`,
    rule: "Warned where it is not below that of bigrams: then there is little but single tokens for features to find.",
    warnings: bigram !== null && loss >= bigram ? ["The model has learnt no more than pairs of tokens."] : [],
  };
}

function sparsity({ dictionary: d, evidence, health }: OverviewData, run: Numbers, paper: boolean): Headline | null {
  const l0 = number(evidence, "l0") ?? number(d, "l0"); // the analysis first: the density spectrum is of its tokens
  if (l0 === null) return null;
  const above = (key: string) => number(evidence, key) ?? number(d, key);
  const [dense, denser] = [above("l0_share_above_1pct"), above("l0_share_above_10pct")];
  const width = number(health.neurons, "n_features") ?? number(run, "neurons of a layer");
  const warnings = [];
  if (dense !== null && dense > 0.5) warnings.push(`Dense features carry ${percent(dense, 0)} of L0: few tokens are described by rare features.`);
  if (denser !== null && denser > 0.1) warnings.push(`Features on more than 10 % of tokens carry ${percent(denser, 0)} of L0.`);
  if (l0 > 100) warnings.push("More features on a token than a reader can take in.");
  if (width !== null && l0 > width / 10) warnings.push(`L0 is more than a tenth of the ${count(width)} dimensions.`);
  return {
    name: "L0",
    value: digits(l0, 3),
    meaning: "Features active on a token, on average. The bars: the share of it that dense features carry.",
    versus: {
      from: 0,
      to: 1,
      rows: [
        { name: "denser than 1 %", value: dense, text: percent(dense, 0), ours: true },
        { name: "denser than 10 %", value: denser, text: percent(denser, 0), ours: true },
      ].filter((r) => r.value !== null),
    },
    rule: "Aim for 10 to 100. Warned where features on more than 1 % of tokens carry over half of it, or those on more than 10 % over a tenth.",
    warnings,
    paper: paper ? "usually below 10 or 20" : undefined,
  };
}

function dead({ dictionary: d, evidence, density, density_tokens: tokens }: OverviewData, paper: boolean): Headline {
  const ultralow = number(evidence, "ultralow") ?? number(d, "ultralow");
  const rate = density.dead / Math.max(1, density.n);
  const warnings = [];
  if (rate > 0.1) warnings.push(`${percent(rate)} of the dictionary is of no use.`);
  if (ultralow !== null && ultralow / density.n > 0.1) warnings.push(`${percent(ultralow / density.n)} more are ultralow: nearly always artefacts of training.`);
  const seen = tokens / 3;
  return {
    name: "Dead features",
    value: `${count(density.dead)} of ${count(density.n)}`,
    meaning: `${density.dead ? `${percent(rate)} never fired` : "All fired"} on ${count(tokens)} held-out tokens. ${
      ultralow !== null
        ? `${count(ultralow)} more (${percent(ultralow / density.n)}) are ultralow: on fewer than one token in a million.`
        : "Ultralow features (on fewer than one token in a million) cannot be counted on fewer than 10 million tokens."
    }`,
    rule: `Warned above 10 %. A feature on one token in ${count(Math.round(seen))} is missed by so much text with a chance of 5 %, and counts as dead.`,
    warnings,
    paper: paper ? "4.1 % dead and 7.1 % ultralow (A/1), on 100 million tokens" : undefined,
  };
}

function twins({ evidence, density }: OverviewData): Headline | null {
  const value = number(evidence, "twins");
  if (value === null) return null;
  return {
    name: "Twins within it",
    value: count(value),
    meaning: `${percent(value / Math.max(1, density.n))} of the features point where another one points (cosine of dictionary vectors above 0.9).`,
    rule: "Warned above 5 %: twins share what could be one feature, and dead features are sometimes twins.",
    warnings: value > 0.05 * density.n ? ["Many features repeat others: the dictionary is smaller than it looks."] : [],
  };
}

/** The values of a key in features, neurons, control and random directions. */
function bySet(rows: Record<string, Numbers>, key: string, prefix: string, text: (x: number) => string): Versus[] {
  return [["features", "features"] as [string, string], ...OTHERS].flatMap(([set, name]) => {
    const value = number(rows[set], key);
    return value === null ? [] : [{ name: prefix + name, value, text: text(value), ours: set === "features" }];
  });
}

function judge({ evidence: e, judges }: OverviewData, paper: boolean): Headline | null {
  const score = number(e, "judge_score");
  if (score === null) return null;
  const name = String(e.judge ?? "");
  const shuffled = number(e, "judge_score_shuffled");
  const of = (set: string, group = "all") =>
    judges.find((j) => j.set === set && j.judge === name)?.summaries.find((s) => s.kind === "simulation" && s.group === group)?.mean ?? null;
  const neurons = number(e, "judge_score_neurons") ?? of("neurons");
  const single = judges.find((j) => j.set === "features" && j.judge === name)?.single_token_share ?? null;
  const others = of("features", "others");
  const warnings = [];
  if (shuffled !== null && score < shuffled + 0.1) warnings.push("No better than the explanation of another feature.");
  if (neurons !== null && score <= neurons) warnings.push("Neurons are explained as well.");
  if (single !== null && single > 0.5) warnings.push(`${percent(single, 0)} of the judged features fire on one token, which is easy to explain.`);
  const rows: Versus[] = [
    { name: "features", value: score, text: decimals(score), ours: true },
    { name: "without single-token", value: others, text: decimals(others), ours: true },
    ...OTHERS.map(([set, label]) => {
      const value = set === "neurons" ? neurons : of(set);
      return { name: label, value, text: decimals(value) };
    }),
    { name: "another's explanation", value: shuffled, text: decimals(shuffled) },
  ];
  const logits = number(e, "judge_logits");
  return {
    name: "Judge's score",
    value: decimals(score),
    meaning: `Mean rank correlation of what “${name}” predicts from its own explanation with what the feature does, over ${count(number(e, "judged_features") ?? 0)} features drawn at random.${
      logits === null ? "" : ` It says which tokens a feature makes likelier in ${percent(logits, 0)} of cases (chance 50 %; neurons ${percent(number(e, "judge_logits_neurons"), 0)}).`
    }`,
    versus: { from: 0, to: 1, rows: rows.filter((r) => r.value !== null) },
    rule: "Warned where it is not 0.1 above another feature's explanation, not above the neurons, or where over half of the features are of one token.",
    warnings,
    paper: paper && logits !== null ? "next tokens said right for 74 % with features, 58 % with neurons; its judge is Claude 2, so only the order compares" : undefined,
  };
}

function probes({ probes: p, evidence }: OverviewData): Headline | null {
  const rows = p.features ? p : { features: evidence };
  const [one, five] = [number(rows.features, "probe_k1"), number(rows.features, "probe_k5")];
  if (one === null) return null;
  const neurons = number(rows.neurons, "probe_k1");
  const as = (x: number) => percent(x);
  return {
    name: "Probes",
    value: percent(one),
    meaning: `Held-out accuracy of telling a concept apart by one feature, a mean over ${count(number(evidence, "concepts") ?? 0)} balanced concepts (chance 50 %).${
      five === null ? "" : ` By five features: ${percent(five)}.`
    }`,
    versus: { from: 0.5, to: 1, rows: [...bySet(rows, "probe_k1", "1 · ", as), ...bySet(rows, "probe_k5", "5 · ", as)] },
    rule: "Warned where one neuron does better than one feature.",
    warnings: neurons !== null && neurons > one ? ["A single neuron tells these concepts apart better than a single feature."] : [],
  };
}

function fms({ probes: p, evidence }: OverviewData): Headline | null {
  const rows = p.features ? p : { features: evidence };
  const value = number(rows.features, "fms_1");
  if (value === null) return null;
  const shuffled = number(rows.features, "fms_1_shuffled") ?? number(evidence, "fms_1_shuffled");
  const neurons = number(rows.neurons, "fms_1");
  const warnings = [];
  if (shuffled !== null && value < shuffled + 0.05) warnings.push("Hardly above shuffled classes: no concept sits in one feature.");
  if (neurons !== null && neurons > value) warnings.push("Concepts sit in single neurons more than in single features.");
  const more = shuffled === null ? [] : [{ name: "shuffled classes", value: shuffled, text: decimals(shuffled) }];
  return {
    name: "Monosemanticity, FMS@1",
    value: decimals(value),
    meaning: "Whether a concept is in one feature and in no other: the accuracy of the best feature, weighted by what is lost without it and by how little more features add (arXiv 2506.19382).",
    versus: { from: 0, to: 1, rows: [...bySet(rows, "fms_1", "", (x) => decimals(x)), ...more] },
    rule: "Warned where it is not 0.05 above shuffled classes, or below the neurons.",
    warnings,
  };
}

function stability({ evidence: e }: OverviewData): Headline | null {
  const value = number(e, "stability");
  if (value === null) return null;
  const stable = number(e, "stable_features");
  return {
    name: "Stability",
    value: decimals(value),
    meaning: `Median over features of their mean best correlation in dictionaries of other seeds.${stable === null ? "" : ` ${percent(stable, 0)} of the features that fire are stable: above 0.7.`}`,
    rule: "Warned below 0.5: another seed gives other features.",
    warnings: value < 0.5 ? ["Many features belong to this seed alone."] : [],
  };
}
