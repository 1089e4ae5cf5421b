// A few values beside each other: bars with their names and numbers, and dots on a common line.

import "../styles/versus.css";

export interface VersusRow {
  name: string;
  value: number | null;
  text: string;
  ours?: boolean; // of the dictionary, drawn in its colour
}

/** Bars from `from` to `to`, each with its name and number. The numbers are text, the bars are decoration. */
export function Versus({ rows, from, to }: { rows: VersusRow[]; from: number; to: number }) {
  const length = (v: number | null) => `${Math.max(0, Math.min(1, ((v ?? from) - from) / (to - from))) * 100}%`;
  return (
    <dl class="versus">
      {rows.map((r) => (
        <div class={r.ours ? "ours" : ""}>
          <dt>{r.name}</dt>
          <dd><span class="track" aria-hidden="true"><span class="fill" style={{ width: length(r.value) }} /></span><span class="text">{r.text}</span></dd>
        </div>
      ))}
    </dl>
  );
}

export interface Dot {
  value: number | null;
  tone: number;
  hollow?: boolean;
}

const WIDTH = 116;

/** Dots on a line from 0 to 1 (values below are drawn at 0). Decoration: the numbers stand beside it. */
export function Strip({ dots }: { dots: Dot[] }) {
  const x = (v: number) => 6 + Math.max(0, Math.min(1, v)) * (WIDTH - 12);
  return (
    <svg class="strip" width={WIDTH} height={18} aria-hidden="true">
      <line x1={6} x2={WIDTH - 6} y1={9} y2={9} />
      {[0, 0.5, 1].map((v) => <line x1={x(v)} x2={x(v)} y1={6} y2={12} />)}
      {dots.map((d) => d.value !== null && <circle class={`s${d.tone}${d.hollow ? " hollow" : ""}`} cx={x(d.value)} cy={9} r={d.hollow ? 3.5 : 4.5} />)}
    </svg>
  );
}
