/** What the builder writes about a model: `monosem_jax/report/browser/model.py` makes it. */

/** The shape of the transformer, as in `monosem_jax/models/transformer.py`. */
export interface TransformerShape {
  n_layers: number;
  d_model: number;
  d_mlp: number;
  n_heads: number;
  context_length: number;
  vocab_size: number;
}

/** How activations become features. */
export type Form = "relu" | "topk" | "abs_topk" | "jumprelu" | "gated";

export interface DictionaryShape {
  form: Form;
  /** Features a token, of topk and abs_topk. */
  k: number | null;
  n_features: number;
  /** The places read, in the order of a row's columns. */
  sites: string[];
  /** The place at which features have an effect, and the first of its columns in W_dec. */
  effect_site: string;
  effect_start: number;
  /** Columns of a row that the encoder reads: the first `width_in`. */
  width_in: number;
  width_out: number;
  /** Whether b_dec is subtracted from what is encoded. */
  centred: boolean;
}

/** One array: rows of `shape` lie in `pack` from byte `offset` on. A matrix maps its second axis to its first. */
export interface TensorEntry {
  pack: number;
  offset: number;
  shape: number[];
  dtype: "float32" | "float16" | "int8";
  /** Of float16: what numbers are multiplied by. Of int8 this is null, and one float32 a row lies at `scales`. */
  scale: number | null;
  scales: number | null;
}

export interface Manifest {
  format: number;
  transformer: TransformerShape;
  dictionary: DictionaryShape;
  bos: number;
  tensors: Record<string, TensorEntry>;
  /** Keys of the chunks whose bytes, joined, are each pack. */
  packs: string[][];
  /** Key of the chunk with the tokenizer. */
  tokenizer: string;
  /** Bytes of all files of the model, as they are on disk. */
  bytes: number;
}

export interface TokenizerData {
  /** The name of each id in the byte alphabet of GPT-2; null: there is no such token. */
  vocab: (string | null)[];
  /** Pairs of ids and what they become, in order of rank: [left, right, joined, left, …]. */
  merges: number[];
  /** Ids of special tokens, which no text becomes. */
  special: number[];
  add_prefix_space: boolean;
  use_regex: boolean;
  ignore_merges: boolean;
  normalizer: "" | "NFC" | "NFD" | "NFKC" | "NFKD";
}
