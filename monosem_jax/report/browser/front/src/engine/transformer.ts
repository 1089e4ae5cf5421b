/**
 * The transformer of `monosem_jax/models/transformer.py`, cut at its sites: a chain of stations, and between two of them a
 * pair (carry, acts), where acts is the array at the station's site and carry the residual stream still to be added.
 */
import { attention, Cache } from "./attention.ts";
import { layerNorm, linear, relu, sum } from "./kernels.ts";
import type { TransformerShape } from "./model.ts";
import type { Weights } from "./tensors.ts";

const SITES = ["resid_pre", "attn_out", "resid_mid", "mlp_in", "mlp_hidden", "mlp_out"];

/** The computation at a station, for `count` tokens at positions `from` … of one context. */
export interface Place {
  station: number;
  carry: Float32Array | null;
  acts: Float32Array;
  count: number;
  from: number;
}

export class Transformer {
  /** The number of the station after the last block. */
  readonly end: number;

  constructor(readonly shape: TransformerShape, private readonly weights: Weights) {
    this.end = shape.n_layers * SITES.length;
  }

  /** The station of a site such as "mlp_hidden.0". */
  station(site: string): number {
    const [kind = "", layer = ""] = site.split(".");
    const found = SITES.indexOf(kind);
    if (found < 0 || !(Number(layer) < this.shape.n_layers)) throw new Error(`the model has no site ${site}`);
    return Number(layer) * SITES.length + found;
  }

  /** The length of a row at a site. */
  width(site: string): number {
    return site.startsWith("mlp_hidden.") ? this.shape.d_mlp : this.shape.d_model;
  }

  /** Whether what follows a station depends on the tokens before, because attention comes after it. */
  looksBack(station: number): boolean {
    return Math.ceil(station / SITES.length) < this.shape.n_layers;
  }

  cache(length = this.shape.context_length): Cache {
    return new Cache(this.shape.n_layers, length, this.shape.d_model);
  }

  /** Tokens at positions `from` … at the first station. */
  begin(ids: ArrayLike<number>, from = 0): Place {
    const d = this.shape.d_model, table = this.weights.vector("embed"), acts = new Float32Array(ids.length * d);
    for (let t = 0; t < ids.length; t++) {
      const id = ids[t]!;
      if (!(id >= 0 && id < this.shape.vocab_size)) throw new Error(`token ${id} is not in the vocabulary`);
      acts.set(table.subarray(id * d, (id + 1) * d), t * d);
    }
    return { station: 0, carry: null, acts, count: ids.length, from };
  }

  /** Goes on to a later station. The cache has the tokens before `from`, and gets the new ones. */
  advance(place: Place, station: number, cache: Cache): Place {
    let { carry, acts } = place;
    const { count, from } = place;
    for (let at = place.station; at < station; at++) {
      const layer = Math.floor(at / SITES.length), of = (name: string) => `blocks_${layer}.${name}`;
      switch (SITES[at % SITES.length]) {
        case "resid_pre":
          carry = acts;
          acts = this.normed(acts, count, of("ln_attn"));
          acts = attention(
            acts, count, from, layer, cache, this.weights.matrix(of("qkv")), this.weights.matrix(of("attn_proj")),
            this.shape.n_heads,
          );
          break;
        case "resid_mid":
          carry = acts;
          acts = this.normed(acts, count, of("ln_mlp"));
          break;
        case "mlp_in":
          acts = relu(linear(acts, count, this.weights.matrix(of("up")), this.weights.vector(of("up.bias"))));
          break;
        case "mlp_hidden":
          acts = linear(acts, count, this.weights.matrix(of("down")), this.weights.vector(of("down.bias")));
          break;
        default: // attn_out and mlp_out
          acts = sum(carry!, acts);
          carry = null;
      }
    }
    return { station, carry, acts, count, from };
  }

  /** The logits [count, V] from any station on. */
  logits(place: Place, cache: Cache): Float32Array {
    const { acts, count } = this.advance(place, this.end, cache);
    return linear(this.normed(acts, count, "ln_final"), count, this.weights.matrix("unembed"));
  }

  private normed(x: Float32Array, count: number, name: string): Float32Array {
    return layerNorm(x, count, this.weights.vector(`${name}.scale`), this.weights.vector(`${name}.bias`));
  }
}

/** Some tokens of a place from which no attention follows, each by itself. */
export function rowsOf(place: Place, rows: readonly number[]): Place {
  const take = (x: Float32Array) => {
    const width = x.length / place.count, found = new Float32Array(rows.length * width);
    rows.forEach((row, i) => found.set(x.subarray(row * width, (row + 1) * width), i * width));
    return found;
  };
  return { ...place, carry: place.carry && take(place.carry), acts: take(place.acts), count: rows.length };
}
