/** What the page asks of the worker and what the worker answers. Each answer has the number of its question. */
import type { Change } from "./change.ts";
import type { Manifest, TokenizerData } from "./model.ts";
import type { Predictions } from "./predictions.ts";

export interface Tokens {
  /** The contexts of the text, each BOS first, one after the other. */
  ids: Int32Array;
  /** Where each context begins, and the number of all tokens. */
  starts: number[];
}

/** A text as the model reads it; n tokens, BOS included. */
export interface ReadText extends Tokens {
  /** The features of token t that fire are number offsets[t] … offsets[t + 1]. */
  offsets: Int32Array;
  features: Int32Array;
  values: Float32Array;
  /** [n] nats; NaN at the start of a context. */
  losses: Float32Array;
  expected: Predictions;
  /** Tokens of the text that were left out, because it is longer than is read. */
  left_out: number;
}

/** The same text with a feature changed. */
export interface ChangedText {
  losses: Float32Array;
  /** [n] Σ p log(p / q) in nats, p before and q after the change. */
  divergence: Float32Array;
  /** What is most expected before and after, with the probability in the other run beside it. */
  before: Predictions;
  after: Predictions;
}

export interface ContinuedText {
  ids: number[];
}

export interface Questions {
  load: { ask: { manifest: Manifest; tokenizer: TokenizerData; packs: Uint8Array[][] }; answer: { parameters: number } };
  tokenize: { ask: { text: string }; answer: { ids: Int32Array } };
  /** Contexts at most; the most expected tokens that are listed. */
  read: { ask: { text: string; contexts: number; k: number }; answer: ReadText };
  /** Of the text that was read last. */
  change: { ask: { change: Change; k: number }; answer: ChangedText };
  /** Continues the end of the text read last; `change` null: as it is. */
  continue: {
    ask: { change: Change | null; n: number; temperature: number; seed: number; generated: boolean };
    answer: ContinuedText;
  };
  /** The numbers themselves of one context, for measurements. */
  numbers: {
    ask: { ids: number[]; change: Change | null };
    answer: { f: Float32Array; reconstruction: Float32Array; logits: Float32Array };
  };
}

export type Kind = keyof Questions;

export type Question = { [K in Kind]: { number: number; kind: K } & Questions[K]["ask"] }[Kind];

export type Answer =
  | { number: number; answer: Questions[Kind]["answer"] }
  /** Tokens of a continuation that is not finished. */
  | { number: number; partial: ContinuedText }
  | { number: number; error: string };
