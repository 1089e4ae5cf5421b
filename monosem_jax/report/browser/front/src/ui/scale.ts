// Scales of charts: numbers to pixels, with round ticks.

export interface Tick {
  at: number;
  text: string;
}

export interface Scale {
  (x: number): number;
  ticks: Tick[];
  domain: [number, number];
}

/** A number of an axis: thousands separated, no trailing zeros. */
export const plainNumber = (x: number): string => {
  const size = Math.abs(x);
  if (size >= 1e6) return `${Number((x / 1e6).toPrecision(3))} M`;
  if (size >= 1e5) return `${Number((x / 1e3).toPrecision(3))} k`;
  return Number(x.toPrecision(6)).toLocaleString("en-US", { maximumFractionDigits: 6 }).replace("-", "−");
};

/** The smallest and largest of numbers that are finite; [0, 1] of none. */
export function extent(values: Iterable<number>): [number, number] {
  let [low, high] = [Infinity, -Infinity];
  for (const x of values) {
    if (!Number.isFinite(x)) continue;
    low = Math.min(low, x);
    high = Math.max(high, x);
  }
  return low <= high ? [low, high] : [0, 1];
}

function step(span: number, n: number): number {
  const raw = span / Math.max(1, n);
  const power = 10 ** Math.floor(Math.log10(raw));
  const times = [1, 2, 2.5, 5, 10].find((t) => t * power >= raw * 0.999) ?? 10;
  return times * power;
}

/** A linear scale; with `nice` its ends are ticks. */
export function linear(domain: [number, number], range: [number, number], n: number, format = plainNumber, nice = false): Scale {
  let [low, high] = domain;
  if (low === high) [low, high] = low === 0 ? [0, 1] : [low - Math.abs(low) * 0.1, high + Math.abs(high) * 0.1];
  const by = step(high - low, n);
  if (nice) [low, high] = [Math.floor(low / by + 1e-9) * by, Math.ceil(high / by - 1e-9) * by];
  const ticks: Tick[] = [];
  for (let i = Math.ceil(low / by - 1e-9); i * by <= high + by * 1e-9; i++) ticks.push({ at: i * by, text: format(i * by) });
  const scale = (x: number) => range[0] + ((x - low) / (high - low)) * (range[1] - range[0]);
  return Object.assign(scale, { ticks, domain: [low, high] as [number, number] });
}

// The numbers within a decade that are ticks, by how many decades the axis spans.
const WITHIN: [number, number[]][] = [[1, [1, 1.5, 2, 3, 5, 7]], [2.5, [1, 2, 5]], [Infinity, [1]]];

/** A logarithmic scale of positive numbers. */
export function logarithmic(domain: [number, number], range: [number, number], format = plainNumber): Scale {
  let [low, high] = domain;
  if (!(low > 0)) low = high > 0 ? high / 1000 : 0.1;
  if (!(high > low)) [low, high] = [low / 2, low * 2];
  const [from, to] = [Math.log10(low), Math.log10(high)];
  const within = WITHIN.find(([most]) => to - from <= most)?.[1] ?? [1];
  const every = Math.max(1, Math.ceil((to - from) / 7));
  const ticks: Tick[] = [];
  if (to - from < 0.6) ticks.push(...linear([low, high], [0, 1], 4, format).ticks); // round numbers of decades are too far apart
  else for (let d = Math.floor(from); d <= Math.ceil(to); d += 1) {
    if (d % every) continue;
    for (const w of within) {
      const at = w * 10 ** d;
      if (at >= low * 0.999 && at <= high * 1.001) ticks.push({ at, text: format(at) });
    }
  }
  const scale = (x: number) => range[0] + ((Math.log10(Math.max(x, 1e-300)) - from) / (to - from)) * (range[1] - range[0]);
  return Object.assign(scale, { ticks, domain: [low, high] as [number, number] });
}

/** Positions at least `gap` apart, in the same order and as near to the wanted ones as that allows. */
export function apart(wanted: number[], gap: number, most: number): number[] {
  const order = wanted.map((_, i) => i).sort((a, b) => (wanted[a] ?? 0) - (wanted[b] ?? 0));
  const found = [...wanted];
  let last = -Infinity;
  for (const i of order) last = found[i] = Math.max(found[i] ?? 0, last + gap);
  let next = most;
  for (const i of order.reverse()) {
    found[i] = Math.min(found[i] ?? 0, next);
    next = (found[i] ?? 0) - gap;
  }
  return found;
}
