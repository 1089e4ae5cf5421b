// Where someone is in a page, kept in the entry of the browser's history: "back" finds it again, a new visit does not.

export interface Place {
  scroll?: number; // pixels
  row?: number; // of the table
}

export const kept = (): Place => (history.state as { place?: Place } | null)?.place ?? {};

export function keep(place: Place): void {
  const before = kept();
  if (Object.entries(place).every(([key, value]) => before[key as keyof Place] === value)) return;
  history.replaceState({ ...(history.state as object | null), place: { ...before, ...place } }, "");
}

const CAP = 20_000;

/** The order of the features that are shown, and the address of their list, for "previous" and "next" of a feature's page: at most 20,000 around the
 * one that is opened. */
export function keepOrder(dictionary: string, set: string, features: Float64Array, rows: Uint32Array, around = 0): void {
  const begin = Math.max(0, Math.min(around - CAP / 2, rows.length - CAP));
  const order = Array.from(rows.subarray(begin, begin + CAP), (row) => features[row] ?? 0);
  try {
    sessionStorage.setItem("monosem.order", JSON.stringify({ dictionary, set, features: order, address: location.hash }));
  } catch {
    // no storage: the feature's page goes by number
  }
}

const SETTLED = 100; // milliseconds without scrolling
const PATIENCE = 3000; // milliseconds in which the page may grow to its height

/** Keeps how far a page is scrolled; returns what ends it. */
export function keepScroll(): () => void {
  let timer = 0;
  const scrolled = () => {
    clearTimeout(timer);
    timer = window.setTimeout(() => keep({ scroll: Math.round(scrollY) }), SETTLED);
  };
  addEventListener("scroll", scrolled, { passive: true });
  return () => {
    clearTimeout(timer);
    removeEventListener("scroll", scrolled);
  };
}

/** Scrolls to where the page was left, once it is long enough, unless the reader scrolls first; returns what ends it. */
export function scrollBack(to: number): () => void {
  const began = performance.now();
  let frame = 0;
  const end = () => {
    cancelAnimationFrame(frame);
    for (const kind of ["wheel", "keydown", "pointerdown", "touchmove"]) removeEventListener(kind, end);
  };
  const step = () => {
    if (document.documentElement.scrollHeight >= to + innerHeight) return scrollTo(0, to), end();
    if (performance.now() - began > PATIENCE) return end();
    frame = requestAnimationFrame(step);
  };
  for (const kind of ["wheel", "keydown", "pointerdown", "touchmove"]) addEventListener(kind, end, { passive: true });
  step();
  return end;
}
