// The features of one set with their best matches in the other, a page at a time.

import { useMemo } from "preact/hooks";
import type { Arrays } from "../../arrays.ts";
import { nameKey, useNames } from "../../names.ts";
import { allMatches, type Comparison, type Match, matchAt, stabilities } from "../../relations.ts";
import { go, type Route, withQuery } from "../../route.ts";
import type { Site } from "../../site.ts";
import { decimals, whole } from "../../text.ts";
import { FeatureLink } from "../../ui/feature_link.tsx";
import { useLoaded } from "../../ui/loaded.tsx";
import { Term } from "../../ui/note.tsx";
import type { Side } from "./sides.ts";

const PAGE = 50;
const SORTS: Record<string, string> = { "": "highest correlation", low: "lowest correlation", number: "number", stable: "stability, lowest first" };
const KINDS: Record<string, string> = { "": "all features", mutual: "best matches both ways", alone: "not the best match of their match", new: "correlation below 0.3", dead: "that never fire" };

export function MatchList({ site, c, a, b, route }: { site: Site; c: Comparison; a: Side; b: Side; route: Route }) {
  const stable = c.stability?.of === a.set.name;
  const columns = useLoaded(() => allMatches(c, a.place, b.place), `${a.key}|${b.key}`);
  const stability = useLoaded(() => (stable ? stabilities(c) : Promise.resolve(null)), `${stable}`);
  const { sort, kind, number, page } = asked(route.query);
  const rows = useMemo(() => columns && chosen(columns, sort, kind, number, stability?.stability), [columns, stability, sort, kind, number]);
  const pages = Math.max(1, Math.ceil((rows?.length ?? 0) / PAGE));
  const at = Math.min(page, pages - 1);
  const shown = (rows ?? []).slice(at * PAGE, (at + 1) * PAGE).map((feature) => ({ feature, match: matchAt(columns!, feature) }));
  const names = useNames(site, shown.flatMap(({ feature, match }) => [{ set: a.set, feature }, ...(match.feature >= 0 ? [{ set: b.set, feature: match.feature }] : [])]));
  const change = (changes: Record<string, string | number>) => go(withQuery(route, { page: "", ...changes }), true);
  if (!columns || !rows) return <p class="quiet">Loading…</p>;
  return (
    <section>
      <h2>Features of {a.name} and their best matches in {b.name}</h2>
      <div class="row list-tools">
        <label>order <select value={sort} onChange={(e) => change({ sort: e.currentTarget.value })}>{Object.entries(SORTS).filter(([k]) => k !== "stable" || stable).map(([k, name]) => <option value={k}>{name}</option>)}</select></label>
        <label>show <select value={kind} onChange={(e) => change({ show: e.currentTarget.value })}>{Object.entries(KINDS).map(([k, name]) => <option value={k}>{name}</option>)}</select></label>
        <label>feature <input type="number" min={0} max={a.set.n_features - 1} value={number} onInput={(e) => change({ n: e.currentTarget.value })} /></label>
        <span class="quiet small" role="status">{whole(rows.length)} of {whole(a.set.n_features)}</span>
      </div>
      <div class="scroll" tabIndex={0} role="region" aria-label="Best matches">
        <table class="matches">
          <thead>
            <tr>
              <th scope="col">feature</th>
              <th scope="col" class="number"><Term means="of the activations of the two, over the held-out tokens">correlation</Term></th>
              <th scope="col">best match</th>
              <th scope="col"><Term means="whether this feature is also the best match of its match; otherwise that one's best match and correlation">back</Term></th>
              <th scope="col"><Term means="the partner in the assignment that uses no feature twice">one to one</Term></th>
              {stable && <th scope="col" class="number"><Term means="mean best correlation in dictionaries of other seeds">stability</Term></th>}
            </tr>
          </thead>
          <tbody>
            {shown.map(({ feature, match }) => (
              <tr>
                <td><FeatureLink site={site} set={a.set} feature={feature} plain name={names.get(nameKey(a.set, feature))} /></td>
                <td class="number">{decimals(match.correlation)}</td>
                <td>{match.feature < 0 ? <span class="quiet">never fires</span> : <FeatureLink site={site} set={b.set} feature={match.feature} plain name={names.get(nameKey(b.set, match.feature))} />}</td>
                <td>{back(feature, match)}</td>
                <td>{oneToOne(match)}</td>
                {stable && <td class="number">{decimals(stability?.stability?.[feature])}</td>}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {pages > 1 && (
        <nav class="row" aria-label="Pages of the list">
          <button type="button" disabled={at === 0} onClick={() => change({ page: at - 1 || "" })}>Previous</button>
          <span>page {whole(at + 1)} of {whole(pages)}</span>
          <button type="button" disabled={at >= pages - 1} onClick={() => change({ page: at + 1 })}>Next</button>
        </nav>
      )}
    </section>
  );
}

const back = (feature: number, m: Match): string =>
  m.feature < 0 ? "–" : m.back === feature ? "yes" : m.back < 0 ? "–" : `${m.back} (${decimals(m.back_correlation)})`;

const oneToOne = (m: Match): string =>
  m.one_to_one < 0 ? "–" : m.one_to_one === m.feature ? "the same" : `${m.one_to_one} (${decimals(m.one_to_one_correlation)})`;

function asked(query: URLSearchParams): { sort: string; kind: string; number: string; page: number } {
  const of = (key: string, known: Record<string, string>) => ((query.get(key) ?? "") in known ? (query.get(key) ?? "") : "");
  return { sort: of("sort", SORTS), kind: of("show", KINDS), number: query.get("n") ?? "", page: Math.max(0, Math.floor(Number(query.get("page")) || 0)) };
}

function chosen(columns: Arrays, sort: string, kind: string, number: string, stability: Arrays[string] | undefined): number[] {
  const match = columns.feature ?? new Int32Array();
  const correlation = columns.correlation ?? new Float32Array();
  const back = columns.back ?? new Int32Array();
  const kept: Record<string, (i: number) => boolean> = {
    "": () => true,
    mutual: (i) => match[i]! >= 0 && back[i] === i,
    alone: (i) => match[i]! >= 0 && back[i] !== i,
    new: (i) => match[i]! >= 0 && correlation[i]! < 0.3,
    dead: (i) => match[i]! < 0,
  };
  const keep = kept[kind] ?? (() => true);
  const found: number[] = [];
  for (let i = 0; i < match.length; i++) if (keep(i) && (number === "" || i === Number(number))) found.push(i);
  const last = (x: number | undefined, way: number) => (x === undefined || Number.isNaN(x) ? Infinity : way * x); // unknown ones at the end
  if (sort === "number") return found;
  const value = sort === "stable" && stability ? (i: number) => last(stability[i], 1) : (i: number) => last(correlation[i], sort === "low" ? 1 : -1);
  return found.sort((i, j) => {
    const [x, y] = [value(i), value(j)];
    return x === y ? i - j : x - y;
  });
}
