// The words of what people type, as monosem_jax/report/browser/terms.py makes them of the texts that are searched.

const LONGEST = 32; // characters of a word
const OPTIONAL = /[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0640\u064b-\u065f\u0670]/g;
const UNSPACED =
  "\\u0e00-\\u0eff\\u1000-\\u109f\\u1780-\\u17ff\\u2e80-\\u2fdf\\u3005-\\u3007\\u3041-\\u30ff\\u31f0-\\u31ff\\u3400-\\u4dbf" +
  "\\u4e00-\\u9fff\\uf900-\\ufaff\\u{20000}-\\u{3ffff}";
const FIRST = new RegExp(`^[${UNSPACED}]`, "u");
const RUNS = new RegExp(`[${UNSPACED}]+|[^${UNSPACED}]+`, "gu");
const WORD = /[\p{L}\p{N}\p{M}]+/gu;

export interface Wanted {
  term: string;
  begins: boolean; // every word that begins so will do: it is the last one and may be unfinished
}

/** The words that a feature must have, all of them. */
export function wanted(query: string): Wanted[] {
  const text = query.normalize("NFKC").toLowerCase().replace(OPTIONAL, "").replaceAll("ς", "σ");
  const found: Wanted[] = [];
  for (const word of text.match(WORD) ?? []) {
    for (const run of word.match(RUNS) ?? []) {
      const characters = [...run];
      if (!FIRST.test(run)) {
        found.push({ term: characters.slice(0, LONGEST).join(""), begins: false });
      } else if (characters.length === 1) {
        found.push({ term: run, begins: false });
      } else {
        for (let i = 0; i + 1 < characters.length; i++) found.push({ term: characters.slice(i, i + 2).join(""), begins: false });
      }
    }
  }
  const last = found.at(-1);
  if (last && /[\p{L}\p{N}\p{M}]$/u.test(text) && !FIRST.test(last.term)) last.begins = true;
  return found;
}
