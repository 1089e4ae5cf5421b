// A family drawn: a column for each size, lines between parents and children, as wide as they are similar.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Named } from "../../names.ts";
import { nameKey } from "../../names.ts";
import type { ComparedSet } from "../../site.ts";
import { decimals, share, visible, whole } from "../../text.ts";
import { Chip, shortened } from "../../ui/chip.tsx";
import { type Family, type Line, type Place, same } from "./family.ts";

const ROW = 46;
const HEAD = 28;
const BOX = 38;

interface Props {
  family: Family;
  centre: Place;
  sets: ComparedSet[]; // by level
  names: Map<string, Named>;
  onChoose: (place: Place) => void;
}

export function FamilyGraph({ family, centre, sets, names, onChoose }: Props) {
  const [shown, show] = useState<Line | null>(null);
  useEffect(() => show(null), [centre.level, centre.feature]);
  const scroller = useRef<HTMLDivElement>(null);
  const [room, setRoom] = useState(960);
  useEffect(() => setRoom((scroller.current?.clientWidth ?? 984) - 24), []);
  const narrow = innerWidth < 640;
  const CARD = narrow ? 152 : 188;
  const between = Math.max(1, family.columns.length - 1);
  const GAP = Math.min(narrow ? 56 : 110, Math.max(48, (room - family.columns.length * CARD) / between)); // all sizes in view, if they fit
  const tallest = Math.max(...family.columns.map((c) => c.features.length));
  const height = HEAD + tallest * ROW;
  const x = (level: number) => (level - (family.columns[0]?.level ?? 0)) * (CARD + GAP);
  const width = family.columns.length * (CARD + GAP) - GAP;
  const y = (place: Place) => {
    const column = family.columns.find((c) => c.level === place.level);
    const n = column?.features.length ?? 1;
    return HEAD + ((tallest - n) / 2 + (column?.features.indexOf(place.feature) ?? 0)) * ROW + BOX / 2;
  };
  useEffect(() => {
    const box = scroller.current; // the chosen feature in the middle of a narrow window
    if (box) box.scrollLeft = x(centre.level) + CARD / 2 - box.clientWidth / 2;
  }, [family]);
  return (
    <figure class="family">
      <div class="scroll family-box" ref={scroller} tabIndex={0} role="region" aria-label="Family drawn; the tables below say the same">
        <div class="family-canvas" style={{ width: `${width}px`, height: `${height}px` }}>
          <svg width={width} height={height} aria-hidden="true">
            {family.lines.map((line) => (
              <path
                d={curve(x(line.from.level) + CARD, y(line.from), x(line.to.level), y(line.to))}
                class={`edge${line.best ? "" : " edge-other"}${shown === line ? " edge-shown" : ""}${same(line.from, centre) || same(line.to, centre) ? "" : " edge-far"}`}
                stroke-width={0.75 + 6 * line.similarity ** 2}
                onPointerEnter={() => show(line)}
              />
            ))}
          </svg>
          {family.columns.map((column) => (
            <div class="size-head small quiet" style={{ left: `${x(column.level)}px`, width: `${CARD}px` }}>
              {whole(sets[column.level]?.n_features ?? 0)} features{column.left > 0 && ` · ${whole(column.left)} more not drawn`}
            </div>
          ))}
          {family.columns.flatMap((column) =>
            column.features.map((feature) => {
              const place = { level: column.level, feature };
              const set = sets[column.level];
              const line = family.lines.find((l) => (same(l.to, place) && same(l.from, centre)) || (same(l.from, place) && same(l.to, centre)))
                ?? family.lines.find((l) => same(l.to, place));
              const chosen = same(place, centre);
              return (
                <button
                  type="button"
                  class={`family-node${chosen ? " chosen" : ""}`}
                  aria-current={chosen ? "true" : undefined}
                  style={{ left: `${x(column.level)}px`, top: `${y(place) - BOX / 2}px`, width: `${CARD}px`, height: `${BOX}px` }}
                  onClick={() => onChoose(place)}
                  onFocus={() => line && show(line)}
                  onPointerEnter={() => line && !chosen && show(line)}
                >
                  <Node feature={feature} name={set && names.get(nameKey(set, feature))} />
                </button>
              );
            }),
          )}
        </div>
      </div>
      <figcaption class="edge-told" aria-live="polite">{shown ? <EdgeTold line={shown} sets={sets} /> : <span class="quiet">Point at a feature or a line, or move through the features by Tab, to read how similar they are. A click on a feature puts it in the middle. Solid: the best parent of the child; dashed: another one.</span>}</figcaption>
    </figure>
  );
}

function Node({ feature, name }: { feature: number; name?: Named }) {
  return (
    <>
      <span class="node-number">{feature}</span>
      <span class="node-tokens">{name ? name.tokens.slice(0, 3).map((t) => <Chip token={t} most={12} />) : <span class="quiet small">no record here</span>}</span>
      {name?.label && <span class="node-label">{shortened(visible(name.label), 26)}</span>}
    </>
  );
}

function EdgeTold({ line, sets }: { line: Line; sets: ComparedSet[] }) {
  const of = (p: Place) => `${visible(sets[p.level]?.name ?? "")} ${p.feature}`;
  return (
    <>
      <strong>{of(line.from)} → {of(line.to)}</strong>: similarity {decimals(line.similarity)} (chance {decimals(line.chance)}),
      cosine of the vectors {decimals(line.cosine)}. The parent fires on {share(line.child_to_parent)} of the child’s tokens
      (features as dense: {share(line.matched)}), the child on {share(line.parent_to_child)} of the parent’s; {share(line.mass)} of
      the parent’s Σ f² lies where the child fires.{line.best ? "" : " The child has a better parent."}
    </>
  );
}

function curve(x0: number, y0: number, x1: number, y1: number): string {
  const bend = (x1 - x0) / 2;
  return `M${x0},${y0}C${x0 + bend},${y0} ${x1 - bend},${y1} ${x1},${y1}`;
}
