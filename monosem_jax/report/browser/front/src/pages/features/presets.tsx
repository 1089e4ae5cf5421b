// Choices that are often wanted, as links; only those that mean something for this set.

import type { Route } from "../../route.ts";
import { routeTo } from "../../route.ts";
import { whole } from "../../text.ts";
import { DENSE } from "./filter.ts";
import type { Table } from "./table.ts";

interface Preset {
  name: string;
  means: string;
  query: Record<string, string>;
  count?: number;
}

export function presets(table: Table): Preset[] {
  const { density, best } = table.columns;
  const count = (values: Float64Array, test: (x: number) => boolean) => values.reduce((n, x, row) => n + (table.known[row] === 1 && test(x) ? 1 : 0), 0);
  const found: Preset[] = [{ name: "All", means: "no filter", query: {} }];
  const add = (n: number, name: string, means: string, query: Record<string, string>) => {
    if (n > 0) found.push({ name, means, query, count: n });
  };
  add(count(best, (x) => x >= 0), "Best for a label", "the best feature for each label of documents", { best: "1", sort: "label" });
  if (table.has("proxy")) found.push({ name: "Like a proxy", means: "by correlation with a rule for tokens", query: { sort: "proxy" } });
  if (table.has("score")) found.push({ name: "Explained best", means: "by the score of the judge minus that of a shuffled explanation", query: { sort: "gain" } });
  if (table.has("stability")) found.push({ name: "Stable", means: "found again in dictionaries of other seeds", query: { sort: "stability" } });
  add(count(density, (x) => x > DENSE), "Dense", "fire on more than one token in a hundred", { class: "dense", sort: "density" });
  add(count(density, (x) => x === 0), "Dead", "never fire on this text", { class: "dead" });
  if (table.loaded) found.push({ name: "Rarest", means: "alive, from the rarest", query: { class: "alive", sort: "density", dir: "asc" } });
  return found;
}

export function Presets({ table, route }: { table: Table; route: Route }) {
  const set = route.query.get("set") ?? "";
  const address = (query: Record<string, string>) => routeTo(table.dictionary.id, "features", "", { set, ...query });
  const now = routeTo(route.dictionary, "features", "", route.query);
  return (
    <nav class="presets" aria-label="Often wanted">
      {presets(table).map(({ name, means, query, count }) => (
        <a href={address(query)} title={means} aria-current={same(now, address(query)) ? "true" : undefined}>
          {name}{count !== undefined && <span class="quiet"> {whole(count)}</span>}
        </a>
      ))}
    </nav>
  );
}

function same(a: string, b: string): boolean {
  const sorted = (address: string) => {
    const [path = "", query = ""] = address.split("?");
    return `${path}?${[...new URLSearchParams(query)].map(([k, v]) => `${k}=${v}`).sort().join("&")}`;
  };
  return sorted(a) === sorted(b);
}
