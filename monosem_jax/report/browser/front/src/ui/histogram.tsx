// A histogram whose bars can be divided into parts.

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Histogram } from "../records.ts";
import { digits, whole } from "../text.ts";

export interface Part {
  name: string;
  colour: string; // a custom property of tokens.css
  share: (middle: number) => number | null; // of the bar around that value; null: not known
}

interface Props {
  of: Histogram;
  logX?: boolean; // edges are spaced logarithmically
  logY?: boolean;
  parts?: Part[];
  label: string;
  unit: string; // of what is counted: "firings"
  marks?: number[]; // values marked below the axis
  height?: number;
}

const LEFT = 44;
const BOTTOM = 26;
const TOP = 8;
const RIGHT = 8;

export function HistogramChart({ of, logX, logY, parts = [], label, unit, marks = [], height = 200 }: Props) {
  const [chart, width] = useWidth();
  const { edges, counts } = of;
  const low = edges[0] ?? 0;
  const high = edges[edges.length - 1] ?? 1;
  const most = Math.max(...counts, 1);
  const inner = { width: width - LEFT - RIGHT, height: height - TOP - BOTTOM };
  const place = (v: number) => LEFT + inner.width * (logX ? Math.log(v / low) / Math.log(high / low) : (v - low) / (high - low));
  const tall = (n: number) => (n <= 0 ? 0 : inner.height * (logY ? Math.log(n + 1) / Math.log(most + 1) : n / most));
  const base = TOP + inner.height;
  return (
    <svg class="histogram" ref={chart} viewBox={`0 0 ${width} ${height}`} role="img" aria-label={label}>
      {ticks(most, logY).map((n) => (
        <g>
          <line class="grid" x1={LEFT} x2={width - RIGHT} y1={base - tall(n)} y2={base - tall(n)} />
          <text x={LEFT - 6} y={base - tall(n) + 4} text-anchor="end">{short(n)}</text>
        </g>
      ))}
      {counts.map((n, i) => {
        const [from, to] = [edges[i] ?? low, edges[i + 1] ?? high];
        const [x, w] = [place(from), Math.max(place(to) - place(from) - 1, 0.5)];
        return (
          <g>
            <title>{`${digits(from)} to ${digits(to)}: ${whole(n)} ${unit}${explained(parts, (from + to) / 2)}`}</title>
            <rect class="catch" x={x} width={w + 1} y={TOP} height={inner.height} />
            {n > 0 && bars(parts, (from + to) / 2).map(([colour, below, share]) => (
              <rect x={x} width={w} y={base - tall(n) * (below + share)} height={Math.max(tall(n) * share, share ? 0.75 : 0)} fill={`var(${colour})`} />
            ))}
          </g>
        );
      })}
      <line class="axis" x1={LEFT} x2={width - RIGHT} y1={base} y2={base} />
      {marks.filter((v) => v > low && v < high).map((v) => <line class="axis" x1={place(v)} x2={place(v)} y1={base} y2={base + 3} />)}
      {valueTicks(low, high, logX).map((v) => (
        <text x={place(v)} y={base + 17} text-anchor={place(v) > width - 30 ? "end" : "middle"}>{digits(v, 3)}</text>
      ))}
    </svg>
  );
}

/** The width of a chart in pixels, so that its letters have the size of others. */
function useWidth() {
  const chart = useRef<SVGSVGElement>(null);
  const [width, setWidth] = useState(520);
  useLayoutEffect(() => {
    const element = chart.current;
    if (!element) return;
    const measure = () => setWidth(Math.max(Math.round(element.getBoundingClientRect().width), 200));
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return [chart, width] as const;
}

/** [colour, share below it, its share] of the parts of the bar around a value, from the bottom. */
function bars(parts: Part[], middle: number): [string, number, number][] {
  const shares = parts.map((p) => p.share(middle));
  if (parts.length === 0 || shares.some((s) => s === null)) return [[parts.length === 0 ? "--s0" : "--line-strong", 0, 1]];
  let below = 0;
  return parts.map((p, i) => {
    const share = shares[i] ?? 0;
    below += share;
    return [p.colour, below - share, share];
  });
}

function explained(parts: Part[], middle: number): string {
  const first = parts[0];
  if (!first) return "";
  const share = first.share(middle);
  return share === null ? `; ${first.name}: too few to say` : `; ${first.name} on ${digits(100 * share, 3)} % of them`;
}

function ticks(most: number, log = false): number[] {
  if (log) return Array.from({ length: Math.floor(Math.log10(most)) + 1 }, (_, i) => 10 ** i);
  const step = nice(most / 3);
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, i) => i * step).filter((n) => n === 0 || n >= 1);
}

function valueTicks(low: number, high: number, log = false): number[] {
  if (log) {
    const first = Math.ceil(Math.log10(low));
    const all = Array.from({ length: Math.max(Math.floor(Math.log10(high)) - first + 1, 0) }, (_, i) => 10 ** (first + i));
    return all.length > 0 ? all : [low, high];
  }
  const step = nice((high - low) / 5);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** 1, 2 or 5 times a power of ten, at least x. */
function nice(x: number): number {
  const power = 10 ** Math.floor(Math.log10(x));
  return power * ([1, 2, 5, 10].find((m) => m * power >= x * 0.999) ?? 10);
}

const short = (n: number): string => (n >= 1e6 ? `${digits(n / 1e6)}M` : n >= 1e4 ? `${digits(n / 1e3)}k` : whole(Math.round(n)));
