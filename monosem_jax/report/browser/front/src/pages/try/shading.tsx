// What the colours of the tokens say, and figures of the whole text.

import type { Manifest } from "../../engine/model.ts";
import type { ChangedText, ReadText } from "../../engine/protocol.ts";
import { decimals, digits, signed } from "../../text.ts";
import { Term } from "../../ui/note.tsx";
import type { Shading } from "./flow.tsx";
import type { Shade, State } from "./state.ts";

/** The shading of the tokens, or null when nothing was chosen that could be shown. */
export function shadingOf(
  shade: Shade, read: ReadText, values: Float32Array | null, after: ChangedText | null, largest: number,
): Shading | null {
  if (shade !== "activation" && after) {
    const loss = shade === "loss";
    // The divergence is of what is expected after a token.
    const shown = loss ? after.losses.map((x, t) => x - read.losses[t]!) : after.divergence;
    const most = Math.max(...Array.from(shown, (x) => (Number.isFinite(x) ? Math.abs(x) : 0)), 0.01);
    return {
      kind: loss ? "moves" : "fires",
      values: shown,
      most,
      of: (x) => (loss ? `loss ${signed(x, 3)} nats` : `expectations move by ${digits(x)} nats`),
    };
  }
  if (!values) return null;
  const here = Math.max(...Array.from(values, Math.abs), 0);
  return { kind: "fires", values, most: Math.max(largest, here), of: (x) => `activation ${digits(x)}` };
}

const SHADES: [Shade, string, string][] = [
  ["activation", "activation", "The feature's activation on each token."],
  ["divergence", "what moves", "How much the change moves what the model expects after each token: Σ p log(p / q) in nats."],
  ["loss", "loss", "By how much the change raises or lowers the loss of each token, in nats."],
];

export function Legend({ state, shading, canCompare, set }: {
  state: State; shading: Shading | null; canCompare: boolean; set: (changes: Record<string, string>, replace: boolean) => void;
}) {
  const steps = shading?.kind === "moves" ? [-1, -0.5, 0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1];
  const colour = (s: number) => (s === 0 ? "" : shading?.kind === "fires" ? " try-fires" : s > 0 ? " try-rises" : " try-falls");
  return (
    <div class="row small">
      {canCompare && (
        <span role="group" aria-label="What the colours show">
          {SHADES.map(([shade, name, means]) => (
            <button type="button" class="small" aria-pressed={state.shade === shade} title={means} onClick={() => set({ shade }, true)}>{name}</button>
          ))}
        </span>
      )}
      {shading && (
        <span class="try-legend">
          {shading.kind === "moves" ? `−${digits(shading.most, 2)}` : "0"}
          {steps.map((s) => <span class={`try-swatch${colour(s)}`} style={{ "--strength": String(0.1 + 0.9 * Math.abs(s)) }} aria-hidden="true" />)}
          {digits(shading.most, 2)}
        </span>
      )}
    </div>
  );
}

function mean(losses: Float32Array): number {
  let sum = 0, count = 0;
  for (const x of losses) if (Number.isFinite(x)) sum += x, count++;
  return count ? sum / count : NaN;
}

/** The mean loss of the text, and what the change does to it. */
export function Mean({ losses, after }: { losses: Float32Array; after: Float32Array | null }) {
  const before = mean(losses);
  if (!Number.isFinite(before)) return null;
  return (
    <p class="small" aria-live="polite">
      <Term means="the mean over the tokens of −log of the probability that the model gave to each">Loss</Term>{" "}
      {decimals(before, 3)} nats per token{after && <>, {decimals(mean(after), 3)} with the change ({signed(mean(after) - before, 3)})</>}
    </p>
  );
}

/** What the numbers of the page are computed with. */
export function precision({ tensors, bytes }: Manifest): string {
  const small = Object.entries(tensors).filter(([, t]) => t.dtype === "int8").map(([name]) => name);
  const rounded = small.length ? `16 bits (${small.join(", ")}: 8 bits and a scale for each row)` : "16 bits";
  return `The model's weights are rounded to ${rounded}: ${(bytes / 1e6).toFixed(1)} MB of files. Numbers of the records come from the unrounded weights.`;
}
