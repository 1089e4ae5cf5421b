"""The phase diagram of two features in one dimension: is the second one ignored, alone, or in superposition?

x_1 and x_2 are independent, each nonzero with probability p and then uniform between 0 and 1; the importances are 1 and
r. Three solutions have a loss in closed form:

  first alone   W = (1, 0): x_1 is exact. The best constant for x_2 is its mean p/2, so the loss is r Var(x_2).
                E x = p/2 and E x² = p/3, so Var(x) = p/3 − p²/4.
  second alone  W = (0, 1): the loss is Var(x_1).
  superposed    W = (√g, −√g), b = 0: x'_1 = ReLU(g (x_1 − x_2)) and x'_2 = ReLU(g (x_2 − x_1)).
                With x_1 alone its error is (1 − g) x_1, whose mean square is (1 − g)²/3. With both active, the larger
                one, M, has the error M − g (M − m), the smaller one, m, is lost. E M² = 1/2, E m² = 1/6, E M m = 1/4,
                and each feature is the larger one half of the time, so its mean square error is
                (1/2 − g/2 + g²/6 + 1/6) / 2. The loss is (1 + r) (p (1 − p) (1 − g)²/3 + p² (1/3 − g/4 + g²/12)),
                which is least at g = (8 − 5p) / (8 − 6p). (At g = 1 it is (1 + r) p²/6.)

What training finds may be a little better than all three, since the superposed features may have a bias and unequal
lengths.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.rng import jax_key
from monosem_jax.toy.features import occur
from monosem_jax.toy.superposition import ToyConfig, ToyParams, toy_loss, train_toys

PHASES = ("first alone", "second alone", "superposed")
BORDER = 0.1  # a loss within this share of another solution's is near a border


def closed_form(p: ArrayLike, r: ArrayLike) -> Float[np.ndarray, "3 ..."]:
    """The losses of the three PHASES at density p and relative importance r of the second feature."""
    p, r = np.broadcast_arrays(np.asarray(p, np.float64), np.asarray(r, np.float64))
    variance = p / 3 - p**2 / 4
    g = gain(p)
    superposed = p * (1 - p) * (1 - g) ** 2 / 3 + p**2 * (1 / 3 - g / 4 + g**2 / 12)
    return np.stack([r * variance, variance, (1 + r) * superposed])


def gain(p: ArrayLike) -> Float[np.ndarray, "..."]:
    """‖W_i‖² of the superposed features, at which their loss is least."""
    p = np.asarray(p, np.float64)
    return (8 - 5 * p) / (8 - 6 * p)


def solution(phase: str, p: float) -> ToyParams:
    """The parameters of a phase in closed form, W [1,2] and b [2]."""
    a = float(np.sqrt(gain(p)))
    W = {"first alone": (1.0, 0.0), "second alone": (0.0, 1.0), "superposed": (a, -a)}[phase]
    b = {"first alone": (0.0, p / 2), "second alone": (p / 2, 0.0), "superposed": (0.0, 0.0)}[phase]
    return ToyParams(jnp.asarray([W]), jnp.asarray(b))


@pinned()
def monte_carlo(phase: str, p: float, r: float, n_rows: int = 1 << 20, seed: int = 0) -> float:
    """The loss of a phase on random rows: what `closed_form` is checked against."""
    u = jax.random.uniform(jax_key("toy.monte_carlo", seed), (n_rows, 2))
    x = occur("independent", u, jnp.full(2, p, jnp.float32))
    return float(toy_loss(solution(phase, p), x, jnp.asarray([1.0, r])))


def phase_of(W: Float[np.ndarray, "... 1 2"]) -> np.ndarray:
    """[...] the number in PHASES of what W does, −1 where it represents nothing.

    Superposed: both features have a square of at least a quarter of the larger one's, with opposite signs.
    """
    first, second = np.moveaxis(np.asarray(W, np.float64)[..., 0, :], -1, 0)
    low, high = np.minimum(first**2, second**2), np.maximum(first**2, second**2)
    both = (first * second < 0) & (low > high / 4)
    alone = np.where(first**2 >= second**2, 0, 1)
    return np.where(high < 0.05, -1, np.where(both, 2, alone))


@dataclasses.dataclass(frozen=True)
class PhaseDiagram:
    """What was found over densities `p` [P] and relative importances `r` [R]: the `losses` [P,R] of the best of several
    seeds and its `phases` [P,R], numbers in PHASES; `expected` [3,P,R] are the losses in closed form."""

    p: np.ndarray
    r: np.ndarray
    losses: np.ndarray
    phases: np.ndarray
    W: np.ndarray
    expected: np.ndarray

    @property
    def away(self) -> np.ndarray:
        """[P,R] where the best solution is better than the others by more than BORDER."""
        first, second = np.sort(self.expected, axis=0)[:2]
        return second > (1 + BORDER) * first

    @property
    def agrees(self) -> np.ndarray:
        """[P,R] where training found the solution that the closed form says."""
        return self.phases == self.expected.argmin(axis=0)


@pinned()
def phase_diagram(config: ToyConfig, p: ArrayLike, r: ArrayLike, n_seeds: int = 4) -> PhaseDiagram:
    """Trains models of two features in one dimension at every p and r, `n_seeds` times, and keeps the best. The sizes
    of `config` are set to 2 and 1."""
    p, r = np.asarray(p, np.float64), np.asarray(r, np.float64)
    config = dataclasses.replace(config, n_features=2, n_hidden=1, occurrence="independent")
    shape = (len(p), len(r), n_seeds)
    ps, rs, seeds = (np.ravel(x) for x in np.broadcast_arrays(p[:, None, None], r[:, None], np.arange(n_seeds)))
    importance = np.stack([np.ones_like(rs), rs], axis=1)
    toys = train_toys(config, ps, importance, seeds, "phase diagram")
    losses, W = toys.final_loss.reshape(shape), toys.W.reshape(*shape, 1, 2)
    best = losses.argmin(axis=-1)
    W = np.take_along_axis(W, best[..., None, None, None], axis=2)[:, :, 0]
    lowest = losses.min(axis=-1)
    return PhaseDiagram(p, r, lowest, phase_of(W), W, closed_form(p[:, None], r))
