// Examples grouped by the activation of their peak.

import type { Example, FeatureRecord } from "../../records.ts";

export interface Bin {
  low: number; // in units of the maximum; a bin holds (low, high]
  high: number;
  examples: Example[];
}

/** Cut points in units of the maximum, as someone types them: numbers between 0 and 1, ascending, each once. What is
 * wrong is said in `problem`. */
export function cutPoints(text: string): { cuts: number[]; problem: string } {
  const parts = text.split(/[\s,;]+/).filter((part) => part !== "");
  const wrong = parts.find((part) => !(Number(part) > 0 && Number(part) < 1));
  if (wrong !== undefined) return { cuts: [], problem: `“${wrong.slice(0, 20)}” is no number between 0 and 1` };
  return { cuts: [...new Set(parts.map(Number))].sort((a, b) => a - b), problem: "" };
}

/** The activation at the peak of an example. */
export const peakOf = (example: Example): number => example.activations[example.peak] ?? 0;

/** All examples of a record that fire, each token once, strongest first. */
export function firing(record: FeatureRecord): Example[] {
  const seen = new Map<string, Example>();
  for (const example of [...record.examples, ...record.intervals.flatMap((i) => i.examples), ...record.random]) {
    const key = `${example.context}:${example.position}`;
    if (peakOf(example) > 0 && !seen.has(key)) seen.set(key, example);
  }
  return [...seen.values()].sort((a, b) => peakOf(b) - peakOf(a));
}

/** The examples in the bins between the cut points, the highest bin first. */
export function binned(examples: readonly Example[], cuts: readonly number[], largest: number): Bin[] {
  const edges = [0, ...cuts, 1];
  const bins = edges.slice(0, -1).map((low, i): Bin => ({ low, high: edges[i + 1] ?? 1, examples: [] }));
  for (const example of examples) {
    const share = Math.min(peakOf(example) / largest, 1); // examples are rounded, and may lie above the maximum
    bins.find((bin) => share > bin.low && share <= bin.high)?.examples.push(example);
  }
  return bins.reverse();
}
