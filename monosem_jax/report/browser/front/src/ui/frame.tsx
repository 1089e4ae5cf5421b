// What every chart has: a figure as wide as its place, axes with ticks and units, a text alternative, a table.

import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Scale } from "./scale.ts";
import "../styles/chart.css";

export interface Box {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export interface FigureProps {
  title: string; // above the chart; level-3 heading
  says: string; // the text alternative: the key figures in a sentence
  caption?: ComponentChildren; // what the reader sees below
  height?: number; // pixels
  table?: { head: string[]; rows: (string | number)[][] }; // the numbers, for those who want them
  live?: string; // what the pointer is at
  linked?: boolean; // it holds links, so that it is no single image to screen readers
}

/** A figure; its children draw an SVG of the width that there is. */
export function Figure({ title, says, caption, height = 220, table, live, linked, children }: FigureProps & { children: (width: number) => ComponentChildren }) {
  const place = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const id = useId();
  useLayoutEffect(() => {
    const element = place.current;
    if (!element) return;
    const measured = () => setWidth(Math.floor(element.clientWidth));
    measured();
    const observer = new ResizeObserver(measured);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return (
    <figure class="plot">
      <h3>{title}</h3>
      <div class="drawing" ref={place} style={{ height: `${height}px` }}>
        {width > 0 && (
          <svg role={linked ? "group" : "img"} aria-labelledby={`${id}t ${id}d`} width={width} height={height} viewBox={`0 0 ${width} ${height}`}>
            <title id={`${id}t`}>{title}</title>
            <desc id={`${id}d`}>{says}</desc>
            {children(width)}
          </svg>
        )}
        {live && <span class="live" aria-hidden="true">{live}</span>}
      </div>
      {(caption || table) && (
        <figcaption>
          {caption}
          {table && <Numbers {...table} />}
        </figcaption>
      )}
    </figure>
  );
}

function Numbers({ head, rows }: { head: string[]; rows: (string | number)[][] }) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(e) => setOpen(e.currentTarget.open)}>
      <summary>the numbers</summary>
      {open && (
        <div class="scroll numbers" tabIndex={0} role="region" aria-label="the numbers of the chart">
          <table>
            <thead><tr>{head.map((h) => <th class="number" scope="col">{h}</th>)}</tr></thead>
            <tbody>{rows.map((row) => <tr>{row.map((cell) => <td class="number">{cell}</td>)}</tr>)}</tbody>
          </table>
        </div>
      )}
    </details>
  );
}

/** The axes of a chart: horizontal grid lines, ticks, and their names with units. The y axis has its name above. */
export function Axes({ box, x, y, xName, yName }: { box: Box; x: Scale; y: Scale; xName?: string; yName: string }) {
  return (
    <g class="axes">
      {y.ticks.map((t) => (
        <>
          <line class="grid" x1={box.left} x2={box.right} y1={y(t.at)} y2={y(t.at)} />
          <text x={box.left - 6} y={y(t.at) + 4} text-anchor="end">{t.text}</text>
        </>
      ))}
      <line class="axis" x1={box.left} x2={box.right} y1={box.bottom} y2={box.bottom} />
      {xName !== undefined && x.ticks.map((t, i) => (
        <>
          <line class="axis" x1={x(t.at)} x2={x(t.at)} y1={box.bottom} y2={box.bottom + 4} />
          <text x={x(t.at)} y={box.bottom + 16} text-anchor={i === x.ticks.length - 1 && x(t.at) > box.right - 16 ? "end" : "middle"}>{t.text}</text>
        </>
      ))}
      <text class="name" x={0} y={11}>{yName}</text>
      {xName && <text class="name" x={box.right} y={box.bottom + 33} text-anchor="end">{xName}</text>}
    </g>
  );
}
