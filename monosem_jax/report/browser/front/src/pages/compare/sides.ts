// What can be compared: the sets of the comparison, and dictionaries of the browser that it does not have.

import { type Comparison, dictionaryOf, wereMatched } from "../../relations.ts";
import type { ComparedSet, Dictionary, Site } from "../../site.ts";

export interface Side {
  key: string; // in the address
  name: string;
  place: number; // among the compared sets; -1: it is none of them
  set: ComparedSet;
  dictionary?: Dictionary; // whose features they are, when its records are here
}

export function sidesOf(site: Site, c: Comparison | null): Side[] {
  const found: Side[] = (c?.sets ?? []).map((set, place) => {
    const dictionary = set.role === "dictionary" || set.role === "control" ? dictionaryOf(site, set) : undefined;
    return { key: set.name, name: set.name, place, set, dictionary: set.set === "features" ? dictionary : undefined };
  });
  const known = new Set(found.map((s) => s.dictionary?.id));
  const taken = new Set(found.map((s) => s.key));
  for (const d of site.dictionaries) {
    if (known.has(d.id)) continue;
    const set: ComparedSet = { name: d.name, role: "dictionary", n_features: d.n_features, dictionary: d.id, set: "features" };
    found.push({ key: taken.has(d.id) ? `~${d.id}` : d.id, name: d.name, place: -1, set, dictionary: d });
  }
  return found;
}

/** The two sides that an address asks for, or else the first that were matched. */
export function chosen(sides: Side[], c: Comparison | null, query: URLSearchParams): [Side | undefined, Side | undefined] {
  const of = (key: string) => sides.find((s) => s.key === query.get(key));
  const a = of("a") ?? sides[0];
  const other = sides.filter((s) => s !== a);
  const matched = other.find((s) => c && a && a.place >= 0 && s.place >= 0 && wereMatched(c, a.place, s.place));
  return [a, of("b") ?? matched ?? other[0]];
}
