// Data files that hold arrays: a header of JSON with names, kinds and numbers of values, then the values.

import { bytes, MissingData } from "./data.ts";

export type Values = Int32Array | Float32Array | Uint8Array;
export type Arrays = Record<string, Values>;

const parsed = new WeakMap<Uint8Array, Arrays>();

/** The arrays of a data file by their names. Rejects with MissingData. */
export async function arrays(key: string): Promise<Arrays> {
  const data = await bytes(key);
  const known = parsed.get(data);
  if (known) return known;
  try {
    const found = unpacked(data);
    parsed.set(data, found);
    return found;
  } catch {
    throw new MissingData(`data/${key}.js`, "is damaged");
  }
}

function unpacked(data: Uint8Array<ArrayBuffer>): Arrays {
  const length = new DataView(data.buffer, data.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(data.subarray(4, 4 + length))) as [string, string, number][];
  const found: Arrays = {};
  let at = aligned(4 + length);
  for (const [name, kind, size] of header) {
    const begin = data.byteOffset + at;
    found[name] =
      kind === "i4"
        ? new Int32Array(data.buffer, begin, size)
        : kind === "f4"
          ? new Float32Array(data.buffer, begin, size)
          : new Uint8Array(data.buffer, begin, size);
    at = aligned(at + found[name].byteLength);
  }
  return found;
}

const aligned = (n: number): number => Math.ceil(n / 4) * 4;

/** Several files with the same arrays as one. */
export function joined(parts: Arrays[]): Arrays {
  const found: Arrays = {};
  for (const [name, first] of Object.entries(parts[0] ?? {})) {
    const all = parts.map((part) => part[name] ?? first.subarray(0, 0));
    const size = all.reduce((n, x) => n + x.length, 0);
    const whole = new (first.constructor as new (n: number) => Values)(size);
    let at = 0;
    for (const x of all) {
      whole.set(x, at);
      at += x.length;
    }
    found[name] = whole;
  }
  return found;
}
