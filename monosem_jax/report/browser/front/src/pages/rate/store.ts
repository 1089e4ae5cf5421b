// Ratings are kept in this browser; where it refuses storage, in memory until the page is closed.

import { type Material } from "./material.ts";
import { imported, type Ratings } from "./ratings.ts";

const memory = new Map<string, string>();
const keyOf = (m: Material): string => `monosem.ratings.${m.hash}`;

/** What was kept of this material. Anything that is not valid is left out. */
export function kept(material: Material): Ratings {
  let text = memory.get(keyOf(material)) ?? null;
  try {
    text = localStorage.getItem(keyOf(material)) ?? text;
  } catch {
    // refused
  }
  try {
    return text === null ? {} : imported(material, `{"ratings":[],"begun":${text}}`);
  } catch {
    return {};
  }
}

/** Keeps the ratings; returns whether they will be there when the page is opened again. */
export function keep(material: Material, ratings: Ratings): boolean {
  const text = JSON.stringify(ratings);
  memory.set(keyOf(material), text);
  try {
    localStorage.setItem(keyOf(material), text);
    return true;
  } catch {
    return false;
  }
}
