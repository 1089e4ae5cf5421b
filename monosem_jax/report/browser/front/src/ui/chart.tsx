// Charts in SVG: lines, bars, and points. Colours are series of tokens.css by number (class s0 … s6). Every chart says
// its key figures in `says`, and labels what it draws where it draws it.

import { useState } from "preact/hooks";
import { Axes, type Box, Figure, type FigureProps } from "./frame.tsx";
import { apart, extent, linear, logarithmic, plainNumber } from "./scale.ts";

export interface AxisProps {
  name: string; // with its unit
  log?: boolean;
  format?: (x: number) => string; // of ticks
  domain?: [number, number]; // otherwise that of the data
}

export interface Line {
  name: string; // written at its end where there are several
  x: number[];
  y: number[];
  tone?: number; // 0 … 6
  points?: boolean; // a dot at each point, for a few points
}

export interface Mark {
  at: number;
  name: string;
}

const scaled = (axis: AxisProps, values: number[], range: [number, number], n: number, nice: boolean) =>
  axis.log
    ? logarithmic(axis.domain ?? extent(values.filter((v) => v > 0)), range, axis.format)
    : linear(axis.domain ?? extent(values), range, n, axis.format, nice);

const path = (x: (v: number) => number, y: (v: number) => number, line: Line): string =>
  line.x.map((v, i) => `${i ? "L" : "M"}${x(v).toFixed(1)} ${y(line.y[i] ?? 0).toFixed(1)}`).join("");

function nearest(xs: number[], at: number): number {
  let best = 0;
  xs.forEach((x, i) => {
    if (Math.abs(x - at) < Math.abs((xs[best] ?? 0) - at)) best = i;
  });
  return best;
}

/** Lines over a common x axis. `marks` are vertical lines (all get a tick, `name` once), `levels` horizontal ones. */
export function LineChart({ x: xAxis, y: yAxis, lines, marks = [], marksName = "", levels = [], height = 220, ...figure }: FigureProps & {
  x: AxisProps;
  y: AxisProps;
  lines: Line[];
  marks?: number[];
  marksName?: string;
  levels?: Mark[];
}) {
  const [at, setAt] = useState<number | null>(null);
  const named = lines.length + levels.length > 1;
  const live = at === null ? "" : `${xAxis.name} ${plainNumber(at)}: ${lines.map((l) => `${named ? `${l.name} ` : ""}${Number((l.y[nearest(l.x, at)] ?? 0).toPrecision(4)).toLocaleString("en-US", { maximumFractionDigits: 6 })}`).join(", ")}`;
  return (
    <Figure {...figure} height={height} live={live}>
      {(width) => {
        const side = named ? Math.min(120, 8 + 6.3 * Math.max(...[...lines, ...levels].map((l) => l.name.length))) : 10;
        const box: Box = { left: 46, right: width - side, top: 24, bottom: height - 40 };
        const x = scaled(xAxis, lines.flatMap((l) => l.x), [box.left, box.right], Math.max(2, width / 110), false);
        const y = scaled(yAxis, [...lines.flatMap((l) => l.y), ...levels.map((l) => l.at)], [box.bottom, box.top], 4, true);
        const ends = [...lines.map((l) => y(l.y[l.y.length - 1] ?? 0)), ...levels.map((l) => y(l.at))];
        const placed = apart(ends, 12, box.bottom);
        const moved = (e: PointerEvent) => {
          const rect = (e.currentTarget as Element).getBoundingClientRect();
          const share = (e.clientX - rect.left) / rect.width;
          const [low, high] = x.domain;
          const wanted = xAxis.log ? low * (high / low) ** share : low + share * (high - low);
          const all = lines[0]?.x ?? [];
          setAt(all[nearest(all, wanted)] ?? null);
        };
        return (
          <>
            <Axes box={box} x={x} y={y} xName={xAxis.name} yName={yAxis.name} />
            {marks.filter((m) => m >= x.domain[0] && m <= x.domain[1]).map((m, i, shown) => (
              <g class="mark">
                <line x1={x(m)} x2={x(m)} y1={box.top} y2={box.bottom} />
                {i === shown.length - 1 && <text x={x(m) + 4} y={box.top + 9}>{marksName}</text>}
              </g>
            ))}
            {levels.map((l, i) => (
              <g class="level">
                <line x1={box.left} x2={box.right} y1={y(l.at)} y2={y(l.at)} />
                <text x={box.right + 5} y={(placed[lines.length + i] ?? 0) + 4}>{l.name}</text>
              </g>
            ))}
            {lines.map((l, i) => (
              <g class={`series s${l.tone ?? i}`}>
                <path d={path(x, y, l)} />
                {l.points && l.x.map((v, j) => <circle cx={x(v)} cy={y(l.y[j] ?? 0)} r={3} />)}
                {named && <text x={box.right + 5} y={(placed[i] ?? 0) + 4}>{l.name}</text>}
              </g>
            ))}
            {at !== null && <line class="cursor" x1={x(at)} x2={x(at)} y1={box.top} y2={box.bottom} />}
            <rect class="catch" x={box.left} y={box.top} width={Math.max(0, box.right - box.left)} height={box.bottom - box.top}
              onPointerMove={moved} onPointerDown={moved} onPointerLeave={() => setAt(null)} />
          </>
        );
      }}
    </Figure>
  );
}

/** Bars between the edges of bins [n+1]. `beside`: one more bar left of the axis, such as what is at zero. `shaded`:
 * ranges of x with a name. `toned`: the colour of each bar (default 0). `bare`: without x axis, for a chart above
 * another with the same edges and margins. */
export function Bars({ x: xAxis, y: yAxis, edges, values, ticks, beside, marks = [], shaded = [], toned, bare = false, height = 200, ...figure }: FigureProps & {
  x: AxisProps & { domain: [number, number] };
  y: AxisProps;
  edges: number[];
  values: number[];
  ticks?: number[];
  beside?: { name: string; value: number | null };
  marks?: Mark[];
  shaded?: { from: number; to: number; name: string }[];
  toned?: (bin: number) => number;
  bare?: boolean;
}) {
  return (
    <Figure {...figure} height={height}>
      {(width) => {
        const gutter = beside ? 44 : 0;
        const box: Box = { left: 46 + gutter, right: width - 10, top: 24, bottom: height - (bare ? 8 : 40) };
        const x = scaled(xAxis, [], [box.left, box.right], width / 80, false);
        if (ticks) x.ticks = ticks.filter((t) => t >= x.domain[0] && t <= x.domain[1]).map((at) => ({ at, text: (xAxis.format ?? plainNumber)(at) }));
        const y = scaled(yAxis, [0, ...values, beside?.value ?? 0], [box.bottom, box.top], 3, true);
        const inside = (v: number) => Math.max(box.left, Math.min(box.right, x(v)));
        return (
          <>
            {shaded.map((s) => (
              <g class="shaded">
                <rect x={inside(s.from)} y={box.top} width={Math.max(0, inside(s.to) - inside(s.from))} height={box.bottom - box.top} />
                {!bare && <text x={inside(s.from) + 4} y={box.top + 10}>{s.name}</text>}
              </g>
            ))}
            <Axes box={{ ...box, left: 46 }} x={x} y={y} xName={bare ? undefined : xAxis.name} yName={yAxis.name} />
            {values.map((v, i) => {
              const [left, right] = [inside(edges[i] ?? 0), inside(edges[i + 1] ?? 0)];
              if (!v || right <= left) return null;
              const top = Math.min(y(v), box.bottom - 1);
              return <rect class={`bar s${toned?.(i) ?? 0}`} x={left + 0.5} y={top} width={Math.max(1, right - left - 1)} height={box.bottom - top} />;
            })}
            {beside && beside.value !== null && (
              <g>
                {beside.value > 0 && <rect class="bar s6" x={56} y={y(beside.value)} width={22} height={box.bottom - y(beside.value)} />}
                <text x={67} y={Math.min(y(beside.value), box.bottom) - 4} text-anchor="middle">{plainNumber(beside.value)}</text>
                {!bare && <text x={67} y={box.bottom + 16} text-anchor="middle">{beside.name}</text>}
              </g>
            )}
            {marks.filter((m) => m.at > x.domain[0] && m.at < x.domain[1]).map((m) => (
              <g class="mark">
                <line x1={x(m.at)} x2={x(m.at)} y1={box.top - 8} y2={box.bottom} />
                {m.name && <text x={x(m.at) + (x(m.at) > box.right - 18 ? -3 : 3)} y={box.top - 1} text-anchor={x(m.at) > box.right - 18 ? "end" : "start"}>{m.name}</text>}
              </g>
            ))}
          </>
        );
      }}
    </Figure>
  );
}

export interface Point {
  x: number;
  y: number;
  name: string;
  tone?: number;
  href?: string; // made by routeTo
  current?: boolean; // the one that the reader is at
}

/** Points with their names; `joined` lists of points are connected by thin lines in the colour of their first. */
export function Scatter({ x: xAxis, y: yAxis, points, joined = [], height = 300, ...figure }: FigureProps & {
  x: AxisProps;
  y: AxisProps;
  points: Point[];
  joined?: Point[][];
}) {
  return (
    <Figure {...figure} height={height} linked={points.some((p) => p.href)}>
      {(width) => {
        const box: Box = { left: 46, right: width - 16, top: 28, bottom: height - 40 };
        const x = scaled(xAxis, points.map((p) => p.x), [box.left + 14, box.right - 14], Math.max(2, width / 110), false);
        const y = scaled(yAxis, points.map((p) => p.y), [box.bottom - 10, box.top + 6], 4, true);
        const placed = apart(points.map((p) => y(p.y)), 13, box.bottom);
        return (
          <>
            <Axes box={box} x={x} y={y} xName={xAxis.name} yName={yAxis.name} />
            {joined.map((line) => (
              <g class={`series thin s${line[0]?.tone ?? 0}`}>
                <path d={path(x, y, { name: "", x: line.map((p) => p.x), y: line.map((p) => p.y) })} />
              </g>
            ))}
            {points.map((p, i) => {
              const end = x(p.x) > box.right - 7 * p.name.length - 12;
              const drawn = (
                <g class={`point s${p.tone ?? 0}${p.current ? " here" : ""}`}>
                  <circle class="target" cx={x(p.x)} cy={y(p.y)} r={14} />
                  <circle cx={x(p.x)} cy={y(p.y)} r={p.current ? 6 : 4.5} />
                  <text x={x(p.x) + (end ? -9 : 9)} y={(placed[i] ?? 0) + 4} text-anchor={end ? "end" : "start"}>{p.name}</text>
                </g>
              );
              return p.href ? <a href={p.href} aria-label={p.name}>{drawn}</a> : drawn;
            })}
          </>
        );
      }}
    </Figure>
  );
}
