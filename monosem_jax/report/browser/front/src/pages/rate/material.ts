// data/ID/rating.js: the rubric and the items, without any hint of which feature or neuron an item is. See
// monosem_jax/analysis/rating/material.py.

import { bytes, json } from "../../data.ts";
import type { Dictionary } from "../../site.ts";

export interface Question {
  key: string;
  each_interval: boolean;
  text: string;
  points: number; // 0: words
  only_below: string; // asked only where that question has less than all its points
}

export interface RatedExample {
  tokens: string[];
  activations: number[]; // shares of the item's maximum
  peak: number;
}

export interface RatedInterval {
  interval: number; // of N, from 0
  examples: RatedExample[];
}

export interface Item {
  id: string;
  intervals: RatedInterval[];
  logits: [string, number][]; // tokens and their weights as shares of the largest
}

export interface Material {
  rubric: Question[];
  items: Item[];
  hash: string; // of the whole file
}

/** The material with a hash of all of it, by which ratings of different analyses are kept apart. */
export async function loadMaterial(d: Dictionary): Promise<Material> {
  const key = `${d.id}/rating`;
  const [data, found] = await Promise.all([bytes(key), json<Omit<Material, "hash">>(key)]);
  return { ...found, hash: hashed(data) };
}

/** A hash of 53 bits (cyrb53), as hexadecimal digits. Not for secrets. */
export function hashed(data: Uint8Array): string {
  let [a, b] = [0xdeadbeef, 0x41c6ce57];
  for (const byte of data) {
    a = Math.imul(a ^ byte, 2654435761);
    b = Math.imul(b ^ byte, 1597334677);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return (4294967296 * (2097151 & b) + (a >>> 0)).toString(16).padStart(14, "0");
}

/** How many equal intervals the range up to the maximum has, those without examples included. */
export const parts = (item: Item): number => Math.max(1, ...item.intervals.map((i) => i.interval + 1));

/** Whether a token is one of the strong ones of its interval: the drawn one, and others in the same interval. */
export function strong(e: RatedExample, i: number, interval: number, n: number): boolean {
  const share = e.activations[i] ?? 0;
  return i === e.peak || (share > interval / n && share <= (interval + 1) / n);
}
