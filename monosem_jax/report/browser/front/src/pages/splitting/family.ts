// The features around one, by sizes: all its parents and children, further ones along best parents.

import { type Comparison, children, type Edge, parents } from "../../relations.ts";

export interface Place {
  level: number; // which of the sizes, the smallest first
  feature: number;
}

export interface Line extends Edge {
  from: Place; // the parent
  to: Place; // the child
}

export interface Family {
  columns: { level: number; features: number[]; left: number }[]; // left: how many more there are
  lines: Line[];
  cover: Record<string, number>; // of the chosen feature by its children
}

const MOST = 24; // features of a column
const MOST_FURTHER = 12; // children of a column beyond the next one, of each feature

/** `best`: only children whose best parent is the one before. */
export async function familyOf(c: Comparison, centre: Place, best: boolean): Promise<Family> {
  const sizes = c.splitting?.sets.length ?? 0;
  const found: Family = { columns: [{ level: centre.level, features: [centre.feature], left: 0 }], lines: [], cover: {} };
  let row = [centre.feature];
  for (let level = centre.level; level < sizes - 1 && row.length > 0; level++) {
    const first = level === centre.level;
    const lines: Line[] = [];
    let left = 0;
    for (const from of row) {
      const all = await children(c, level, from);
      const wanted = all.edges.filter((e) => e.best || (first && !best));
      const kept = wanted.slice(0, first ? MOST : MOST_FURTHER);
      left += wanted.length - kept.length + (first && !best ? all.total - all.edges.length : 0);
      if (first) found.cover = all.cover;
      lines.push(...kept.map((e) => ({ ...e, from: { level, feature: from }, to: { level: level + 1, feature: e.other } })));
    }
    const places = [...new Set(lines.map((l) => l.to.feature))];
    row = places.slice(0, MOST);
    left += places.length - row.length;
    const shown = new Set(row);
    found.lines.push(...lines.filter((l) => shown.has(l.to.feature)));
    if (row.length) found.columns.push({ level: level + 1, features: row, left });
  }
  await ancestors(c, centre, found);
  return found;
}

async function ancestors(c: Comparison, centre: Place, found: Family): Promise<void> {
  let row = [centre.feature];
  for (let level = centre.level; level > 0 && row.length > 0; level--) {
    const first = level === centre.level;
    const lines: Line[] = [];
    let left = 0;
    for (const to of row) {
      const all = await parents(c, level - 1, to);
      const wanted = all.edges.filter((e) => e.best || first);
      left += first ? all.total - wanted.length : 0;
      lines.push(...wanted.map((e) => ({ ...e, from: { level: level - 1, feature: e.other }, to: { level, feature: to } })));
    }
    found.lines.push(...lines);
    row = [...new Set(lines.map((l) => l.from.feature))];
    if (row.length) found.columns.unshift({ level: level - 1, features: row, left });
  }
}

export const same = (a: Place, b: Place): boolean => a.level === b.level && a.feature === b.feature;
