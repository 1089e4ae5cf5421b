// Which features come before and after one: in the list from which it was opened, or in the set.

import { useEffect, useState } from "preact/hooks";
import { routeTo } from "../../route.ts";
import { type Dictionary, indexSegment, segments } from "../../site.ts";

const KEY = "monosem.order"; // written by the page of all features: {dictionary, set, features, address}

export interface Order {
  features: number[] | null; // null: all numbers below n
  n: number;
  filtered: boolean; // as someone filtered and sorted the list
  address: string; // of that list
}

export interface Place {
  previous: number | null;
  next: number | null;
  at: number; // from 0; -1: not in the order
  n: number;
}

/** The list that was shown last, if it is of this set and has the feature. */
export function listed(dictionary: string, set: string, feature: number): { features: number[]; address: string } | null {
  try {
    const found: unknown = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
    if (typeof found !== "object" || found === null) return null;
    const order = found as { dictionary?: unknown; set?: unknown; features?: unknown; address?: unknown };
    if (order.dictionary !== dictionary || (order.set ?? "features") !== set || !Array.isArray(order.features)) return null;
    if (!order.features.includes(feature)) return null;
    const list = routeTo(dictionary, "features");
    const address = typeof order.address === "string" && order.address.startsWith(list) ? order.address : list;
    return { features: order.features.filter(Number.isInteger), address };
  } catch {
    return null; // no storage for files in this browser, or not what we wrote
  }
}

export function placeOf(order: Order, feature: number): Place {
  const { features, n } = order;
  const at = features ? features.indexOf(feature) : feature < n ? feature : -1;
  if (at < 0) return { previous: null, next: null, at, n };
  const of = (i: number) => (i < 0 || i >= n ? null : features ? features[i] ?? null : i);
  return { previous: of(at - 1), next: of(at + 1), at, n };
}

/** The order in which one walks through the features; undefined until it is known. */
export function useOrder(dictionary: Dictionary, set: string, feature: number): Order | undefined {
  const [order, setOrder] = useState<{ of: string; order: Order }>();
  const of = `${dictionary.id}/${set}/${feature}`;
  useEffect(() => {
    let current = true;
    const info = dictionary.sets[set];
    const all = routeTo(dictionary.id, "features", "", { set: set === "features" ? "" : set });
    const found = (features: number[] | null, n: number) => current && setOrder({ of, order: { features, n, filtered: false, address: all } });
    const list = listed(dictionary.id, set, feature);
    if (list) setOrder({ of, order: { ...list, n: list.features.length, filtered: true } });
    else if (info && info.records === info.n_features) found(null, info.records);
    else if (info) {
      const parts = Array.from({ length: segments(dictionary, set) }, (_, s) => indexSegment(dictionary, set, s));
      Promise.all(parts).then((columns) => found(columns.flatMap((p) => Array.from(p.feature)), info.records), () => undefined);
    }
    return () => {
      current = false;
    };
  }, [of]);
  return order?.of === of ? order.order : undefined;
}
