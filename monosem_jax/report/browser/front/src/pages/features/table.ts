// The index of a set as columns of typed arrays, filled segment by segment while the page is already used.

import { useEffect, useState } from "preact/hooks";
import { type Dictionary, indexSegment, segments, type IndexColumns } from "../../site.ts";

export const NUMBERS = [
  "feature", "density", "largest", "label", "label_correlation", "proxy", "proxy_correlation", "score", "shuffled",
  "stability", "best",
] as const; // prettier-ignore
export type Column = (typeof NUMBERS)[number];

export class Table {
  readonly records: number;
  readonly columns: Record<Column, Float64Array>; // by the place of the record; NaN: not known
  readonly tokens: number[][] = [];
  readonly text: string[] = [];
  readonly known: Uint8Array; // 1: the segment of this record is there
  readonly problems: string[] = [];
  loaded = 0; // records whose segment is there
  done = false;
  version = 0;
  private listeners = new Set<() => void>();

  constructor(readonly dictionary: Dictionary, readonly set: string) {
    this.records = dictionary.sets[set]?.records ?? 0;
    this.known = new Uint8Array(this.records);
    this.columns = Object.fromEntries(NUMBERS.map((c) => [c, new Float64Array(this.records).fill(NaN)])) as Record<Column, Float64Array>;
    void this.load();
  }

  listen(changed: () => void): () => void {
    this.listeners.add(changed);
    return () => this.listeners.delete(changed);
  }

  /** Whether any record has a value in this column. */
  has(column: Column): boolean {
    return this.columns[column].some((x, row) => this.known[row] === 1 && !Number.isNaN(x) && (x !== -1 || !NAMES.has(column)));
  }

  private async load(): Promise<void> {
    const count = segments(this.dictionary, this.set);
    let shown = 0;
    for (let segment = 0; segment < count; segment++) {
      try {
        this.fill(segment, await indexSegment(this.dictionary, this.set, segment));
      } catch (e) {
        this.problems.push((e as Error).message);
      }
      const now = performance.now();
      if (segment === 0 || now - shown > 400) {
        shown = now;
        this.changed();
      }
      if (segment === 0) await new Promise((done) => setTimeout(done, 50)); // the first rows are painted before more is loaded
    }
    this.done = true;
    this.changed();
  }

  private changed(): void {
    this.version++;
    for (const listener of this.listeners) listener();
  }

  private fill(segment: number, part: IndexColumns): void {
    const begin = segment * this.dictionary.segment;
    const count = Math.min(part.feature.length, this.records - begin);
    for (const column of NUMBERS) {
      const into = this.columns[column];
      const from: (number | null)[] = part[column] ?? [];
      for (let i = 0; i < count; i++) into[begin + i] = from[i] ?? NaN;
    }
    for (let i = 0; i < count; i++) {
      this.tokens[begin + i] = part.tokens[i] ?? [];
      this.text[begin + i] = part.text[i] ?? "";
    }
    this.known.fill(1, begin, begin + count);
    this.loaded += count;
  }
}

const NAMES = new Set<Column>(["label", "proxy", "best"]); // -1: none
const KEPT = 3;
const tables = new Map<string, Table>();

/** The table of a set, from memory if it was shown lately. */
export function openTable(d: Dictionary, set: string): Table {
  const key = `${d.id}/${set}`;
  const known = tables.get(key);
  const table = known && !known.problems.length ? known : new Table(d, set);
  tables.delete(key);
  tables.set(key, table);
  const oldest = tables.keys().next().value;
  if (tables.size > KEPT && oldest !== undefined) tables.delete(oldest);
  return table;
}

/** The table of a set, and its version: the component renders again when more of it is there. */
export function useTable(d: Dictionary, set: string): Table {
  const [table, setTable] = useState(() => openTable(d, set));
  const [, setVersion] = useState(0);
  useEffect(() => {
    const opened = table.dictionary === d && table.set === set ? table : openTable(d, set);
    setTable(opened);
    setVersion(opened.version);
    return opened.listen(() => setVersion(opened.version));
  }, [d.id, set]);
  return table;
}
