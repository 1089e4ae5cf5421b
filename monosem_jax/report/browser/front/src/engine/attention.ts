/** Causal attention with rotary positions, and the keys and values of the tokens before. */
import { dot, linear } from "./kernels.ts";
import type { Matrix } from "./tensors.ts";

/** Keys, already rotated, and values of each layer, for the first positions of one context. */
export class Cache {
  readonly keys: Float32Array[] = [];
  readonly values: Float32Array[] = [];

  constructor(n_layers: number, readonly length: number, width: number) {
    for (let layer = 0; layer < n_layers; layer++) {
      this.keys.push(new Float32Array(length * width));
      this.values.push(new Float32Array(length * width));
    }
  }
}

/** Rotates row `start` … of x by the angles of a position, head by head. */
function rotate(x: Float32Array, start: number, position: number, heads: number, width: number): void {
  const half = width / 2;
  for (let i = 0; i < half; i++) {
    const angle = position * 10000 ** (-i / half), cos = Math.cos(angle), sin = Math.sin(angle);
    for (let h = 0; h < heads; h++) {
      const at = start + h * width + i, a = x[at]!, b = x[at + half]!;
      x[at] = a * cos - b * sin;
      x[at + half] = a * sin + b * cos;
    }
  }
}

/**
 * Attention of `count` new tokens at positions `from` … to all tokens up to themselves: x [count, D] → [count, D].
 * The keys and values of the new tokens are put into the cache.
 */
export function attention(
  x: Float32Array, count: number, from: number, layer: number, cache: Cache, qkv: Matrix, proj: Matrix, heads: number,
): Float32Array {
  const d = proj.columns, width = d / heads, keys = cache.keys[layer]!, values = cache.values[layer]!;
  if (from + count > cache.length) throw new Error(`a context has at most ${cache.length} tokens`);
  const all = linear(x, count, qkv), mixed = new Float32Array(count * d), factor = width ** -0.5;
  for (let t = 0; t < count; t++) {
    const row = t * 3 * d, position = from + t;
    rotate(all, row, position, heads, width);
    rotate(all, row + d, position, heads, width);
    keys.set(all.subarray(row + d, row + 2 * d), position * d);
    values.set(all.subarray(row + 2 * d, row + 3 * d), position * d);
  }
  const weight = new Float64Array(from + count);
  for (let t = 0; t < count; t++) {
    const last = from + t;
    for (let h = 0; h < heads; h++) {
      const head = h * width;
      let largest = -Infinity, total = 0;
      for (let s = 0; s <= last; s++) {
        const score = dot(all, t * 3 * d + head, keys, s * d + head, width) * factor;
        weight[s] = score;
        if (score > largest) largest = score;
      }
      for (let s = 0; s <= last; s++) total += weight[s] = Math.exp(weight[s]! - largest);
      for (let i = 0; i < width; i++) {
        let found = 0;
        for (let s = 0; s <= last; s++) found += weight[s]! * values[s * d + head + i]!;
        mixed[t * d + head + i] = found / total;
      }
    }
  }
  return linear(mixed, count, proj);
}
