// The map of dictionary vectors: UMAP of the features of all sizes.

import { useEffect, useMemo, useState } from "preact/hooks";
import { addressOf, type Comparison, comparison } from "../relations.ts";
import { go, withQuery } from "../route.ts";
import type { PageProps } from "../shell.tsx";
import { digits, share, visible, whole } from "../text.ts";
import { useLoaded, useOptional } from "../ui/loaded.tsx";
import { Warning } from "../ui/note.tsx";
import { WithoutComparison } from "./compare/without.tsx";
import { CHOICES, colouring, FAINT, NONE, OTHER } from "./map/colours.ts";
import { type Columns, loadColumns } from "./map/columns.ts";
import { Legend } from "./map/legend.tsx";
import { PointList } from "./map/list.tsx";
import type { Look } from "./map/look.ts";
import { inside, loadPoints, type Points } from "./map/points.ts";
import { Scatter } from "./map/scatter.tsx";
import "../styles/map.css";

export function MapPage(props: PageProps) {
  const c = comparison(props.site);
  if (!c?.map) return <WithoutComparison title="Map of the features" kind="map" comparison={c} what="dictionaries of one transformer and site" />;
  return <Loaded {...props} c={c} />;
}

function Loaded(props: PageProps & { c: Comparison }) {
  const p = useLoaded(() => loadPoints(props.c), "map");
  return (
    <>
      <h1>Map of the features</h1>
      {p ? <Shown {...props} p={p} /> : <div class="map-box map-waiting quiet">Loading…</div>}
    </>
  );
}

function Shown({ site, route, dictionary, c, p }: PageProps & { c: Comparison; p: Points }) {
  const sets = useMemo(() => (c.map?.places ?? []).flatMap((i) => c.sets[i] ?? []), [c]);
  const [middle, setMiddle] = useState<number[]>([]);
  const [told, tell] = useState("");
  const query = route.query;
  const choice = CHOICES.find((k) => k.key === query.get("colour")) ?? CHOICES[0]!;
  const search = (query.get("q") ?? "").trim().toLowerCase();
  const numbered = useMemo(() => numberAsked(search, sets), [search, sets]);
  const needed = choice.records || (search !== "" && !numbered);
  const columns = useColumns(needed, () => loadColumns(site, c, p));
  const colours = useMemo(() => colouring(choice.key, p, columns.value, sets.map((s) => s.name)), [choice.key, p, columns.value]);
  const only = query.get("only") ?? "";
  const left = query.get("sets") ?? ""; // places of the sets that are shown, "" for all
  const shownSets = left === "" ? sets.map((_, k) => k) : left.split(".").map(Number);
  const lasso = useMemo(() => cornersOf(query.get("lasso")), [query.get("lasso")]);
  const chosen = useMemo(() => {
    const ofSet = new Set(shownSets);
    const category = only ? colours.categories.findIndex((k) => k.name === only) : -1;
    const kept = (i: number) => ofSet.has(p.set[i]!) && (category < 0 || colours.category?.[i] === category);
    const found = search ? matching(p, search, numbered, columns.value, kept) : null;
    const within = new Set(found ?? []);
    const marked = lasso ? inside(p, lasso, (i) => kept(i) && (!found || within.has(i))) : found;
    return { kept, ofSet, marked, category };
  }, [p, left, only, colours, search, columns.value, lasso]);
  const look = useMemo(() => lookOf(p, sets.length, colours.place, chosen, lasso), [p, colours, chosen, lasso]);
  const change = (changes: Record<string, string>, replace = false) => go(withQuery(route, changes), replace);
  const listed = chosen.marked ?? (chosen.category >= 0 ? all(p, chosen.kept) : null);
  const inOrder = useMemo(() => listed && [...listed].sort((a, b) => p.rank[a]! - p.rank[b]!), [listed]);
  const missing = sets.filter((s) => !s.dictionary);
  return (
    <>
      <p>
        {whole(p.n)} features of {sets.length === 1 ? "one dictionary" : `${sets.length} dictionaries`}, laid out so that features with alike dictionary vectors (cosine) are neighbours. Distances across the map say little.
      </p>
      <div class="row map-controls">
        <label>colour <select value={choice.key} onChange={(e) => change({ colour: e.currentTarget.value, only: "" })}>{CHOICES.map((k) => <option value={k.key}>{k.name}</option>)}</select></label>
        <Search value={query.get("q") ?? ""} onSearch={(q) => change({ q }, true)} />
        {sets.length > 1 && (
          <fieldset class="row map-sets">
            <legend class="unseen">Dictionaries shown</legend>
            {sets.map((s, k) => (
              <label><input type="checkbox" checked={shownSets.includes(k)} onChange={() => change({ sets: toggled(shownSets, k, sets.length) })} /> {visible(s.name)}</label>
            ))}
          </fieldset>
        )}
        {(lasso || search || only) && <button type="button" onClick={() => change({ lasso: "", q: "", only: "" })}>Clear choice</button>}
      </div>
      {columns.problem && <Warning>{columns.problem}</Warning>}
      {needed && !columns.value && !columns.problem && <p class="quiet small" role="status">Loading what is known of the features…</p>}
      <Scatter
        site={site} p={p} sets={sets} look={look} at={query.get("at")}
        onView={(at, nearest) => {
          if (nearest.length) setMiddle(nearest);
          if (at !== (query.get("at") ?? "") && !(isAll(at) && !query.get("at"))) change({ at: isAll(at) ? "" : at }, true);
        }}
        onChoose={(i) => {
          const set = sets[p.set[i]!];
          const address = addressOf(site, set, p.feature[i]!);
          if (address) go(address);
          else tell(`The records of ${set?.name} are not in this browser: feature ${p.feature[i]} cannot be opened.`);
        }}
        onLasso={(polygon) => change({ lasso: polygon.join(",") })}
      />
      <p class="small told-line" role="status">{told || (chosen.marked && `${counted(chosen.marked.length)} ${lasso ? "in the lasso" : "found"}`)}</p>
      <Legend colouring={colours} choice={choice} only={only} onOnly={(name) => change({ only: name })} />
      {missing.length > 0 && <p class="quiet small">Without records in this browser: {missing.map((s) => visible(s.name)).join(", ")}. They can be seen, but not opened; give their analyses to the report as well.</p>}
      <PointList
        site={site} sets={sets} p={p} points={inOrder ?? middle}
        title={inOrder ? `${counted(inOrder.length, "chosen ")}${inOrder.length > 1 ? ", alike ones beside each other" : ""}` : "Nearest to the middle of the map"}
      />
      {inOrder?.length === 1 && <PointList site={site} sets={sets} p={p} points={neighbours(p, inOrder[0]!)} title="Its neighbours on the map" />}
      <About c={c} dictionary={dictionary.name} />
    </>
  );
}

const counted = (n: number, kind = ""): string => `${whole(n)} ${kind}${n === 1 ? "feature" : "features"}`;

const AROUND = 20;

/** The features that lie nearest to one. */
function neighbours(p: Points, i: number): number[] {
  const reach = Math.max(p.box.x1 - p.box.x0, p.box.y1 - p.box.y0, 1e-9);
  for (let distance = reach / 256; ; distance *= 2) {
    const found = p.grid.near(p.x[i]!, p.y[i]!, distance, AROUND, (k) => k !== i);
    if (found.length >= AROUND || distance > 2 * reach) return found;
  }
}

const isAll = (at: string): boolean => at === "" || at.endsWith(",1");

/** The columns, loaded when they are first needed and kept. */
function useColumns(needed: boolean, load: () => Promise<Columns>): { value?: Columns; problem?: string } {
  const [wanted, want] = useState(needed);
  useEffect(() => {
    if (needed) want(true);
  }, [needed]);
  const found = useOptional<Columns | undefined>(() => (wanted ? load() : Promise.resolve(undefined)), String(wanted));
  return { value: found.value, problem: found.problem };
}

function lookOf(p: Points, sets: number, place: Uint8Array, chosen: { kept: (i: number) => boolean; ofSet: Set<number>; marked: number[] | null; category: number }, lasso: number[] | null): Look {
  const strong = new Uint8Array(p.n);
  if (chosen.marked) for (const i of chosen.marked) strong[i] = 1;
  else for (let i = 0; i < p.n; i++) strong[i] = chosen.kept(i) ? 1 : 0;
  const colour = place.slice();
  const order = new Uint32Array(p.n);
  let at = 0;
  const layer = (i: number) => (!strong[i] ? 0 : place[i] === NONE ? 1 : place[i] === OTHER ? 2 : 3); // what is told of lies on top
  for (const pass of [0, 1, 2, 3]) {
    for (let set = sets - 1; set >= 0; set--) { // the smallest dictionary on top
      if (!chosen.ofSet.has(set)) continue;
      for (let i = 0; i < p.n; i++) if (p.set[i] === set && layer(i) === pass) order[at++] = i;
    }
  }
  for (let i = 0; i < p.n; i++) if (!strong[i]) colour[i] = FAINT;
  return { place: colour, order: order.subarray(0, at), shown: (i) => chosen.ofSet.has(p.set[i]!), marked: chosen.marked ?? [], outline: lasso };
}

interface Numbered {
  feature: number;
  set: number; // of the map; -1: any
}

/** A search for "17" or, of one dictionary, for "NAME 17". */
function numberAsked(text: string, sets: { name: string }[]): Numbered | null {
  const [, name, number] = /^(?:(.*) )?(\d+)$/.exec(text) ?? [];
  if (number === undefined) return null;
  const set = name === undefined ? -1 : sets.findIndex((s) => s.name.toLowerCase() === name);
  return name !== undefined && set < 0 ? null : { feature: Number(number), set };
}

function matching(p: Points, text: string, number: Numbered | null, columns: Columns | undefined, kept: (i: number) => boolean): number[] {
  const fits = number
    ? (i: number) => p.feature[i] === number.feature && (number.set < 0 || p.set[i] === number.set)
    : (i: number) => columns?.matches(i, text) ?? false;
  return all(p, (i) => kept(i) && fits(i));
}

function all(p: Points, kept: (i: number) => boolean): number[] {
  const found: number[] = [];
  for (let i = 0; i < p.n; i++) if (kept(i)) found.push(i);
  return found;
}

function cornersOf(text: string | null): number[] | null {
  const numbers = (text ?? "").split(",").map(Number);
  return numbers.length >= 6 && numbers.length % 2 === 0 && numbers.every(Number.isFinite) ? numbers : null;
}

function toggled(shown: number[], k: number, n: number): string {
  const next = shown.includes(k) ? shown.filter((s) => s !== k) : [...shown, k].sort();
  return next.length === n || next.length === 0 ? "" : next.join(".");
}

function Search({ value, onSearch }: { value: string; onSearch: (text: string) => void }) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  useEffect(() => {
    if (text === value) return;
    const wait = setTimeout(() => onSearch(text), 300);
    return () => clearTimeout(wait);
  }, [text]);
  return <label>find <input type="search" value={text} placeholder="number, token, label, word" onInput={(e) => setText(e.currentTarget.value)} /></label>;
}

function About({ c, dictionary }: { c: Comparison; dictionary: string }) {
  const map = c.map!;
  return (
    <section>
      <h2>What the map is</h2>
      <p>
        UMAP of the dictionary vectors of features that fire ({digits(map.rule.neighbours ?? 0)} neighbours, min_dist {digits(map.rule.plane_min_dist ?? 0)}, seed fixed).
        HDBSCAN finds {whole(map.clusters)} clusters (median size {digits(map.median_cluster ?? 0)}) on a UMAP of {digits(map.rule.cluster_dimensions ?? 0)} dimensions;
        {" "}{whole(map.clusters_of_several_sizes)} of them hold features of several dictionaries, and {whole(map.unclustered)} features are in none.
      </p>
      {map.joins.map((j) => (
        <p>
          {visible(j.parents)} → {visible(j.children)}: {j.together === null ? "–" : share(j.together)} of the children are in the cluster of their best parent; of the same features paired at random {j.shuffled === null ? "–" : share(j.shuffled)}.
        </p>
      ))}
      <p class="quiet small">The map holds all dictionaries that were compared along sizes, {visible(dictionary)} being the one that the other pages show.</p>
    </section>
  );
}
