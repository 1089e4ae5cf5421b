/** A dictionary in its published form (`monosem_jax/sae/activation_fns.py`): for raw activations, each row by itself. */
import { dot, linear } from "./kernels.ts";
import type { DictionaryShape } from "./model.ts";
import type { Matrix, Weights } from "./tensors.ts";

export class Dictionary {
  private readonly encoder: Matrix;
  readonly decoder: Matrix;
  /** b_dec W_enc where b_dec is subtracted from what is encoded, else 0: once for all rows. */
  private readonly centre: Float64Array;
  private readonly bias: Float32Array;
  private readonly more: { threshold?: Float32Array; gate?: Float32Array; magnitude?: Float64Array } = {};

  constructor(readonly shape: DictionaryShape, private readonly weights: Weights) {
    this.encoder = weights.matrix("W_enc");
    this.decoder = weights.matrix("W_dec");
    this.bias = weights.vector("b_enc");
    const b_dec = weights.vector("b_dec"), { n_features, width_in } = shape;
    this.centre = new Float64Array(n_features);
    if (shape.centred) {
      for (let i = 0; i < n_features; i++) this.centre[i] = dot(b_dec, 0, this.encoder.data, i * width_in, width_in);
    }
    if (shape.form === "jumprelu") this.more.threshold = weights.vector("threshold");
    if (shape.form === "gated") {
      this.more.gate = weights.vector("b_gate");
      this.more.magnitude = Float64Array.from(weights.vector("r_mag"), Math.exp);
    }
  }

  get signed(): boolean {
    return this.shape.form === "abs_topk";
  }

  /** Rows [count, W] → features [count, F]. */
  encode(rows: Float32Array, count: number): Float32Array {
    const n = this.shape.n_features, h = linear(this.read(rows, count), count, this.encoder);
    for (let t = 0; t < count; t++) {
      const row = h.subarray(t * n, (t + 1) * n);
      for (let i = 0; i < n; i++) row[i] = this.before(row[i]!, i);
      if (this.shape.k !== null) keepLargest(row, this.shape.k);
    }
    return h;
  }

  /** One feature of one row; with topk all of them are needed. */
  encodeOne(row: Float32Array, feature: number): number {
    if (this.shape.k !== null) return this.encode(row, 1)[feature]!;
    const { width_in } = this.shape;
    return Math.fround(this.before(Math.fround(dot(row, 0, this.encoder.data, feature * width_in, width_in)), feature));
  }

  /** Features [count, F] of rows [count, W] → their reconstructions [count, M]. */
  decode(f: Float32Array, rows: Float32Array, count: number): Float32Array {
    const { n_features, width_out } = this.shape, b_dec = this.weights.vector("b_dec"), d = this.decoder.data;
    const found = this.weights.has("W_skip")
      ? linear(this.read(rows, count), count, this.weights.matrix("W_skip"))
      : new Float32Array(count * width_out);
    const y = new Float64Array(width_out);
    for (let t = 0; t < count; t++) {
      for (let m = 0; m < width_out; m++) y[m] = b_dec[m]! + found[t * width_out + m]!;
      for (let i = 0; i < n_features; i++) {
        const a = f[t * n_features + i]!;
        if (a !== 0) for (let m = 0; m < width_out; m++) y[m] = y[m]! + a * d[i * width_out + m]!;
      }
      found.set(y, t * width_out);
    }
    return found;
  }

  /** What a feature adds at the site of its effect, per unit of activation. */
  direction(feature: number, width: number): Float32Array {
    const start = feature * this.shape.width_out + this.shape.effect_start;
    return this.decoder.data.subarray(start, start + width);
  }

  /** From x · w to the feature's activation, but for a choice of the k largest. */
  private before(h: number, i: number): number {
    const x = h - this.centre[i]!, { threshold, gate, magnitude } = this.more;
    if (gate && magnitude) return x + gate[i]! > 0 ? Math.max(magnitude[i]! * x + this.bias[i]!, 0) : 0;
    const z = x + this.bias[i]!;
    if (this.signed) return z;
    return z > (threshold ? Math.max(threshold[i]!, 0) : 0) ? z : 0;
  }

  /** The part of each row that the encoder reads. */
  private read(rows: Float32Array, count: number): Float32Array {
    const { width_in } = this.shape, width = rows.length / count;
    if (width === width_in) return rows;
    const found = new Float32Array(count * width_in);
    for (let t = 0; t < count; t++) found.set(rows.subarray(t * width, t * width + width_in), t * width_in);
    return found;
  }
}

/** Sets all but the k numbers of largest magnitude to 0, in place; of equal ones the first stay. */
function keepLargest(row: Float32Array, k: number): void {
  if (k >= row.length) return;
  const sizes = row.map(Math.abs).sort(), least = sizes[row.length - k]!;
  let larger = 0;
  for (let i = row.length - k; i < row.length; i++) if (sizes[i]! > least) larger++;
  let equal = k - larger;
  for (let i = 0; i < row.length; i++) {
    const size = Math.abs(row[i]!);
    if (size < least || (size === least && --equal < 0)) row[i] = 0;
  }
}
