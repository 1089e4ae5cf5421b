"""Neuron resampling (paper, appendix "Neuron Resampling") as compiled transforms of the training state."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import Rules, tree_shardings
from monosem_jax.sae.base import SparseAutoencoder
from monosem_jax.sae.objective import row_losses, scaled
from monosem_jax.sae.params import FEATURE_AXIS, linear_init, unit_rows
from monosem_jax.training.config import TrainConfig
from monosem_jax.training.loop import Transform
from monosem_jax.training.step import State, over_members

ENCODER_SCALE = 0.2  # of the mean norm of the alive features' encoder vectors


class ResampleSchedule(NamedTuple):
    """A `ResampleConfig` whose fractions are converted to numbers of steps."""

    steps: tuple[int, ...]
    window: int
    n_inputs: int
    method: str
    restart_adam: bool = False


@dataclasses.dataclass(frozen=True)
class ResampleConfig:
    """When to resample, and from how many inputs.

    The defaults are the paper's: steps 25k, 50k, 75k, 100k of 1M; dead = silent for the 12,500 steps before; losses on
    819,200 inputs (rounded up to whole batches: those about to be trained on).
    """

    steps: tuple[float, ...] = (0.025, 0.05, 0.075, 0.1)
    """Steps at which dead features are resampled; values below 1 are fractions of train.steps. (): never."""
    window: float = 0.0125
    """A feature that was silent for so many steps counts as dead; below 1 a fraction of train.steps."""
    n_inputs: int = 819_200
    """Inputs whose losses decide from which of them dead features are made anew."""
    method: str = "paper"
    """paper: from inputs that are badly reconstructed; kaiming: drawn as at initialisation, the paper's baseline."""
    restart_adam: bool = False
    """Adam also counts its steps anew after an event; otherwise only the moments of new features are cleared."""

    def resolve(self, train: TrainConfig) -> ResampleSchedule:
        """The schedule in numbers of steps; raises BadInput naming the first impossible value."""

        def absolute(value: float) -> int:
            return round(value * train.steps) if 0 < value < 1 else int(value)

        if self.method not in ("paper", "kaiming"):
            raise BadInput(f"resample.method is {self.method!r}: expected paper or kaiming")
        if not self.steps:
            return ResampleSchedule((), 0, self.n_inputs, self.method, self.restart_adam)
        steps, window = tuple(absolute(s) for s in self.steps), absolute(self.window)
        if window < 1:
            raise BadInput(f"resample.window is {self.window}, {window} steps of {train.steps}: at least 1 is needed")
        if min(steps) < window or max(steps) >= train.steps:
            raise BadInput(
                f"resample.steps {steps} must lie between the dead window of {window} and train.steps {train.steps}"
            )
        if self.n_inputs < 1:
            raise BadInput(f"resample.n_inputs is {self.n_inputs}: at least 1 is needed")
        return ResampleSchedule(steps, window, self.n_inputs, self.method, self.restart_adam)


class Resampler:
    """The compiled parts of a resampling event for one group: a single dictionary or stacked members.

    The inputs are streamed twice, one block of batches at a time: first to compute one loss per input, then to collect
    the drawn rows, each on the device that holds its feature. A device stores rows only for its own features. The draws
    are the same on every mesh, up to rounding.

    Adam divides its moments by 1 - b^count, because they begin at 0. At an event `count` is large, and the moments of
    new features begin at 0 again: with b1 = 0.9 and b2 = 0.999 such features move by 3 to 6 learning rates a step for
    a hundred steps. Where the learning rate is large that kills them. With `restart_adam` they move by one, and the
    others by a sixth to a third of it at first.
    """

    def __init__(
        self,
        sae: SparseAutoencoder,
        mesh: Mesh,
        rules: Rules,
        *,
        window: int,
        method: str,
        restart_adam: bool = False,
        together: int = 0,
    ):
        self.method = method
        lift, stacked = functools.partial(over_members, together=together), together > 0
        lead = (None,) * stacked
        everywhere = NamedSharding(mesh, PartitionSpec())
        by_feature = NamedSharding(mesh, PartitionSpec(*lead, "data", *rules["W_dec"]))

        def dead(state):
            # A frozen member does not change.
            return (state.step - state.stats["last_fired"] >= window) & (state.guard["frozen_at"] < 0)

        def weigh(state, block):
            return input_weights(sae, state, block)

        def draw(state, _, weights):
            key = jax.random.fold_in(state.key, state.step)
            return draw_inputs(key, dead(state), weights.reshape(-1))

        def collect(state, shared, drawn):
            return rows_of_draws(shared[0], drawn - shared[1], mesh, rules)

        def put(state, W_enc, W_dec):
            after = replace_features(sae, state, dead(state), W_enc, W_dec)
            return with_count_restarted(after, jnp.any(dead(state))) if restart_adam else after

        def replace(state, _, parts):
            x = scaled(sae, state, jnp.sum(parts, axis=0))  # one device along `data` held the row
            return put(state, *rows_from_inputs(state, dead(state), x))

        def kaiming(state, _):
            return put(state, *_kaiming(state, jax.random.fold_in(state.key, state.step)))

        self.weigh = jax.jit(lift(weigh), out_shardings=everywhere)
        self.draw = jax.jit(lift(draw), out_shardings=everywhere)
        self.collect = jax.jit(lift(collect), out_shardings=by_feature)
        self._finish = lift(kaiming if method == "kaiming" else replace)
        self._shardings = functools.partial(tree_shardings, rules=rules, mesh=mesh, stacked=stacked)
        self._compiled: Any = None

    def finish(self, state: State, *parts: Array) -> State:
        """The state after the event; it reuses the memory of `state`."""
        if self._compiled is None:
            self._compiled = jax.jit(self._finish, donate_argnums=0, out_shardings=self._shardings(state))
        return self._compiled(state, None, *parts)


def make_resampling(
    resamplers: Sequence[Resampler], steps: tuple[int, ...], n_inputs: int, train: TrainConfig
) -> Transform:
    """The event for all groups at once; the groups share each batch read (paper, appendix "Neuron Resampling")."""
    n_batches, most = -(-n_inputs // train.batch_size), train.steps_per_dispatch

    def blocks(step: int, batches: Any) -> Iterator[tuple[int, Array]]:
        for first in range(0, n_batches, most):
            yield first, batches(step + first, min(most, n_batches - first))

    def apply(states: list[State], step: int, batches: Any) -> list[State]:
        if resamplers[0].method == "kaiming":
            return [r.finish(s) for r, s in zip(resamplers, states, strict=True)]
        weights: list[list[Array]] = [[] for _ in states]
        for _, block in blocks(step, batches):
            for i, (r, s) in enumerate(zip(resamplers, states, strict=True)):
                weights[i].append(r.weigh(s, block))
        drawn = [r.draw(s, None, _join(w)) for r, s, w in zip(resamplers, states, weights, strict=True)]
        parts: list[Any] = [None] * len(states)
        for first, block in blocks(step, batches):
            for i, (r, s) in enumerate(zip(resamplers, states, strict=True)):
                found = r.collect(s, (block, np.int32(first * train.batch_size)), drawn[i])
                parts[i] = found if parts[i] is None else _add(parts[i], found)
        return [r.finish(s, p) for r, s, p in zip(resamplers, states, parts, strict=True)]

    return Transform(steps, apply)


@jax.jit
def _join(weights: list[Array]) -> Array:
    return jnp.concatenate(weights, axis=-2)  # [K,B] of each block, after any members


@functools.partial(jax.jit, donate_argnums=0)
def _add(a: Array, b: Array) -> Array:
    return a + b  # an input lies in exactly one block; its row is zero in all other blocks


def input_weights(sae: SparseAutoencoder, state: State, rows: Float[Array, "K B M"]) -> Float[Array, "K B"]:
    """The squared loss of every input, computed one batch at a time; zero if the input is zero or its loss is not
    finite."""

    def one(batch):
        losses, _ = row_losses(sae, state, batch)
        weights = jnp.square(losses)
        return jnp.where(jnp.any(batch != 0, axis=-1) & jnp.isfinite(weights), weights, 0)

    return jax.lax.map(one, rows)


def rows_of_draws(rows: Float[Array, "K B M"], drawn: Int[Array, " F"], mesh: Mesh, rules: Rules) -> Array:
    """[d,F,M]: for each feature, the row at index `drawn` of the K · B rows, as found by each of the d devices along
    `data`. A device searches its own rows for its own features; a row that it does not hold is zero."""

    def local(rows, drawn):
        k, b, _ = rows.shape
        batch, slot = drawn // (b * mesh.shape["data"]), drawn % (b * mesh.shape["data"])
        slot = slot - jax.lax.axis_index("data") * b
        here = (drawn >= 0) & (batch < k) & (slot >= 0) & (slot < b)
        found = rows[jnp.clip(batch, 0, k - 1), jnp.clip(slot, 0, b - 1)]
        return jnp.where(here[:, None], found, 0).astype(jnp.float32)[None]

    specs = (PartitionSpec(None, "data"), rules["b_enc"])
    return jax.shard_map(
        local, mesh=mesh, in_specs=specs, out_specs=PartitionSpec("data", *rules["W_dec"]), check_vma=False
    )(rows, drawn)


def draw_inputs(key: Array, dead: Array, weights: Float[Array, " N"]) -> Int[Array, " F"]:
    """For each dead feature, the index of an input drawn with probability ∝ `weights`; ignore those of alive features.

    Systematic sampling: there is one uniform offset, and the i-th of n dead features draws at (i + offset) / n of the
    cumulative distribution. The expected number of draws of an input is still n · p, but no input is drawn twice unless
    n · p exceeds 1. Independent draws could give two features the same input; their gradients would then stay equal.
    """
    n_dead = jnp.maximum(jnp.sum(dead), 1)
    slot = jnp.cumsum(dead) - 1
    u = (slot + jax.random.uniform(key)) / n_dead
    cumulative = jax.lax.cummax(jnp.cumsum(weights))
    drawn = jnp.clip(jnp.searchsorted(cumulative, u * cumulative[-1], side="right"), 0, weights.size - 1)
    # Rounding of the sums can select an input of weight zero: use the last input before it with a positive weight.
    weighty = jax.lax.cummax(jnp.where(weights > 0, jnp.arange(weights.size), 0))
    return weighty[drawn]


def rows_from_inputs(state: State, dead: Array, x: Float[Array, "F M"]) -> tuple[Array, Array]:
    """New (W_enc [M,F], W_dec [F,M]): the input's direction; W_enc has 0.2 × the mean norm of the alive features."""
    norms = jnp.linalg.norm(state.params["W_enc"], axis=0)
    n_alive = jnp.sum(~dead)
    mean = jnp.where(n_alive > 0, jnp.sum(norms * ~dead) / jnp.maximum(n_alive, 1), jnp.mean(norms))
    direction = x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-30)
    return direction.T * (ENCODER_SCALE * mean), direction


def _kaiming(state: State, key: Array) -> tuple[Array, Array]:
    for_enc, for_dec = jax.random.split(key)
    shape = state.params["W_enc"].shape
    return linear_init(0)(for_enc, shape), unit_rows(linear_init(0)(for_dec, shape[::-1]))


def replace_features(sae: SparseAutoencoder, state: State, dead: Array, W_enc: Array, W_dec: Array) -> State:
    """Gives dead features the new vectors, resets their other parameters to the initial values (a bias to 0), and
    clears their Adam moments; alive features do not change."""
    new = {"W_enc": W_enc, "W_dec": W_dec}

    def put(name: str, old: Array, start: Any) -> Array:
        if name not in FEATURE_AXIS:
            return old
        shape = [1] * old.ndim
        shape[FEATURE_AXIS[name]] = -1
        return jnp.where(dead.reshape(shape), start, old)

    params = {name: put(name, p, new.get(name, sae.init_value(name))) for name, p in state.params.items()}
    stats = {**state.stats, "last_fired": jnp.where(dead, state.step, state.stats["last_fired"])}
    return state.replace(params=params, opt_state=_clear_moments(state.opt_state, put), stats=stats)


def _clear_moments(opt_state: Any, put: Any) -> Any:
    """Sets the dead features' entries to zero in every optimizer array that has the name of a parameter."""

    def clear(path, leaf):
        name = getattr(path[-1], "key", None) if path else None
        return put(name, leaf, 0.0) if name in FEATURE_AXIS else leaf

    return jax.tree_util.tree_map_with_path(clear, opt_state)


def with_count_restarted(state: State, changed: Array) -> State:
    """The state with Adam's count of steps at 0 where `changed`; the learning rate's own count goes on."""

    def is_adam(x: Any) -> bool:
        return isinstance(x, optax.ScaleByAdamState)

    def restart(x: Any) -> Any:
        return x._replace(count=jnp.where(changed, 0, x.count)) if is_adam(x) else x

    return state.replace(opt_state=jax.tree.map(restart, state.opt_state, is_leaf=is_adam))
