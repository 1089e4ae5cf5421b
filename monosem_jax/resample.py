"""Neuron resampling (paper, appendix "Neuron Resampling") as a state transform inside the compiled training loop."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from monosem_jax.errors import BadInput
from monosem_jax.objective import row_losses, scaled
from monosem_jax.sae.relu import FEATURE_AXIS, linear_init, unit_rows
from monosem_jax.train import State, TrainConfig, Transform

ENCODER_SCALE = 0.2  # of the mean norm of the alive features' encoder vectors


@dataclasses.dataclass(frozen=True)
class ResampleConfig:
    """When and from how much. Values below 1 are fractions of `train.steps`; () never resamples.

    The paper's: steps 25k, 50k, 75k, 100k of 1M; dead = silent for the 12,500 steps before; losses on 819,200 inputs.
    `method` "kaiming" draws dead features anew as at initialisation: the baseline the paper compares with.
    """

    steps: tuple[float, ...] = (0.025, 0.05, 0.075, 0.1)
    window: float = 0.0125
    n_inputs: int = 819_200
    method: str = "paper"

    def resolve(self, train: TrainConfig) -> tuple[tuple[int, ...], int]:
        """(steps, window) as numbers of steps; raises BadInput naming the first impossible value."""

        def absolute(value: float) -> int:
            return round(value * train.steps) if 0 < value < 1 else int(value)

        if self.method not in ("paper", "kaiming"):
            raise BadInput(f"resample.method is {self.method!r}: expected paper or kaiming")
        if not self.steps:
            return (), 0
        steps, window = tuple(absolute(s) for s in self.steps), absolute(self.window)
        if window < 1:
            raise BadInput(f"resample.window is {self.window}, {window} steps of {train.steps}: at least 1 is needed")
        if min(steps) < window or max(steps) >= train.steps:
            raise BadInput(
                f"resample.steps {steps} must lie between the dead window of {window} and train.steps {train.steps}"
            )
        capacity = train.steps_per_dispatch * train.batch_size
        if not 1 <= self.n_inputs <= capacity:
            raise BadInput(
                f"resample.n_inputs is {self.n_inputs}: expected 1 to steps_per_dispatch x batch_size = {capacity}, "
                "the rows on the device at a time"
            )
        if self.n_inputs % train.batch_size:
            raise BadInput(f"resample.n_inputs {self.n_inputs} is not a multiple of batch_size {train.batch_size}")
        needed = self.n_inputs // train.batch_size
        for step, following in itertools.pairwise([*sorted(set(steps)), train.steps]):
            if following - step < needed:
                raise BadInput(
                    f"resample.steps: {step} is {following - step} steps before {following}, but n_inputs "
                    f"{self.n_inputs} takes {needed} batches"
                )
        return steps, window


def make_resampling(sae: Any, steps: tuple[int, ...], window: int, n_inputs: int, method: str) -> Transform:
    """The transform (state, rows [K,B,M] about to be trained on) -> state; the identity at steps not in `steps`."""
    schedule = jnp.asarray(steps, jnp.int32)

    def resample(state: State, rows: Array) -> State:
        dead = state.step - state.stats["last_fired"] >= window
        key = jax.random.fold_in(state.key, state.step)
        if method == "kaiming":
            return replace_features(state, dead, *_kaiming(state, key))
        fresh = rows[: n_inputs // rows.shape[1]]
        drawn = draw_inputs(key, dead, input_weights(sae, state, fresh))
        x = scaled(state, fresh.reshape(-1, fresh.shape[-1])[drawn])
        return replace_features(state, dead, *rows_from_inputs(state, dead, x))

    def transform(state: State, rows: Array) -> State:
        due = jnp.any(schedule == state.step) & (rows.shape[0] * rows.shape[1] >= n_inputs)
        return jax.lax.cond(due, resample, lambda s, r: s, state, rows)

    return transform if steps else (lambda state, rows: state)


def input_weights(sae: Any, state: State, rows: Float[Array, "K B M"]) -> Float[Array, " K*B"]:
    """The squared loss of every input, computed a batch at a time; zero for inputs that have no direction."""

    def one(batch):
        losses, _ = row_losses(sae, state, batch)
        return jnp.square(losses) * jnp.any(batch != 0, axis=-1)

    return jax.lax.map(one, rows).reshape(-1)


def draw_inputs(key: Array, dead: Array, weights: Float[Array, " N"]) -> Int[Array, " F"]:
    """For each dead feature an input with probability ∝ `weights`; what the others get is not to be used.

    Systematic sampling: one uniform offset, and the i-th of n dead features draws at (i + offset) / n of the cumulative
    distribution. Every input is still expected n · p times, but no input is drawn twice unless n · p reaches 1.
    Independent draws give twins, which have equal gradients from then on.
    """
    n_dead = jnp.maximum(jnp.sum(dead), 1)
    slot = jnp.cumsum(dead) - 1
    u = (slot + jax.random.uniform(key)) / n_dead
    cumulative = jax.lax.cummax(jnp.cumsum(weights))
    drawn = jnp.clip(jnp.searchsorted(cumulative, u * cumulative[-1], side="right"), 0, weights.size - 1)
    # Rounding of the sums can lead to an input without weight: the last one before it that has some is meant.
    weighty = jax.lax.cummax(jnp.where(weights > 0, jnp.arange(weights.size), 0))
    return weighty[drawn]


def rows_from_inputs(state: State, dead: Array, x: Float[Array, "F M"]) -> tuple[Array, Array]:
    """New (W_enc [M,F], W_dec [F,M]): the input's direction, for the encoder at 0.2 × the alive features' mean norm."""
    norms = jnp.linalg.norm(state.params["W_enc"], axis=0)
    n_alive = jnp.sum(~dead)
    mean = jnp.where(n_alive > 0, jnp.sum(norms * ~dead) / jnp.maximum(n_alive, 1), jnp.mean(norms))
    direction = x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-30)
    return direction.T * (ENCODER_SCALE * mean), direction


def _kaiming(state: State, key: Array) -> tuple[Array, Array]:
    for_enc, for_dec = jax.random.split(key)
    shape = state.params["W_enc"].shape
    return linear_init(0)(for_enc, shape), unit_rows(linear_init(0)(for_dec, shape[::-1]))


def replace_features(state: State, dead: Array, W_enc: Array, W_dec: Array) -> State:
    """Gives dead features the new vectors and bias 0, and clears their Adam moments; all else is left as it is."""
    new = {"W_enc": W_enc, "W_dec": W_dec, "b_enc": jnp.zeros_like(state.params["b_enc"])}

    def put(name: str, old: Array, fresh: Any) -> Array:
        if name not in FEATURE_AXIS:
            return old
        shape = [1] * old.ndim
        shape[FEATURE_AXIS[name]] = -1
        return jnp.where(dead.reshape(shape), fresh, old)

    params = {name: put(name, p, new.get(name)) for name, p in state.params.items()}
    stats = {**state.stats, "last_fired": jnp.where(dead, state.step, state.stats["last_fired"])}
    return state.replace(params=params, opt_state=_clear_moments(state.opt_state, put), stats=stats)


def _clear_moments(opt_state: Any, put: Any) -> Any:
    """Zeroes the dead features' entries of every array in the optimizer state that is named like a parameter."""

    def clear(path, leaf):
        name = getattr(path[-1], "key", None) if path else None
        return put(name, leaf, 0.0) if name in FEATURE_AXIS else leaf

    return jax.tree_util.tree_map_with_path(clear, opt_state)
