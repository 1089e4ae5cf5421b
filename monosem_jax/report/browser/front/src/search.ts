// Full-text search over the records of a set: monosem_jax/report/browser/search.py says what the files hold.

import { bytes, json, padded } from "./data.ts";
import type { Dictionary } from "./site.ts";
import { wanted, type Wanted } from "./terms.ts";

interface Directory {
  words: number;
  most: number; // different words of a feature
  least: number; // correlation with a label or proxy whose name then finds a feature
  firsts: string[]; // the first word of each file
}

export interface Found {
  rank: Uint16Array; // of every record of the set, by its place; 0: not found
  words: string[]; // that were looked for
  cut: string; // a beginning that too many words have: only some of them were read
}

const FILES = 8; // of words with one beginning
const NAMED = 4; // the bit of a posting that says that the word stands in an explanation, label, proxy or top token
const IN_NAME = 1000;
const HIGHEST = 65535;

/** How well every record of a set answers a query: in its name before in its examples, then by how often. */
export async function find(d: Dictionary, set: string, query: string): Promise<Found> {
  const words = wanted(query);
  const records = d.sets[set]?.records ?? 0;
  const rank = new Uint16Array(records);
  const found: Found = { rank, words: words.map((w) => w.term), cut: "" };
  if (words.length === 0) return found;
  const directory = await json<Directory>(`${d.id}/${set}/search`);
  for (const [i, word] of words.entries()) {
    const { ranks, cut } = await ranked(d, set, directory, word, records);
    if (cut) found.cut = word.term;
    for (let row = 0; row < records; row++) {
      const one = ranks[row] ?? 0;
      const before = rank[row] ?? 0;
      rank[row] = one === 0 || (i > 0 && before === 0) ? 0 : Math.min(HIGHEST, before + one);
    }
  }
  return found;
}

async function ranked(d: Dictionary, set: string, directory: Directory, word: Wanted, records: number) {
  const ranks = new Uint16Array(records);
  const { firsts } = directory;
  const begin = Math.max(0, place(firsts, word.term));
  let end = begin + 1;
  if (word.begins) while (end < firsts.length && (firsts[end] ?? "").startsWith(word.term)) end++;
  const files = firsts.length ? Array.from({ length: Math.min(end - begin, FILES) }, (_, i) => begin + i) : [];
  const loaded = await Promise.all(files.map((file) => bytes(`${d.id}/${set}/search-${padded(file)}`)));
  for (const data of loaded) {
    eachPosting(data, (term) => (term === word.term ? 2 : word.begins && term.startsWith(word.term) ? 1 : 0), (row, code, how) => {
      const rank = (code & NAMED ? IN_NAME : 0) + 2 * (code & 3) + how;
      if (rank > (ranks[row] ?? 0)) ranks[row] = rank;
    });
  }
  return { ranks, cut: end - begin > FILES };
}

/** The last of sorted words that is not behind `term`, or -1. */
function place(sorted: string[], term: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] ?? "") <= term) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** The postings of the words of a file for which `how` is not 0. */
function eachPosting(data: Uint8Array, how: (term: string) => number, use: (row: number, code: number, how: number) => void): void {
  const length = new DataView(data.buffer, data.byteOffset).getUint32(0, true);
  const terms = new TextDecoder().decode(data.subarray(4, 4 + length)).split("\n");
  let at = 4 + length;
  const number = () => {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = data[at++] ?? 0;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
  };
  for (const term of terms) {
    const kind = how(term);
    let row = 0;
    for (let left = number(); left > 0; left--) {
      const posting = number();
      row += Math.floor(posting / 8);
      if (kind) use(row, posting % 8, kind);
    }
  }
}
