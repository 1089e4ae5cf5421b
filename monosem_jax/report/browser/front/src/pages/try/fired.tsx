// The features that fire on the chosen token, strongest first.

import { useState } from "preact/hooks";
import type { ReadText } from "../../engine/protocol.ts";
import { routeToFeature } from "../../route.ts";
import { digits, visible } from "../../text.ts";
import { Chip } from "../../ui/chip.tsx";
import { Explained } from "../../ui/explained.tsx";
import type { Known } from "./names.ts";

const FIRST = 10;

export interface Fired {
  feature: number;
  value: number;
}

/** The features of a token, by falling activation. */
export function firedOn(read: ReadText, token: number): Fired[] {
  const found: Fired[] = [];
  for (let i = read.offsets[token] ?? 0; i < (read.offsets[token + 1] ?? 0); i++) {
    found.push({ feature: read.features[i]!, value: read.values[i]! });
  }
  return found.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
}

/** [n] the activation of one feature on every token. */
export function activationOf(read: ReadText, feature: number): Float32Array {
  const found = new Float32Array(read.ids.length);
  for (let t = 0; t < found.length; t++) {
    for (let i = read.offsets[t]!; i < read.offsets[t + 1]!; i++) if (read.features[i] === feature) found[t] = read.values[i]!;
  }
  return found;
}

export function Described({ known }: { known: Known | undefined }) {
  if (!known) return <span class="quiet">no record</span>;
  if (known.text) return <Explained text={known.text} />;
  return (
    <span class="try-tops">
      {known.tokens.slice(0, 4).map((token) => <Chip token={token} />)}
      {known.best && <span class="quiet small"> {visible(known.best)}</span>}
    </span>
  );
}

export function FiredList({ id, fired, known, chosen, choose }: {
  id: string; fired: Fired[]; known: Map<number, Known>; chosen: number | null; choose: (feature: number) => void;
}) {
  const [all, setAll] = useState(false);
  const most = Math.max(...fired.map((f) => Math.abs(f.value)), 0);
  if (!fired.length) return <p class="quiet">No feature fires here. On the start of a context, features count as silent.</p>;
  return (
    <>
      <ul class="try-fired">
        {fired.slice(0, all ? undefined : FIRST).map(({ feature, value }) => {
          const found = known.get(feature), largest = found?.largest ?? 0;
          const share = largest ? `${Math.round((100 * value) / largest)} % of its largest` : "";
          return (
            <li>
              <button type="button" aria-pressed={feature === chosen} onClick={() => choose(feature)}>
                <span class="number">{feature}</span>
                <span class="try-what"><Described known={found} /></span>
                <span class="try-bar" aria-hidden="true"><span style={{ width: `${(100 * Math.abs(value)) / most}%` }} /></span>
                <span class="number" title={share}>{digits(value, 3)}</span>
                <span class="unseen">{share}</span>
              </button>
              {found && <a href={routeToFeature(id, feature)} aria-label={`Open feature ${feature}`} title={`Open feature ${feature}`}>→</a>}
            </li>
          );
        })}
      </ul>
      {fired.length > FIRST && (
        <button type="button" onClick={() => setAll(!all)}>{all ? "Only the strongest" : `All ${fired.length}`}</button>
      )}
    </>
  );
}
