/** The model with its dictionary: reads texts, changes features, continues texts. */
import type { Cache } from "./attention.ts";
import { type Change, shift, shifted } from "./change.ts";
import { Dictionary } from "./dictionary.ts";
import type { Manifest } from "./model.ts";
import { draw } from "./random.ts";
import { Weights } from "./tensors.ts";
import { type Place, rowsOf, Transformer } from "./transformer.ts";

/** A text of one context, BOS first, as the model reads it. */
export interface Reading {
  ids: Int32Array;
  /** [T, F], 0 at BOS. */
  f: Float32Array;
  /** [T, V] */
  logits: Float32Array;
  /** The model at the site of the features' effect. */
  place: Place;
}

/** How a text is continued. */
export interface Continuation {
  n: number;
  temperature: number;
  seed: number;
  /** The first position at which the change holds. */
  from: number;
}

export class Engine {
  readonly transformer: Transformer;
  readonly dictionary: Dictionary;
  private readonly effect: number;
  private readonly stations: number[];

  constructor(readonly manifest: Manifest, packs: readonly ArrayBuffer[]) {
    const weights = new Weights(manifest, packs);
    this.transformer = new Transformer(manifest.transformer, weights);
    this.dictionary = new Dictionary(manifest.dictionary, weights);
    this.effect = this.transformer.station(manifest.dictionary.effect_site);
    this.stations = manifest.dictionary.sites.map((site) => this.transformer.station(site));
  }

  /** Contexts of a text's tokens: as many as one holds after BOS, and the rest in those that follow. */
  contexts(ids: readonly number[]): number[][] {
    const room = this.manifest.transformer.context_length - 1, found: number[][] = [];
    for (let at = 0; at < ids.length || !found.length; at += room) {
      found.push([this.manifest.bos, ...ids.slice(at, at + room)]);
    }
    return found;
  }

  /** Reads one context. */
  read(ids: ArrayLike<number>): Reading {
    const cache = this.transformer.cache(ids.length);
    const { rows, place } = this.cut(ids, 0, cache);
    const f = this.dictionary.encode(rows, ids.length), n = this.manifest.dictionary.n_features;
    for (let t = 0; t < ids.length; t++) if (ids[t] === this.manifest.bos) f.fill(0, t * n, (t + 1) * n);
    return { ids: Int32Array.from(ids), f, logits: this.transformer.logits(place, cache), place };
  }

  /** The activations [T, W] that the dictionary reads in one context. */
  rows(ids: ArrayLike<number>): Float32Array {
    return this.cut(ids, 0, this.transformer.cache(ids.length)).rows;
  }

  /** The logits [T, V] with a feature changed. */
  changed(reading: Reading, change: Change): Float32Array {
    const { ids, place, f, logits } = reading, n = this.manifest.dictionary.n_features;
    const shifts = Float32Array.from(ids, (id, t) =>
      id === this.manifest.bos ? 0 : shift(change, f[t * n + change.feature]!));
    const direction = this.direction(change.feature);
    if (this.transformer.looksBack(this.effect)) {
      // What lies before the site is never changed, so the later layers' keys are all that this cache gets.
      const moved = { ...place, acts: shifted(place.acts, shifts, direction) };
      return this.transformer.logits(moved, this.transformer.cache(ids.length));
    }
    const rows = [...ids.keys()].filter((t) => shifts[t] !== 0), found = logits.slice();
    if (!rows.length) return found;
    const some = rowsOf(place, rows), vocab = this.manifest.transformer.vocab_size;
    some.acts = shifted(some.acts, Float32Array.from(rows, (t) => shifts[t]!), direction);
    const after = this.transformer.logits(some, this.transformer.cache(0));
    rows.forEach((t, i) => found.set(after.subarray(i * vocab, (i + 1) * vocab), t * vocab));
    return found;
  }

  /**
   * Yields the tokens of a continuation one by one, with a feature changed (null: with nothing changed). What the model
   * computes before the site is that of the unchanged text; keys and values after it are those of the changed one.
   */
  *continued(ids: readonly number[], change: Change | null, how: Continuation): Generator<number> {
    const { bos, transformer: shape } = this.manifest, length = ids.length + how.n;
    if (length > shape.context_length) throw new Error(`${length} tokens are more than a context has`);
    const plain = this.transformer.cache(length), held = this.transformer.cache(length);
    const direction = change && this.direction(change.feature);
    let fresh: number[] = [...ids], from = 0;
    for (let step = 0; step < how.n; step++) {
      const { rows, place } = this.cut(fresh, from, plain), columns = rows.length / fresh.length;
      if (change && direction) {
        const shifts = Float32Array.from(fresh, (id, t) => {
          if (id === bos || from + t < how.from) return 0;
          return shift(change, this.dictionary.encodeOne(rows.subarray(t * columns, (t + 1) * columns), change.feature));
        });
        place.acts = shifted(place.acts, shifts, direction);
      }
      const logits = this.lastLogits(place, held);
      from += fresh.length;
      fresh = [draw(logits, how.temperature, how.seed, from, bos)];
      yield fresh[0]!;
    }
  }

  private get effectSite(): string {
    return this.manifest.dictionary.effect_site;
  }

  private direction(feature: number): Float32Array {
    return this.dictionary.direction(feature, this.transformer.width(this.effectSite));
  }

  /** The logits after the last token of a place. */
  private lastLogits(place: Place, cache: Cache): Float32Array {
    if (!this.transformer.looksBack(this.effect)) return this.transformer.logits(rowsOf(place, [place.count - 1]), cache);
    const end = this.transformer.advance(place, this.transformer.end, cache);
    return this.transformer.logits(rowsOf(end, [place.count - 1]), cache);
  }

  /** The rows [count, W] that the dictionary reads, and the model at the site of the effect. */
  private cut(ids: ArrayLike<number>, from: number, cache: Cache): { rows: Float32Array; place: Place } {
    let at = this.transformer.begin(ids, from);
    const found = new Map<number, Place>();
    for (const station of [...new Set([...this.stations, this.effect])].sort((a, b) => a - b)) {
      found.set(station, (at = this.transformer.advance(at, station, cache)));
    }
    const parts = this.stations.map((station) => found.get(station)!.acts), place = { ...found.get(this.effect)! };
    if (parts.length === 1) return { rows: parts[0]!, place };
    const widths = parts.map((part) => part.length / ids.length), rows = new Float32Array(parts.reduce((n, p) => n + p.length, 0));
    let out = 0;
    for (let t = 0; t < ids.length; t++) {
      parts.forEach((part, i) => {
        rows.set(part.subarray(t * widths[i]!, (t + 1) * widths[i]!), out);
        out += widths[i]!;
      });
    }
    return { rows, place };
  }
}
