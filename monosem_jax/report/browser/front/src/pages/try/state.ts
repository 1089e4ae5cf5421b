// What is tried: all of it stands in the address.

import { go, type Route, withQuery } from "../../route.ts";
import type { Change } from "../../engine/change.ts";

export type Mode = "none" | Change["mode"];
export type Shade = "activation" | "loss" | "divergence";

export interface State {
  text: string | null; // null: none was given yet
  token: number | null; // the place of the chosen token in the text as it is read
  feature: number | null;
  mode: Mode;
  strength: number; // of pin and steer, in units of the feature's largest activation
  shade: Shade;
  seed: number;
  n: number; // tokens that are written on
  temperature: number;
}

const MODES: readonly string[] = ["none", "ablate", "pin", "steer"];
const SHADES: readonly string[] = ["activation", "loss", "divergence"];
export const LONGEST_CONTINUATION = 100;
export const STRENGTHS = { least: -2, most: 8, step: 0.1 };

function number(text: string | null, least: number, most: number): number | null {
  const x = text === null || text === "" ? NaN : Number(text);
  return Number.isFinite(x) ? Math.min(Math.max(x, least), most) : null;
}

function whole(text: string | null, least: number, most: number): number | null {
  const x = number(text, least, most);
  return x === null ? null : Math.round(x);
}

export function stateOf({ query }: Route, nFeatures: number): State {
  const mode = query.get("mode") ?? "", shade = query.get("shade") ?? "", feature = whole(query.get("feature"), -1, nFeatures);
  return {
    text: query.get("text"),
    token: whole(query.get("token"), 0, 1e9),
    feature: feature === null || feature < 0 || feature >= nFeatures ? null : feature,
    mode: MODES.includes(mode) ? (mode as Mode) : "none",
    strength: number(query.get("value"), -100, 100) ?? 1,
    shade: SHADES.includes(shade) ? (shade as Shade) : "activation",
    seed: whole(query.get("seed"), 0, 2 ** 31 - 1) ?? 0,
    n: whole(query.get("n"), 1, LONGEST_CONTINUATION) ?? 40,
    temperature: number(query.get("temperature"), 0.01, 10) ?? 1,
  };
}

const DEFAULTS: Record<string, string> = { mode: "none", shade: "activation", value: "1", seed: "0", n: "40", temperature: "1" };

/** Goes on with some keys of the address changed. Typing and sliding leave no entries in the history. */
export function change(route: Route, changes: Record<string, string | number | null>, replace = false): void {
  const plain = Object.entries(changes).map(([key, value]) => [key, String(value ?? "") === DEFAULTS[key] ? "" : value]);
  go(withQuery(route, Object.fromEntries(plain)), replace);
}

/** The change of a feature that the state asks for, or null. */
export function changeOf({ feature, mode, strength }: State, largest: number): Change | null {
  if (feature === null || mode === "none") return null;
  return { feature, mode, value: mode === "ablate" ? 0 : strength * largest };
}
