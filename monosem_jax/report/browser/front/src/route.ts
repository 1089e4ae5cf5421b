// The state of a view is in the part of the address after "#": #/DICTIONARY/page/item?key=value.

import { useEffect, useState } from "preact/hooks";

export interface Route {
  dictionary: string; // "" for pages of the whole browser
  page: string;
  item: string;
  query: URLSearchParams;
}

const GLOBAL = new Set(["splitting", "automata", "compare"]);

export function parsed(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const parts = path.split("/").map(decoded);
  if (GLOBAL.has(parts[0] ?? "")) parts.unshift("");
  const [dictionary = "", page = "", item = ""] = parts;
  return { dictionary, page, item, query: new URLSearchParams(query) };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

type Query = Record<string, string | number | undefined | null> | URLSearchParams;

/** The address of a page. Values that are undefined, null or "" are left out of the query. */
export function routeTo(dictionary: string, page: string, item: string | number = "", query: Query = {}): string {
  const path = [dictionary, page, String(item)].filter((part) => part !== "").map(encodeURIComponent);
  const search = new URLSearchParams();
  const pairs = query instanceof URLSearchParams ? [...query] : Object.entries(query);
  for (const [key, value] of pairs) if (value !== undefined && value !== null && value !== "") search.set(key, String(value));
  const text = search.toString();
  return `#/${path.join("/")}${text ? `?${text}` : ""}`;
}

/** The address of a feature of a set of a dictionary. */
export function routeToFeature(dictionary: string, feature: number, set = "features"): string {
  return routeTo(dictionary, "feature", feature, { set: set === "features" ? "" : set });
}

/** Goes to an address; `replace`: without a new entry in the history (for sliders and typing). */
export function go(address: string, replace = false): void {
  if (replace) {
    location.replace(address);
  } else {
    location.hash = address;
  }
}

/** The current route with some keys of its query changed ("" or undefined removes one). */
export function withQuery(route: Route, changes: Query): string {
  const query = Object.fromEntries(route.query);
  const changed = changes instanceof URLSearchParams ? Object.fromEntries(changes) : changes;
  return routeTo(route.dictionary, route.page, route.item, { ...query, ...changed });
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => parsed(location.hash));
  useEffect(() => {
    const changed = () => setRoute(parsed(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}
