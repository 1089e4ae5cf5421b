import { useEffect, useMemo } from "preact/hooks";
import { go, routeTo, withQuery } from "../route.ts";
import { type Found, find } from "../search.ts";
import type { PageProps } from "../shell.tsx";
import { vocabulary } from "../site.ts";
import { visible, whole } from "../text.ts";
import { useOptional } from "../ui/loaded.tsx";
import { Absent, Warning } from "../ui/note.tsx";
import { type Change, Controls } from "./features/controls.tsx";
import { filterOf, NARROWING, ordered, ULTRALOW_TOKENS } from "./features/filter.ts";
import { Grid } from "./features/grid.tsx";
import { keepOrder } from "../place.ts";
import { Presets } from "./features/presets.tsx";
import { useTable } from "./features/table.ts";
import "../styles/features.css";

export function Features(props: PageProps) {
  const { dictionary, route } = props;
  const asked = route.query.get("set") ?? "features";
  const set = Object.hasOwn(dictionary.sets, asked) ? asked : Object.keys(dictionary.sets)[0];
  if (set === undefined) return <Absent>These records hold no features.</Absent>;
  return <Chosen key={`${dictionary.id}/${set}`} {...props} set={set} />;
}

function Chosen({ dictionary, route, set }: PageProps & { set: string }) {
  const table = useTable(dictionary, set);
  const words = useOptional(() => vocabulary(dictionary), `${dictionary.id}/vocabulary`).value ?? [];
  const text = route.query.toString();
  const filter = useMemo(() => filterOf(route.query, dictionary), [text, dictionary.id]);
  const search = useSearch(dictionary.id, set, filter.q, () => find(dictionary, set, filter.q));
  const waiting = filter.q.trim() !== "" && !search.found && !search.problem;
  const rows = useMemo(
    () => (waiting ? new Uint32Array() : ordered(table, filter, search.found ?? null)),
    [table, table.version, filter, search.found, waiting],
  );
  const change: Change = (changes) => go(withQuery(route, changes), true);
  const narrowed = NARROWING.some((key) => route.query.get(key));
  const complete = table.done && !waiting;
  const remember = (index: number) => keepOrder(dictionary.id, set, table.columns.feature, rows, index);
  useEffect(() => {
    if (complete) remember(0);
  }, [rows, complete]);

  return (
    <div class="features">
      <h1>{set === "features" ? "Features" : `${set[0]?.toUpperCase()}${set.slice(1)}`} of {visible(dictionary.name)}</h1>
      {table.loaded > 0 && <Presets table={table} route={route} />}
      <Controls {...{ dictionary, table, filter, change }} />
      <SearchNote dictionary={dictionary} />
      {table.problems.map((problem) => <p class="problem" role="alert">{problem}: the features of this part are not shown.</p>)}
      {search.problem && <p class="problem" role="alert">The search cannot be used: {search.problem}.</p>}
      {search.found?.cut && <Warning>Very many words begin with “{visible(search.found.cut)}”: only some of them were looked for. Type more letters.</Warning>}
      {filter.class === "ultralow" && (dictionary.sets[set]?.tokens ?? 0) < ULTRALOW_TOKENS && (
        <Warning>
          Which features are ultralow cannot be told: these were measured on {whole(dictionary.sets[set]?.tokens ?? 0)} tokens,
          and densities below one in a million need {whole(ULTRALOW_TOKENS)}.
        </Warning>
      )}
      <p class="count" role="status">
        {waiting || !table.loaded ? "Reading …" : `${whole(rows.length)} of ${whole(table.records)} ${set}`}
        {narrowed && <> <a href={routeTo(dictionary.id, "features", "", { set: set === "features" ? "" : set })}>Clear filters</a></>}
      </p>
      {!table.done && table.loaded > 0 && <p class="quiet small">{whole(table.loaded)} of {whole(table.records)} are read so far.</p>}
      {complete && rows.length === 0
        ? <Absent>No {set} are like this.</Absent>
        : <Grid {...{ table, rows, filter, complete }} vocabulary={words} opened={remember} sortBy={(k) => change(sorted(k, filter))} />}
    </div>
  );
}

function SearchNote({ dictionary }: { dictionary: PageProps["dictionary"] }) {
  if (!dictionary.has.search) return <p class="quiet small">The words of contexts cannot be searched: {dictionary.absent.search ?? "this browser holds no index of them"}.</p>;
  return (
    <details class="note small quiet">
      <summary>What is searched</summary>
      <p>
        Every word must stand in an explanation, in the name of a label or proxy (r ≥ 0.2), in a top token, or near the peak
        of one of the strongest contexts or of the examples of the intervals; at most 256 different words of each feature are known.
        The last word may be unfinished. Words of names come first, then those that stand most often; among equals those that
        fit a label best.
      </p>
    </details>
  );
}

/** A click on a heading: by this column, and on the next click the other way round. */
function sorted(column: string, filter: { sort: string; descending: boolean }) {
  if (filter.sort === column) return { dir: filter.descending ? "asc" : "desc" };
  return { sort: column, dir: column === "feature" ? "asc" : "desc" };
}

function useSearch(dictionary: string, set: string, q: string, load: () => Promise<Found>): { found?: Found; problem?: string } {
  const { value, problem } = useOptional<Found | null>(() => (q.trim() ? load() : Promise.resolve(null)), `${dictionary}/${set}/${q}`);
  return { ...(value && { found: value }), ...(problem && { problem }) };
}
