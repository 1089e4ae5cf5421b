/** Random numbers that depend on a seed and a place alone, so that two texts can be drawn with the same ones. */

/** 32 bits from two numbers (the finaliser of MurmurHash3). */
function mixed(a: number, b: number): number {
  let h = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(b + 0x7f4a7c15, 0xc2b2ae35);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** A sequence of numbers above 0 and below 1 (mulberry32, by Tommy Ettinger, in the public domain). */
export function uniforms(seed: number, place: number): () => number {
  let state = mixed(seed | 0, place | 0);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
}

/**
 * Draws an index with probability softmax(logits / temperature), by adding Gumbel noise: with the same seed and place,
 * logits that differ little give the same index. `never` is not drawn.
 */
export function draw(logits: Float32Array, temperature: number, seed: number, place: number, never: number): number {
  const next = uniforms(seed, place);
  let best = -1, largest = -Infinity;
  for (let i = 0; i < logits.length; i++) {
    const noise = -Math.log(-Math.log(next()));
    if (i === never) continue;
    const score = logits[i]! / temperature + noise;
    if (score > largest || best < 0) {
      largest = score;
      best = i;
    }
  }
  return best;
}
