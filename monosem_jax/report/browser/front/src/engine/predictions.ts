/** What logits say: the loss of the next token, and the tokens that are expected most. */

/** log Σ exp of row `row` of logits [count, V]. */
export function logSumExp(logits: Float32Array, row: number, vocab: number): number {
  const start = row * vocab, end = start + vocab;
  let largest = -Infinity, total = 0;
  for (let i = start; i < end; i++) if (logits[i]! > largest) largest = logits[i]!;
  for (let i = start; i < end; i++) total += Math.exp(logits[i]! - largest);
  return largest + Math.log(total);
}

/** The indices of the k largest numbers of a row, largest first; of equal ones the first. */
export function largest(numbers: Float32Array, row: number, width: number, k: number): number[] {
  const start = row * width, found: number[] = [];
  for (let i = 0; i < width; i++) {
    const x = numbers[start + i]!;
    if (found.length === k && !(x > numbers[start + found[k - 1]!]!)) continue;
    let at = found.length;
    while (at > 0 && x > numbers[start + found[at - 1]!]!) at--;
    found.splice(at, 0, i);
    if (found.length > k) found.pop();
  }
  return found;
}

/** What a model expects after each of `count` tokens, and what it is said to expect with a change beside it. */
export interface Predictions {
  /** The most expected tokens [count, k], and their probabilities. */
  tokens: Int32Array;
  p: Float32Array;
  /** The probabilities of the same tokens in the other run. */
  other: Float32Array;
  k: number;
}

/** `others` are the logits of the other run, and `lse` and `otherLse` the logSumExp of every row. */
export function predictions(
  logits: Float32Array, lse: Float64Array, others: Float32Array, otherLse: Float64Array, k: number,
): Predictions {
  const count = lse.length, vocab = logits.length / count;
  const found = { tokens: new Int32Array(count * k), p: new Float32Array(count * k), other: new Float32Array(count * k), k };
  for (let t = 0; t < count; t++) {
    largest(logits, t, vocab, k).forEach((token, i) => {
      found.tokens[t * k + i] = token;
      found.p[t * k + i] = Math.exp(logits[t * vocab + token]! - lse[t]!);
      found.other[t * k + i] = Math.exp(others[t * vocab + token]! - otherLse[t]!);
    });
  }
  return found;
}

export function everyLogSumExp(logits: Float32Array, count: number): Float64Array {
  const vocab = logits.length / count;
  return Float64Array.from({ length: count }, (_, t) => logSumExp(logits, t, vocab));
}

/** [count] nats of each token given those before it; NaN for the first. */
export function tokenLosses(logits: Float32Array, lse: Float64Array, ids: ArrayLike<number>): Float32Array {
  const vocab = logits.length / lse.length, found = new Float32Array(lse.length).fill(NaN);
  for (let t = 1; t < found.length; t++) found[t] = lse[t - 1]! - logits[(t - 1) * vocab + ids[t]!]!;
  return found;
}

/** Σ p log(p / q) in nats of the expectations after each token, p those of `logits`. */
export function divergences(
  logits: Float32Array, lse: Float64Array, others: Float32Array, otherLse: Float64Array,
): Float32Array {
  const count = lse.length, vocab = logits.length / count, found = new Float32Array(count);
  for (let t = 0; t < count; t++) {
    let total = 0;
    for (let i = t * vocab; i < (t + 1) * vocab; i++) {
      const p = logits[i]! - lse[t]!, q = others[i]! - otherLse[t]!;
      if (p !== q) total += Math.exp(p) * (p - q);
    }
    found[t] = Math.max(total, 0);
  }
  return found;
}
