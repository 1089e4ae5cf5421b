// What is known of the features of the map: the indexes of the dictionaries that are in the browser, by point.

import { type Comparison, dictionaryOf, stabilities } from "../../relations.ts";
import { type Dictionary, type IndexColumns, indexSegment, segments, type Site, vocabulary } from "../../site.ts";
import type { Points } from "./points.ts";

interface Known {
  dictionary: Dictionary;
  set: string;
  columns: IndexColumns[];
  strings: string[];
}

export type NumberColumn = "density" | "largest" | "score" | "stability" | "label_correlation" | "proxy_correlation";

/** Rows of indexes by point. */
export class Columns {
  constructor(
    private readonly p: Points,
    private readonly known: (Known | undefined)[], // by set of the map
    private readonly rows: Int32Array, // of each point, in its set's index; -1: no record
    private readonly stable: { set: number; values: Float32Array } | null,
  ) {}

  has(i: number): boolean {
    return this.rows[i]! >= 0;
  }

  private at(i: number, name: keyof IndexColumns): unknown {
    const known = this.known[this.p.set[i]!];
    const row = this.rows[i]!;
    if (!known || row < 0) return undefined;
    const size = known.dictionary.segment;
    return known.columns[Math.floor(row / size)]?.[name]?.[row % size];
  }

  number(i: number, name: NumberColumn): number | null {
    if (name === "stability" && this.stable && this.stable.set === this.p.set[i]) return this.stable.values[this.p.feature[i]!] ?? null;
    return (this.at(i, name) as number | null | undefined) ?? null;
  }

  label(i: number): string | undefined {
    const k = this.at(i, "label") as number | undefined;
    return k === undefined || k < 0 ? undefined : this.known[this.p.set[i]!]?.dictionary.labels[k];
  }

  proxy(i: number): string | undefined {
    const k = this.at(i, "proxy") as number | undefined;
    return k === undefined || k < 0 ? undefined : this.known[this.p.set[i]!]?.dictionary.proxies[k];
  }

  tokens(i: number): string[] {
    const strings = this.known[this.p.set[i]!]?.strings ?? [];
    return ((this.at(i, "tokens") as number[] | undefined) ?? []).map((id) => strings[id] ?? "");
  }

  /** Whether any token, label, proxy or explanation of a point has the text, in lower case. */
  matches(i: number, text: string): boolean {
    if (!this.has(i)) return false;
    const words = [...this.tokens(i), this.label(i) ?? "", this.proxy(i) ?? "", (this.at(i, "text") as string | undefined) ?? ""];
    return words.some((word) => word.toLowerCase().includes(text));
  }
}

export async function loadColumns(site: Site, c: Comparison, p: Points): Promise<Columns> {
  const places = c.map?.places ?? [];
  const known = await Promise.all(
    places.map(async (place): Promise<Known | undefined> => {
      const set = c.sets[place];
      const dictionary = dictionaryOf(site, set);
      if (!dictionary || !set?.dictionary) return undefined;
      const all = Array.from({ length: segments(dictionary, set.set) }, (_, k) => indexSegment(dictionary, set.set, k));
      return { dictionary, set: set.set, columns: await Promise.all(all), strings: await vocabulary(dictionary) };
    }),
  );
  const rows = new Int32Array(p.n).fill(-1);
  known.forEach((k, set) => {
    if (!k) return;
    const row = new Map<number, number>();
    k.columns.forEach((columns, s) => columns.feature.forEach((feature, r) => row.set(feature, s * k.dictionary.segment + r)));
    for (let i = 0; i < p.n; i++) if (p.set[i] === set) rows[i] = row.get(p.feature[i]!) ?? -1;
  });
  const of = c.stability ? places.findIndex((place) => c.sets[place]?.name === c.stability?.of) : -1;
  const stable = of < 0 ? null : { set: of, values: (await stabilities(c)).stability as Float32Array };
  return new Columns(p, known, rows, stable);
}
