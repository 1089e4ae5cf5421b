// The canvas of the map with its buttons and the label of the point under the pointer.

import { useEffect, useRef, useState } from "preact/hooks";
import type { ComparedSet } from "../../site.ts";
import { visible } from "../../text.ts";
import { Tokens } from "../../ui/feature_link.tsx";
import { type Named, nameKey, useNames } from "../../names.ts";
import type { Site } from "../../site.ts";
import type { Look } from "./look.ts";
import { Plot } from "./plot.ts";
import type { Points } from "./points.ts";

export function Scatter({ site, p, sets, look, at, onView, onChoose, onLasso }: {
  site: Site;
  p: Points;
  sets: ComparedSet[];
  look: Look;
  at: string | null; // "x,y,zoom"
  onView: (at: string, middle: number[]) => void;
  onChoose: (point: number) => void;
  onLasso: (polygon: number[]) => void;
}) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const plot = useRef<Plot | null>(null);
  const [hover, setHover] = useState<{ point: number; x: number; y: number } | null>(null);
  const [lassoing, setLassoing] = useState(false);
  const listeners = useRef({ onView, onChoose, onLasso });
  listeners.current = { onView, onChoose, onLasso };
  useEffect(() => {
    if (!canvas.current) return;
    const made = new Plot(canvas.current, p, sets.length, {
      view: (now) => listeners.current.onView(now, made.middle(40)),
      hover: (point, x, y) => setHover(point < 0 ? null : { point, x, y }),
      choose: (point) => listeners.current.onChoose(point),
      lasso: (polygon) => (setLassoing(false), listeners.current.onLasso(polygon)),
    }, at);
    plot.current = made;
    return () => made.end();
  }, [p]);
  useEffect(() => {
    plot.current?.show(look);
    listeners.current.onView(plot.current?.at ?? "", plot.current?.middle(40) ?? []);
  }, [look, p]);
  useEffect(() => {
    if (plot.current && (at ?? "") !== plot.current.at) plot.current.place(at); // back and forward
  }, [at]);
  useEffect(() => {
    if (plot.current) plot.current.lassoing = lassoing;
  }, [lassoing]);
  const set = hover ? sets[p.set[hover.point]!] : undefined;
  const feature = hover ? p.feature[hover.point]! : -1;
  const names = useNames(site, set ? [{ set, feature }] : []);
  return (
    <div class="map-box">
      <canvas
        ref={canvas}
        class="map-canvas"
        tabIndex={0}
        role="application"
        aria-label={`Map of ${p.n} features. Arrows move, plus and minus zoom, 0 shows all, Enter opens the feature in the middle; the list below has those nearest to the middle.`}
      />
      {hover && set && <Hover set={set} feature={feature} name={names.get(nameKey(set, feature))} x={hover.x} y={hover.y} width={canvas.current?.clientWidth ?? 0} />}
      <div class="map-tools" role="toolbar" aria-label="Map">
        <button type="button" onClick={() => plot.current?.zoom(1.5)} aria-label="Zoom in">+</button>
        <button type="button" onClick={() => plot.current?.zoom(1 / 1.5)} aria-label="Zoom out">−</button>
        <button type="button" onClick={() => (plot.current?.place(null), listeners.current.onView("", []))} aria-label="Show all">⤢</button>
        <button type="button" aria-pressed={lassoing} onClick={() => setLassoing(!lassoing)} title="Draw around points; or drag with Shift">Lasso</button>
      </div>
    </div>
  );
}

function Hover({ set, feature, name, x, y, width }: { set: ComparedSet; feature: number; name?: Named; x: number; y: number; width: number }) {
  const left = x > width / 2;
  return (
    <div class="map-hover card" style={{ top: `${y + 12}px`, left: left ? "auto" : `${x + 12}px`, right: left ? `${width - x + 12}px` : "auto" }}>
      <strong>{visible(set.name)} {feature}</strong>
      {name && <Tokens tokens={name.tokens} />}
      {name?.label && <span class="quiet small">{visible(name.label)}</span>}
      {!set.dictionary && <span class="quiet small">its records are not in this browser</span>}
    </div>
  );
}
