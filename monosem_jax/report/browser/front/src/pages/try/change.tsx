// How the chosen feature is changed.

import { useEffect, useId, useState } from "preact/hooks";
import { digits, signed } from "../../text.ts";
import { type Mode, type State, STRENGTHS } from "./state.ts";

const MODES: [Mode, string, string][] = [
  ["none", "As it is", "The model as it is."],
  ["ablate", "Ablate", "The feature is 0 on every token."],
  ["pin", "Pin", "The feature has the same value on every token."],
  ["steer", "Steer", "The value is added to the feature on every token."],
];

export function ChangeForm({ state, largest, change }: {
  state: State; largest: number; change: (changes: Record<string, string | number | null>, replace?: boolean) => void;
}) {
  const id = useId();
  const [strength, setStrength] = useState(state.strength);
  useEffect(() => setStrength(state.strength), [state.strength]);
  const slide = (value: number) => {
    if (!Number.isFinite(value)) return;
    setStrength(value);
    change({ value }, true);
  };
  const sliding = state.mode === "pin" || state.mode === "steer";
  return (
    <div class="try-change">
      <fieldset>
        <legend class="unseen">Change</legend>
        {MODES.map(([mode, name, means]) => (
          <label class={`try-mode${state.mode === mode ? " try-chosen" : ""}`} title={means}>
            <input type="radio" name={id} checked={state.mode === mode} onChange={() => change({ mode })} />
            {name}
          </label>
        ))}
      </fieldset>
      <p class="small quiet">
        {MODES.find(([mode]) => mode === state.mode)?.[2]} {state.mode !== "none" && "What the dictionary does not reconstruct stays, and the start of a context stays."}
      </p>
      {sliding && (
        <div class="try-slider">
          <label for={`${id}-slider`}>{state.mode === "pin" ? "Value" : "Added"}, in units of its largest activation</label>
          <div class="row">
            <input
              id={`${id}-slider`}
              type="range"
              min={STRENGTHS.least}
              max={STRENGTHS.most}
              step={STRENGTHS.step}
              value={strength}
              onInput={(e) => slide(e.currentTarget.valueAsNumber)}
            />
            <input
              type="number"
              aria-label="Strength, in units of its largest activation"
              step={STRENGTHS.step}
              value={strength}
              onInput={(e) => slide(e.currentTarget.valueAsNumber)}
            />
            <span class="quiet small">{largest > 0 ? `${signed(strength, 1)} × ${digits(largest)} = ${digits(strength * largest)}` : "it never fires: the unit is 1"}</span>
          </div>
        </div>
      )}
    </div>
  );
}
