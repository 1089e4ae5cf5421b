// Finding a feature to change by number, label, explanation or token.

import { useId, useMemo, useState } from "preact/hooks";
import { share } from "../../text.ts";
import { Described } from "./fired.tsx";
import type { Known } from "./names.ts";

const SHOWN = 8;

/** Features whose number, label, explanation or top tokens match all words, the best for a label first. */
export function matching(known: Map<number, Known>, query: string): Known[] {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const scored: [number, Known][] = [];
  for (const k of known.values()) {
    const labels = `${k.best} ${k.label}`.toLowerCase(), rest = `${k.text} ${k.tokens.join(" ")}`.toLowerCase();
    if (!words.every((w) => String(k.feature) === w || labels.includes(w) || rest.includes(w))) continue;
    const score = words.reduce((s, w) => s + (String(k.feature) === w ? 8 : 0) + (k.best.toLowerCase().includes(w) ? 4 : 0)
      + (k.label.toLowerCase().includes(w) ? 2 : 0) + (k.text.toLowerCase().includes(w) ? 1 : 0), 0);
    scored.push([score, k]);
  }
  return scored.sort((a, b) => b[0] - a[0] || b[1].density - a[1].density).slice(0, SHOWN).map(([, k]) => k);
}

export function Choose({ known, choose }: { known: Map<number, Known>; choose: (feature: number) => void }) {
  const id = useId();
  const [query, setQuery] = useState("");
  const found = useMemo(() => matching(known, query), [known, query]);
  return (
    <div class="try-choose">
      <label for={id}>Find a feature</label>
      <input
        id={id}
        type="search"
        value={query}
        placeholder="number, label, word"
        onInput={(e) => setQuery(e.currentTarget.value)}
        onKeyDown={(e) => {
          const first = found[0];
          if (e.key === "Enter" && first) choose(first.feature), setQuery("");
        }}
      />
      {query && (
        <ul class="try-fired">
          {found.map((k) => (
            <li>
              <button type="button" onClick={() => (choose(k.feature), setQuery(""))}>
                <span class="number">{k.feature}</span>
                <span class="try-what"><Described known={k} /></span>
                <span class="quiet small">{share(k.density)}</span>
              </button>
            </li>
          ))}
          {!found.length && <li class="quiet">No feature matches.</li>}
        </ul>
      )}
    </div>
  );
}
