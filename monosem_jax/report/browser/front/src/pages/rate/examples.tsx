// The examples of an interval: tokens shaded by their share of the item's maximum, the strong ones of the interval bold.

import { useMemo } from "preact/hooks";
import { direction, pieces, textOf } from "../../tokens.ts";
import { type RatedExample, type RatedInterval, strong } from "./material.ts";

export function Examples({ interval, n }: { interval: RatedInterval; n: number }) {
  return <ol class="rated-examples">{interval.examples.map((e) => <li><Tokens example={e} interval={interval.interval} n={n} /></li>)}</ol>;
}

function Tokens({ example, interval, n }: { example: RatedExample; interval: number; n: number }) {
  const all = useMemo(() => pieces(example.tokens), [example]);
  const dir = useMemo(() => direction(textOf(all)), [all]);
  return (
    <p dir={dir}>
      {all.map((piece) => {
        const share = Math.max(...piece.tokens.map((t) => example.activations[t] ?? 0));
        const drawn = piece.tokens.includes(example.peak);
        const text = piece.segments.map((s) => (s.blank ? <span class="blank">{s.text}</span> : s.text));
        if (share <= 0 && !drawn) return text;
        const Tag = piece.tokens.some((t) => strong(example, t, interval, n)) ? "strong" : "span";
        const shade = Math.round((0.12 + 0.88 * Math.min(1, share)) * 1000) / 1000;
        return (
          <Tag class={`fired${drawn ? " drawn" : ""}`} style={{ "--share": String(shade) }} title={`${Math.round(100 * share)} % of the maximum`}>
            {text}
          </Tag>
        );
      })}
    </p>
  );
}
