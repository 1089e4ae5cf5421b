// Files that the page makes: the record as JSON, the dictionary vector as .npy.

import { bytes, padded } from "../../data.ts";
import type { Dictionary } from "../../site.ts";

const VECTORS = 64; // dictionary vectors of a data file

export function save(name: string, parts: BlobPart[], type: string): void {
  const address = URL.createObjectURL(new Blob(parts, { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

export const saveJson = (name: string, value: unknown): void => save(name, [JSON.stringify(value, null, 1)], "application/json");

/** The dictionary vector of a feature. Rejects with MissingData. */
export async function vector(dictionary: Dictionary, feature: number): Promise<Float32Array> {
  const chunk = Math.floor(feature / VECTORS);
  const data = await bytes(`${dictionary.id}/vectors/${padded(chunk)}`);
  const rows = Math.min(VECTORS, dictionary.n_features - chunk * VECTORS);
  const width = Math.floor(data.byteLength / 4 / rows);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  return Float32Array.from({ length: width }, (_, i) => view.getFloat32(4 * ((feature % VECTORS) * width + i), true));
}

/** A one-dimensional array as NumPy's .npy, version 1.0. */
export function npy(values: Float32Array): Uint8Array<ArrayBuffer> {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${values.length},), }`;
  const length = Math.ceil((10 + text.length + 1) / 64) * 64 - 10; // the data begins at a multiple of 64
  const out = new Uint8Array(10 + length + 4 * values.length);
  out.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, length & 255, length >> 8]);
  out.set(new TextEncoder().encode(`${text.padEnd(length - 1)}\n`), 10);
  const view = new DataView(out.buffer);
  values.forEach((v, i) => view.setFloat32(10 + length + 4 * i, v, true));
  return out;
}

/** Puts text into the clipboard; false where the browser refuses. */
export async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
