// The points of the map, and which of them are near a place.

import { type Comparison, points } from "../../relations.ts";

export interface Points {
  n: number;
  set: Uint8Array; // place in the sets of the map
  feature: Int32Array;
  x: Float32Array;
  y: Float32Array;
  cluster: Int32Array; // -1: none
  rank: Int32Array; // place of each point in an order in which alike ones are near each other
  box: Box;
  grid: Grid;
}

export interface Box {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
}

export async function loadPoints(c: Comparison): Promise<Points> {
  const a = await points(c);
  const [x, y] = [a.x as Float32Array, a.y as Float32Array];
  const n = x.length;
  const rank = new Int32Array(n);
  (a.order as Int32Array).forEach((point, k) => (rank[point] = k));
  const box = boxOf(x, y);
  return {
    n, x, y, rank, box,
    set: a.set as Uint8Array,
    feature: a.feature as Int32Array,
    cluster: a.cluster as Int32Array,
    grid: new Grid(x, y, box),
  };
}

function boxOf(x: Float32Array, y: Float32Array): Box {
  const box = { x0: Infinity, y0: Infinity, x1: -Infinity, y1: -Infinity };
  for (let i = 0; i < x.length; i++) {
    box.x0 = Math.min(box.x0, x[i]!);
    box.x1 = Math.max(box.x1, x[i]!);
    box.y0 = Math.min(box.y0, y[i]!);
    box.y1 = Math.max(box.y1, y[i]!);
  }
  return x.length ? box : { x0: 0, y0: 0, x1: 1, y1: 1 };
}

/** Points in square cells, so that those near a place are found without looking at all. */
export class Grid {
  private readonly side: number;
  private readonly size: number; // of a cell
  private readonly start: Int32Array;
  private readonly points: Int32Array;

  constructor(private readonly x: Float32Array, private readonly y: Float32Array, private readonly box: Box) {
    this.side = Math.max(1, Math.ceil(Math.sqrt(x.length / 4)));
    this.size = Math.max(box.x1 - box.x0, box.y1 - box.y0, 1e-9) / this.side;
    const cells = this.side * this.side;
    this.start = new Int32Array(cells + 1);
    const cell = new Int32Array(x.length);
    for (let i = 0; i < x.length; i++) {
      cell[i] = this.column(x[i]! - box.x0) + this.side * this.column(y[i]! - box.y0);
      this.start[cell[i]! + 1]!++;
    }
    for (let c = 0; c < cells; c++) this.start[c + 1]! += this.start[c]!;
    const next = this.start.slice();
    this.points = new Int32Array(x.length);
    for (let i = 0; i < x.length; i++) this.points[next[cell[i]!]!++] = i;
  }

  private column(distance: number): number {
    return Math.min(this.side - 1, Math.max(0, Math.floor(distance / this.size)));
  }

  /** The nearest points to a place within a distance, at most `most`, the nearest first, of those that are `kept`. */
  near(x: number, y: number, distance: number, most: number, kept: (i: number) => boolean): number[] {
    const found: [number, number][] = [];
    const [left, right] = [x - distance, x + distance].map((v) => this.column(v - this.box.x0)) as [number, number];
    const [top, bottom] = [y - distance, y + distance].map((v) => this.column(v - this.box.y0)) as [number, number];
    for (let row = top; row <= bottom; row++) {
      const from = this.start[left + this.side * row]!;
      const to = this.start[right + this.side * row + 1]!;
      for (let k = from; k < to; k++) {
        const i = this.points[k]!;
        const d = (this.x[i]! - x) ** 2 + (this.y[i]! - y) ** 2;
        if (d <= distance * distance && kept(i)) found.push([d, i]);
      }
    }
    return found.sort((a, b) => a[0] - b[0]).slice(0, most).map(([, i]) => i);
  }
}

/** Whether each point lies inside a polygon of corners x, y, x, y, … */
export function inside(p: Points, polygon: number[], kept: (i: number) => boolean): number[] {
  const found: number[] = [];
  const corners = polygon.length / 2;
  for (let i = 0; i < p.n; i++) {
    const [x, y] = [p.x[i]!, p.y[i]!];
    let within = false;
    for (let a = 0, b = corners - 1; a < corners; b = a++) {
      const [xa, ya, xb, yb] = [polygon[2 * a]!, polygon[2 * a + 1]!, polygon[2 * b]!, polygon[2 * b + 1]!];
      if (ya > y !== yb > y && x < ((xb - xa) * (y - ya)) / (yb - ya) + xa) within = !within;
    }
    if (within && kept(i)) found.push(i);
  }
  return found;
}
