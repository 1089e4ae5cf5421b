/** Arrays of weights from the bytes of the model's files. */
import type { Manifest, TensorEntry } from "./model.ts";

export interface Matrix {
  /** [rows, columns], one row after the other. */
  data: Float32Array;
  rows: number;
  columns: number;
}

let halves: Float32Array | null = null;

/** The value of every 16-bit pattern as IEEE half precision. */
function halfTable(): Float32Array {
  if (halves) return halves;
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31, fraction = bits & 1023, sign = bits & 32768 ? -1 : 1;
    if (exponent === 0) table[bits] = sign * fraction * 2 ** -24;
    else if (exponent === 31) table[bits] = fraction ? NaN : sign * Infinity;
    else table[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return (halves = table);
}

function unpack(entry: TensorEntry, bytes: ArrayBuffer): Float32Array {
  const size = entry.shape.reduce((a, b) => a * b, 1), found = new Float32Array(size);
  const view = new DataView(bytes);
  if (entry.dtype === "float32") {
    for (let i = 0; i < size; i++) found[i] = view.getFloat32(entry.offset + 4 * i, true);
  } else if (entry.dtype === "float16") {
    // The bytes of higher value come first, then those of lower value: so they compress better.
    const table = halfTable(), scale = entry.scale ?? 1, raw = new Uint8Array(bytes, entry.offset, 2 * size);
    for (let i = 0; i < size; i++) found[i] = table[(raw[i]! << 8) | raw[size + i]!]! * scale;
  } else {
    const raw = new Int8Array(bytes, entry.offset, size), rows = entry.shape[0]!, columns = size / rows;
    for (let r = 0; r < rows; r++) {
      const scale = view.getFloat32(entry.scales! + 4 * r, true);
      for (let c = r * columns; c < (r + 1) * columns; c++) found[c] = raw[c]! * scale;
    }
  }
  return found;
}

/** Joins the chunks of one pack. */
export function joined(parts: readonly Uint8Array[]): ArrayBuffer {
  const found = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    found.set(part, at);
    at += part.length;
  }
  return found.buffer;
}

/** The weights by their names; throws on a name that is not there. */
export class Weights {
  private readonly found = new Map<string, Matrix>();

  constructor(manifest: Manifest, packs: readonly ArrayBuffer[]) {
    for (const [name, entry] of Object.entries(manifest.tensors)) {
      const columns = entry.shape.length > 1 ? entry.shape[1]! : entry.shape[0]!;
      const data = unpack(entry, packs[entry.pack]!);
      this.found.set(name, { data, rows: data.length / columns, columns });
    }
  }

  has(name: string): boolean {
    return this.found.has(name);
  }

  matrix(name: string): Matrix {
    const matrix = this.found.get(name);
    if (!matrix) throw new Error(`the model's file has no ${name}`);
    return matrix;
  }

  vector(name: string): Float32Array {
    return this.matrix(name).data;
  }
}
