// What the colours of the map mean; a category can be shown alone.

import { visible, whole } from "../../text.ts";
import { CATEGORIES, type Choice, type Colouring, SERIES } from "./colours.ts";

export function Legend({ colouring, choice, only, onOnly }: {
  colouring: Colouring;
  choice: Choice;
  only: string;
  onOnly: (name: string) => void;
}) {
  const { ramp, categories, none } = colouring;
  const others = categories.slice(CATEGORIES);
  return (
    <section class="map-legend" aria-label="Legend">
      <p class="quiet small">{choice.means}</p>
      {ramp && (
        <div class="map-ramp">
          <span>{ramp.low}</span>
          <span class="map-ramp-bar" aria-hidden="true" />
          <span>{ramp.high}</span>
          <span class="quiet small">{ramp.scale}</span>
        </div>
      )}
      {categories.length > 0 && (
        <div class="row map-legend-keys">
          {categories.slice(0, CATEGORIES).map((c, k) => (
            <button type="button" aria-pressed={only === c.name} onClick={() => onOnly(only === c.name ? "" : c.name)} title="Show these alone">
              <span class="map-swatch" style={{ background: `var(${SERIES[k]})` }} aria-hidden="true" />
              {visible(c.name)} <span class="quiet small">{whole(c.count)}</span>
            </button>
          ))}
          {others.length > 0 && (
            <label>
              <span class="map-swatch map-swatch-other" aria-hidden="true" />{" "}
              <select value={others.some((c) => c.name === only) ? only : ""} onChange={(e) => onOnly(e.currentTarget.value)} aria-label="Show one of the others alone">
                <option value="">{whole(others.length)} others: {whole(others.reduce((n, c) => n + c.count, 0))}</option>
                {others.map((c) => <option value={c.name}>{visible(c.name)} ({whole(c.count)})</option>)}
              </select>
            </label>
          )}
        </div>
      )}
      {none > 0 && <p class="quiet small"><span class="map-swatch map-swatch-other" aria-hidden="true" /> {whole(none)} grey: not known, below the limit, or the records are not in this browser</p>}
    </section>
  );
}
