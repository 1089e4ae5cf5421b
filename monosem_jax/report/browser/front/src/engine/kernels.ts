/** The products and sums that a model consists of. Sums are of doubles, results fp32. */
import type { Matrix } from "./tensors.ts";

/** y[t, n] = Σ_k x[t, k] w[n, k] (+ bias[n]) for `count` rows of x. */
export function linear(x: Float32Array, count: number, w: Matrix, bias: Float32Array | null = null): Float32Array {
  const { data, rows, columns } = w;
  const y = new Float32Array(count * rows);
  let t = 0;
  // Four rows of x and two of w at a time: each number is loaded once for several products.
  for (; t + 4 <= count; t += 4) {
    const x0 = x.subarray(t * columns, (t + 1) * columns), x1 = x.subarray((t + 1) * columns, (t + 2) * columns);
    const x2 = x.subarray((t + 2) * columns, (t + 3) * columns), x3 = x.subarray((t + 3) * columns, (t + 4) * columns);
    let n = 0;
    for (; n + 2 <= rows; n += 2) {
      const w0 = n * columns, w1 = w0 + columns;
      let a0 = 0, a1 = 0, a2 = 0, a3 = 0, b0 = 0, b1 = 0, b2 = 0, b3 = 0;
      for (let k = 0; k < columns; k++) {
        const u = data[w0 + k]!, v = data[w1 + k]!;
        const p0 = x0[k]!, p1 = x1[k]!, p2 = x2[k]!, p3 = x3[k]!;
        a0 += p0 * u; a1 += p1 * u; a2 += p2 * u; a3 += p3 * u;
        b0 += p0 * v; b1 += p1 * v; b2 += p2 * v; b3 += p3 * v;
      }
      let at = t * rows + n;
      y[at] = a0; y[at + 1] = b0; at += rows;
      y[at] = a1; y[at + 1] = b1; at += rows;
      y[at] = a2; y[at + 1] = b2; at += rows;
      y[at] = a3; y[at + 1] = b3;
    }
    for (; n < rows; n++) for (let s = t; s < t + 4; s++) y[s * rows + n] = dot(x, s * columns, data, n * columns, columns);
  }
  for (; t < count; t++) single(x, t * columns, w, y, t * rows);
  if (bias) for (let i = 0; i < count; i++) for (let n = 0; n < rows; n++) y[i * rows + n] = y[i * rows + n]! + bias[n]!;
  return y;
}

/** One row of `linear`. */
function single(x: Float32Array, start: number, w: Matrix, y: Float32Array, at: number): void {
  const { data, rows, columns } = w;
  let n = 0;
  for (; n + 4 <= rows; n += 4) {
    const w0 = n * columns, w1 = w0 + columns, w2 = w1 + columns, w3 = w2 + columns;
    let a = 0, b = 0, c = 0, d = 0;
    for (let k = 0; k < columns; k++) {
      const p = x[start + k]!;
      a += p * data[w0 + k]!; b += p * data[w1 + k]!; c += p * data[w2 + k]!; d += p * data[w3 + k]!;
    }
    y[at + n] = a; y[at + n + 1] = b; y[at + n + 2] = c; y[at + n + 3] = d;
  }
  for (; n < rows; n++) y[at + n] = dot(x, start, data, n * columns, columns);
}

/** Σ_k a[i + k] b[j + k] over k < length. */
export function dot(a: Float32Array, i: number, b: Float32Array, j: number, length: number): number {
  let sum = 0;
  for (let k = 0; k < length; k++) sum += a[i + k]! * b[j + k]!;
  return sum;
}

/** LayerNorm of every row, as Flax computes it: variance as E[x²] − E[x]², ε = 1e-6. */
export function layerNorm(x: Float32Array, count: number, scale: Float32Array, bias: Float32Array): Float32Array {
  const width = scale.length, y = new Float32Array(count * width);
  for (let t = 0; t < count; t++) {
    const start = t * width;
    let sum = 0, squares = 0;
    for (let i = start; i < start + width; i++) {
      sum += x[i]!;
      squares += x[i]! * x[i]!;
    }
    const mean = sum / width, factor = 1 / Math.sqrt(Math.max(squares / width - mean * mean, 0) + 1e-6);
    for (let i = 0; i < width; i++) y[start + i] = (x[start + i]! - mean) * factor * scale[i]! + bias[i]!;
  }
  return y;
}

/** a + b. */
export function sum(a: Float32Array, b: Float32Array): Float32Array {
  const found = new Float32Array(a.length);
  for (let i = 0; i < a.length; i++) found[i] = a[i]! + b[i]!;
  return found;
}

/** max(x, 0), in place. */
export function relu(x: Float32Array): Float32Array {
  for (let i = 0; i < x.length; i++) if (x[i]! < 0) x[i] = 0;
  return x;
}
