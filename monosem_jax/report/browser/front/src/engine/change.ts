/**
 * A feature changed on every token but BOS (`monosem_jax/analysis/effects/hold.py`): the activations x at the site become
 * x + shift · d, with d the feature's direction. All else in x stays, what the dictionary does not reconstruct included.
 */

/** ablate: the feature becomes 0. pin: it becomes `value`. steer: `value` is added to it. */
export interface Change {
  feature: number;
  mode: "ablate" | "pin" | "steer";
  value: number;
}

/** What is added to a feature whose activation is f. */
export function shift(change: Change, f: number): number {
  return change.mode === "steer" ? change.value : (change.mode === "pin" ? change.value : 0) - f;
}

/** acts + shift ⊗ direction, as new rows. */
export function shifted(acts: Float32Array, shifts: Float32Array, direction: Float32Array): Float32Array {
  const found = acts.slice(), width = direction.length;
  shifts.forEach((s, t) => {
    if (s !== 0) for (let i = 0; i < width; i++) found[t * width + i] = found[t * width + i]! + s * direction[i]!;
  });
  return found;
}
