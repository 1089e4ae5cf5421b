/** The merges of one piece: always the pair of lowest rank, and of equal ones the first, in n log n steps. */

export interface Merges {
  /** The rank of each pair, by `pairKey`. */
  rank: Map<number, number>;
  /** What the pair of each rank becomes. */
  joined: number[];
}

/** One number for a pair of ids below 2^26. */
export function pairKey(left: number, right: number): number {
  return left * 67_108_864 + right;
}

const POSITIONS = 2 ** 30;

/** Joins ids until no pair has a rank; `ids` is overwritten. */
export function merge(ids: Int32Array, merges: Merges): number[] {
  const n = ids.length, next = new Int32Array(n), before = new Int32Array(n), gone = new Uint8Array(n);
  const heap = new Heap();
  const offer = (left: number) => {
    const right = left < 0 ? -1 : next[left]!;
    if (right < 0) return;
    const rank = merges.rank.get(pairKey(ids[left]!, ids[right]!));
    if (rank !== undefined) heap.push(rank * POSITIONS + left);
  };
  for (let i = 0; i < n; i++) {
    next[i] = i + 1 < n ? i + 1 : -1;
    before[i] = i - 1;
  }
  for (let i = 0; i < n; i++) offer(i);
  while (heap.size) {
    const top = heap.pop(), left = top % POSITIONS, becomes = merges.joined[(top - left) / POSITIONS]!;
    const right = next[left]!;
    if (gone[left] || right < 0) continue;
    const rank = merges.rank.get(pairKey(ids[left]!, ids[right]!));
    if (rank === undefined || merges.joined[rank] !== becomes) continue; // the pair is no longer there
    ids[left] = becomes;
    gone[right] = 1;
    next[left] = next[right]!;
    if (next[left]! >= 0) before[next[left]!] = left;
    offer(before[left]!);
    offer(left);
  }
  const found: number[] = [];
  for (let i = n ? 0 : -1; i >= 0; i = next[i]!) found.push(ids[i]!);
  return found;
}

/** Numbers, of which the least comes first. */
class Heap {
  private readonly items: number[] = [];

  get size(): number {
    return this.items.length;
  }

  push(x: number): void {
    const { items } = this;
    let at = items.push(x) - 1;
    while (at > 0) {
      const above = (at - 1) >> 1;
      if (items[above]! <= x) break;
      items[at] = items[above]!;
      at = above;
    }
    items[at] = x;
  }

  pop(): number {
    const { items } = this, top = items[0]!, x = items.pop()!;
    if (!items.length) return top;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= items.length) break;
      if (below + 1 < items.length && items[below + 1]! < items[below]!) below++;
      if (items[below]! >= x) break;
      items[at] = items[below]!;
      at = below;
    }
    items[at] = x;
    return top;
  }
}
