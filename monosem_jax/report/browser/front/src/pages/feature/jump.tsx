// Ways to the parts of the page, which is long.

import { useEffect, useState } from "preact/hooks";
import { placeOf, comparison } from "../../relations.ts";
import { routeTo } from "../../route.ts";
import type { Dictionary, Site } from "../../site.ts";

const PARTS: [id: string, name: string][] = [
  ["examples", "examples"],
  ["explanations", "explanations"],
  ["intervals", "by activation"],
  ["top-tokens", "tokens"],
  ["neighbours", "nearest features and neurons"],
  ["proxies", "proxies"],
  ["effects", "effects, steering"],
  ["others", "twins, parents, children"],
];

/** Brings a part into view, and the keyboard to it. */
export function toSection(id: string): void {
  const heading = document.getElementById(id);
  heading?.scrollIntoView({ block: "start" });
  heading?.focus({ preventScroll: true });
}

/** `made`: changes when parts of the page may have been made. */
export function Jump({ site, dictionary, set, feature, made }: { site: Site; dictionary: Dictionary; set: string; feature: number; made: boolean }) {
  const [there, setThere] = useState<string[]>([]);
  useEffect(() => {
    const look = () => setThere(PARTS.map(([id]) => id).filter((id) => document.getElementById(id)));
    look();
    const timer = setTimeout(look, 600); // what other dictionaries say comes in a file of its own
    return () => clearTimeout(timer);
  }, [feature, set, made]);
  const c = comparison(site);
  const place = placeOf(c, dictionary.id, set);
  const own = c?.sets[place];
  const onMap = own && c.map?.places.includes(place);
  if (there.length < 2 && !onMap) return null;
  return (
    <nav class="jump small" aria-label="Parts of this page">
      {PARTS.filter(([id]) => there.includes(id)).map(([id, name]) => <button type="button" class="link" onClick={() => toSection(id)}>{name}</button>)}
      {onMap && <a href={routeTo(dictionary.id, "map", "", { q: `${own.name} ${feature}` })}>its place on the map</a>}
    </nav>
  );
}
