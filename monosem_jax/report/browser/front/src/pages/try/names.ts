// What is known about features from the index of their records.

import { useLoaded } from "../../ui/loaded.tsx";
import { type Dictionary, indexSegment, segments, vocabulary } from "../../site.ts";

export interface Known {
  feature: number;
  largest: number;
  density: number;
  label: string;
  text: string; // an explanation
  tokens: string[]; // on which it fires most
  best: string; // the label for which it is the best feature
}

/** All features of a dictionary that have a record, by number. */
export async function knownFeatures(d: Dictionary): Promise<Map<number, Known>> {
  const words = await vocabulary(d), found = new Map<number, Known>();
  for (let segment = 0; segment < segments(d, "features"); segment++) {
    const index = await indexSegment(d, "features", segment);
    index.feature.forEach((feature, i) => found.set(feature, {
      feature,
      largest: index.largest[i] ?? 0,
      density: index.density[i] ?? 0,
      label: d.labels[index.label[i] ?? -1] ?? "",
      text: index.text[i] ?? "",
      tokens: (index.tokens[i] ?? []).map((id) => words[id] ?? ""),
      best: d.labels[index.best[i] ?? -1] ?? "",
    }));
  }
  return found;
}

export const useKnown = (d: Dictionary): Map<number, Known> | undefined => useLoaded(() => knownFeatures(d), d.id);
