"""Toy models of superposition: x' = ReLU(Wᵀ W x + b) with W [m,n], trained to reconstruct n sparse features.

Source: Elhage et al., Toy Models of Superposition (2022). The loss is Σ_i I_i (x_i − x'_i)², averaged over the batch.
All instances of a training are computed together. They see the same random numbers at each step, but each makes its own
features of them, as dense as its own `p` says; so an instance is the same model whether it is trained alone or not.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import numbers
from monosem_jax.runtime.config import check_bounds, check_seed, field
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.progress import SHORT, progress
from monosem_jax.runtime.rng import jax_key
from monosem_jax.toy.features import OCCURRENCES, occur

FINAL_ROWS = 65_536  # rows on which the final loss is measured


@dataclasses.dataclass(frozen=True)
class ToyConfig:
    """One training of toy models that differ in density, importance and seed only."""

    n_features: int = field(5, at_least=1)
    """Features, n."""
    n_hidden: int = field(2, at_least=1)
    """Dimensions that they are squeezed into, m."""
    occurrence: str = field("independent", choices=OCCURRENCES)
    """Which features are active together: see monosem_jax/toy/features.py."""
    group_size: int = field(2, at_least=2)
    """Consecutive features that form a group, unless they are independent."""
    steps: int = field(5000, at_least=1)
    """Optimizer steps."""
    batch_size: int = field(1024, at_least=1)
    """Rows of features in a batch."""
    learning_rate: float = field(3e-3, above=0)
    """The peak of AdamW's learning rate."""
    final_fraction: float = field(0.0, at_least=0, at_most=1)
    """The share of the peak at which a cosine ends; 1: the learning rate is constant, as in the paper's notebook."""
    weight_decay: float = field(0.01, at_least=0)
    """Decoupled weight decay, of W and b."""
    snapshots: int = field(50, at_least=1)
    """Points of the loss history; at each one the dimensionality of every feature is kept too."""
    seed: int = 0
    """Decides the features of every step."""

    def check(self, section: str = "toy.") -> None:
        """Raises BadInput naming the first impossible value."""
        check_bounds(self, section)
        check_seed(self.seed, f"{section}seed")
        if self.snapshots > self.steps:
            raise BadInput(f"{section}snapshots is {self.snapshots}: expected 1 to steps, {self.steps}")
        if self.occurrence != "independent" and self.n_features % self.group_size:
            raise BadInput(f"{section}n_features is {self.n_features}: not a multiple of group_size {self.group_size}")


class ToyParams(NamedTuple):
    """W [m,n] and b [n] of one model, or of I models with a leading axis."""

    W: Array
    b: Array


@dataclasses.dataclass(frozen=True)
class Toys:
    """I trained models, as NumPy.

    `p` and `importance` [I,n] are what they were trained with, `seeds` [I] decided their initial values. `steps` [H]
    are those of the history: `losses` [I,H] is the mean loss since the point before, `dimensionality` [I,H,n] is that
    at the point. `final_loss` [I] is measured on rows that were not trained on.
    """

    config: ToyConfig
    p: np.ndarray
    importance: np.ndarray
    seeds: np.ndarray
    W: np.ndarray
    b: np.ndarray
    steps: np.ndarray
    losses: np.ndarray
    dimensionality: np.ndarray
    final_loss: np.ndarray

    @property
    def n_instances(self) -> int:
        return len(self.W)

    @pinned()
    def hidden_rows(self, instance: int, n_rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(features x [B,n], hidden activations h = W x [B,m]) of new rows for one instance."""
        u = jax.random.uniform(jax_key("toy.rows", seed), (n_rows, self.config.n_features))
        x = occur(self.config.occurrence, u, jnp.asarray(self.p[instance]), self.config.group_size)
        return np.asarray(x), np.asarray(x @ self.W[instance].T)


def reconstruct(params: ToyParams, x: Float[Array, "B n"]) -> Float[Array, "B n"]:
    """x' = ReLU(Wᵀ W x + b)."""
    return jax.nn.relu(x @ params.W.T @ params.W + params.b)


def toy_loss(params: ToyParams, x: Float[Array, "B n"], importance: Float[Array, " n"]) -> Array:
    """Σ_i I_i (x_i − x'_i)², averaged over the rows."""
    return jnp.sum(importance * jnp.mean(jnp.square(x - reconstruct(params, x)), axis=0))


def feature_dimensionality(W: Float[Any, "*I m n"], xp: Any = np) -> Float[Any, "*I n"]:
    """D_i = ‖W_i‖² / Σ_j (Ŵ_i · W_j)², j = i included: the share of a dimension that feature i has for itself. 0 for a
    feature of norm 0. `xp` is NumPy or jax.numpy."""
    gram = xp.swapaxes(W, -1, -2) @ W
    square = xp.einsum("...ii->...i", gram)
    total = xp.sum(xp.square(gram), axis=-1)
    return xp.square(square) / xp.where(total > 0, total, 1)


def initial_params(n_features: int, n_hidden: int, seed: Array) -> ToyParams:
    """W normal with the variance 2 / (n + m) of Xavier, b = 0."""
    std = (2 / (n_features + n_hidden)) ** 0.5
    W = std * jax.random.normal(jax_key("toy.init", seed), (n_hidden, n_features))
    return ToyParams(W, jnp.zeros(n_features))


@pinned()
def train_toys(
    config: ToyConfig, p: ArrayLike, importance: ArrayLike = 1.0, seeds: ArrayLike = 0, description: str = "toy models"
) -> Toys:
    """Trains I models together.

    Args:
      p: [I] or [I,n], the share of rows in which a feature is active; more than 0, at most 1.
      importance: [n] or [I,n], the weight of each feature in the loss; 0 or more.
      seeds: [I] or one for all; a model's initial values.

    Raises BadInput on arrays that do not fit, and when a loss is not finite.
    """
    config.check()
    p, importance, seeds = _instances(config, p, importance, seeds)
    begin, run = _program(dataclasses.replace(config, seed=0))
    ends = np.unique(np.linspace(0, config.steps, config.snapshots + 1).round().astype(int))[1:]
    state, history, done = begin(seeds), [], 0
    key = jax_key("toy.batches", config.seed)
    with progress(config.steps, description, "steps", delay=SHORT) as bar:
        for end in ends:
            state, found = run(state, key, p, importance, np.int32(done), np.int32(end - done))
            history.append(jax.device_get(found))
            bar.update(int(end - done))
            done = end
    losses, dimensionality = (np.stack(x, axis=1) for x in zip(*history, strict=True))
    params = jax.device_get(state[0])
    final = _final_loss(config, params, p, importance)
    if not np.isfinite(final).all():
        raise BadInput(
            f"the loss of toy models is not finite: lower the learning rate {config.learning_rate:g} or the importances"
        )
    return Toys(config, p, importance, seeds, params.W, params.b, ends, losses, dimensionality, final)


def _instances(config: ToyConfig, p: ArrayLike, importance: ArrayLike, seeds: ArrayLike) -> tuple[np.ndarray, ...]:
    """p [I,n], importance [I,n] and seeds [I]."""
    n = config.n_features
    p, importance = (np.asarray(numbers("train_toys", x, "..."), np.float32) for x in (p, importance))
    seeds, p = np.asarray(seeds, np.uint32), p[..., None] if p.ndim < 2 else p
    given = p.shape, importance.shape, seeds.shape
    try:
        size = np.broadcast_shapes((1,), p.shape[:-1], importance.shape[:-1], seeds.shape)
        p, importance = np.broadcast_to(p, (*size, n)), np.broadcast_to(importance, (*size, n))
    except ValueError:
        raise BadInput(
            "train_toys was given p, importance and seeds of the shapes {}, {} and {}: expected [I] or [I,n], [n] or "
            "[I,n], and [I], with n = {}".format(*map(list, given), n)
        ) from None
    if not ((p > 0) & (p <= 1)).all():
        raise BadInput("train_toys was given a p outside of its bounds: expected more than 0, and at most 1")
    most = 1 / config.group_size if config.occurrence == "apart" else 1
    if (p > most).any():
        raise BadInput(f"train_toys was given p {p.max():g}: features of a group that are apart have {most:g} or less")
    if not (np.isfinite(importance) & (importance >= 0)).all():
        raise BadInput("train_toys was given an importance that is negative or not finite: expected 0 or more")
    return np.array(p), np.array(importance), np.array(np.broadcast_to(seeds, size))


@functools.lru_cache(maxsize=16)
def _program(config: ToyConfig) -> tuple[Any, Any]:
    """(seeds -> initial state, the compiled steps) of all instances."""
    rate: Any = config.learning_rate
    if config.final_fraction < 1:
        rate = optax.cosine_decay_schedule(rate, config.steps, config.final_fraction)
    tx = optax.adamw(rate, weight_decay=config.weight_decay)
    shape = config.batch_size, config.n_features

    def begin(seed):
        params = initial_params(config.n_features, config.n_hidden, seed)
        return params, tx.init(params)

    def update(params, opt_state, x, importance):
        loss, grads = jax.value_and_grad(toy_loss)(params, x, importance)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss

    def run(state, key, p, importance, first, n):
        def step(i, carry):
            params, opt_state, total = carry
            u = jax.random.uniform(jax.random.fold_in(key, first + i), shape)
            x = jax.vmap(lambda own: occur(config.occurrence, u, own, config.group_size))(p)
            params, opt_state, loss = jax.vmap(update)(params, opt_state, x, importance)
            return params, opt_state, total + loss

        params, opt_state, total = jax.lax.fori_loop(0, n, step, (*state, jnp.zeros(len(p))))
        return (params, opt_state), (total / n, feature_dimensionality(params.W, jnp))

    return jax.jit(jax.vmap(begin)), jax.jit(run, donate_argnums=0)


def _final_loss(config: ToyConfig, params: ToyParams, p: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """[I] the loss on rows of a stream of their own."""
    u = jax.random.uniform(jax_key("toy.final", config.seed), (FINAL_ROWS, config.n_features))

    @jax.jit
    def one(own):
        W, b, p, importance = own
        return toy_loss(ToyParams(W, b), occur(config.occurrence, u, p, config.group_size), importance)

    return np.asarray(jax.lax.map(one, (params.W, params.b, p, importance)))
