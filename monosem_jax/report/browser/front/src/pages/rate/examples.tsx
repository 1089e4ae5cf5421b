// The examples of an interval: tokens shaded by their share of the item's maximum, the strong ones of the interval bold.

import { useMemo } from "preact/hooks";
import { visible } from "../../text.ts";
import { type RatedExample, type RatedInterval, strong } from "./material.ts";

const RTL = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]/g;

/** Right to left where most letters are; tokens alone do not decide it, a context does. */
function direction(text: string): "rtl" | "ltr" {
  const right = text.match(RTL)?.length ?? 0;
  return right > (text.match(/\p{L}/gu)?.length ?? 0) / 2 ? "rtl" : "ltr";
}

export function Examples({ interval, n }: { interval: RatedInterval; n: number }) {
  return <ol class="rated-examples">{interval.examples.map((e) => <li><Tokens example={e} interval={interval.interval} n={n} /></li>)}</ol>;
}

function Tokens({ example, interval, n }: { example: RatedExample; interval: number; n: number }) {
  const dir = useMemo(() => direction(example.tokens.join("")), [example]);
  return (
    <p dir={dir}>
      {example.tokens.map((token, i) => {
        const share = example.activations[i] ?? 0;
        const text = visible(token);
        if (share <= 0 && i !== example.peak) return text;
        const Tag = strong(example, i, interval, n) ? "strong" : "span";
        return (
          <Tag class={`fired${i === example.peak ? " drawn" : ""}`} style={{ "--share": String(Math.round((0.12 + 0.88 * Math.min(1, share)) * 1000) / 1000) }} title={`${Math.round(100 * share)} % of the maximum`}>
            {text}
          </Tag>
        );
      })}
    </p>
  );
}
