"""A crosscoder of two models, feature by feature: which model it belongs to by its norms, and which by what it does.

The relative norm ‖W_B‖ / (‖W_A‖ + ‖W_B‖) of a feature's two vectors is 0 for a feature of model A alone, 1 for one of
B alone, 1/2 for one of both (Lindsey et al., 2024). With L1 norms say more than is true (Minder, Dumas et al., 2025,
arXiv 2504.02922): a part that contributes little is shrunk to 0 ("complete shrinkage"), and a feature of both models is
divided in two ("latent decoupling"). So each is also measured:

    refit      the relative norm of the vectors that least squares gives when a feature's own vectors are chosen anew,
               all other features held
    alone      what remains of the feature's activation when only one model is read, the other at its mean
    partner    for a feature of one model alone, the largest correlation of activations with one that the other has

`refit` stands for the paper's latent scaling of the error, `partner` for that of the reconstruction. The paper finds
one number per model, β = Σ f d·y / (Σ f² ‖d‖²), for the vector d that the fine-tuned model has, with y each model's
error without the feature, or its reconstruction, and takes ratios of them. That needs a common space, which models that
were trained apart do not have: here the vector itself is fitted, Σ f y / Σ f², to each model's error.

Norms are in units of the root mean square of each model's activations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from monosem_jax.activations.rows import Rows
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import whole_number
from monosem_jax.runtime.errors import BadInput
from monosem_jax.sae.published import PublishedSAE

EXCLUSIVE = 0.1  # a relative norm below this, or above 1 minus this, is that of one model alone


@dataclasses.dataclass(frozen=True)
class Sides:
    """Of F features on `rows` rows: `fired` [F] how often each fires, `norms` [F,2] of its vectors for models A and B,
    `refitted` [F,2] the norms of those that least squares gives (0 where two halves of the rows do not agree on any
    direction), `alone` [F,2] the correlation of its activation with the one that A alone, B alone gives (NaN where
    either never varies), `partner` [F] for a feature of one model alone the largest correlation of its activation with
    that of a feature which the other model has (NaN for features of both, and for one that never varies).
    """

    rows: int
    fired: np.ndarray
    norms: np.ndarray
    refitted: np.ndarray
    alone: np.ndarray
    partner: np.ndarray

    @property
    def relative(self) -> np.ndarray:
        """[F] the relative norm: 0 of A alone, 1 of B alone (NaN for a feature without vectors)."""
        return _relative(self.norms)

    @property
    def relative_refitted(self) -> np.ndarray:
        """[F] the relative norm of the refitted vectors (NaN where there are none)."""
        return _relative(self.refitted)


def _relative(norms: np.ndarray) -> np.ndarray:
    total = norms.sum(axis=1)
    return np.where(total > 0, norms[:, 1] / np.where(total > 0, total, 1), np.nan)


@pinned()
def sides(sae: PublishedSAE, rows: Rows, *, block: int = 4096, advance: Callable[[int], Any] = lambda n: None) -> Sides:
    """Measures a crosscoder of two models on rows [n,M_A+M_B] that it was not trained on; `advance` is called with the
    number of rows done. No result depends on `block` but for rounding.

    Raises BadInput on a crosscoder of more parts than two, on rows of another width, and where there are fewer than two
    rows.
    """
    parts, block = sae.module.parts, whole_number(f"block is {block!r}", block, 1)
    if len(parts) != 2 or sae.width_out != sum(parts):
        raise BadInput(f"sides: the dictionary has parts {tuple(parts)}: expected a crosscoder of two models")
    if rows.width != sum(parts) or rows.n_rows < 2:
        raise BadInput(f"sides: {rows.n_rows} rows of width {rows.width}: expected 2 or more of width {sum(parts)}")
    mean, scale = _moments(rows, parts, block)
    norms = _part_norms(np.asarray(sae.params["W_dec"], np.float64) * scale, parts)
    kinds = _relative(norms)
    one = np.flatnonzero((kinds < EXCLUSIVE) | (kinds > 1 - EXCLUSIVE))
    total: dict[str, Any] = {}
    for start in range(0, rows.n_rows, block):
        x = rows.read(start, start + block).astype(np.float32)
        n = len(x)
        half = (start + np.arange(block)) % 2
        weight = np.stack([half == 0, half == 1]) & (np.arange(block) < n)
        x = np.pad(x, ((0, block - n), (0, 0)))
        found = _sums(sae, x, jnp.asarray(weight, jnp.float32), mean, scale, parts[0], one)
        for name, value in found.items():
            total[name] = total.get(name, 0.0) + np.asarray(value, np.float64)
        advance(n)
    return _finish(sae, total, norms, scale, parts, one, rows.n_rows)


def _moments(rows: Rows, parts: tuple[int, ...], block: int) -> tuple[np.ndarray, np.ndarray]:
    """([ΣM] the mean row, [ΣM] one over the root mean square of the activations of each column's model)."""
    total, square = np.zeros(sum(parts)), np.zeros(sum(parts))
    for start in range(0, rows.n_rows, block):
        x = rows.read(start, start + block).astype(np.float64)
        total, square = total + x.sum(axis=0), square + np.square(x).sum(axis=0)
    each = [np.sqrt(part.mean() / rows.n_rows) for part in np.split(square, [parts[0]])]
    if min(each) == 0:
        raise BadInput("sides: all activations of one model are zero")
    return (total / rows.n_rows).astype(np.float32), np.repeat(1 / np.asarray(each), parts).astype(np.float32)


@jax.jit
def _sums(
    sae: PublishedSAE,
    x: jax.Array,
    weight: jax.Array,
    mean: jax.Array,
    scale: jax.Array,
    border: int,
    one: jax.Array,
) -> dict[str, jax.Array]:
    """Sums over a block of rows [B,ΣM]; `weight` [2,B] says to which half of the rows each belongs, or to none."""
    every, of_a = weight.sum(axis=0), jnp.arange(x.shape[1]) < border
    f, x_hat = sae.forward(x)
    error = (x - x_hat) * scale
    f = f * every[:, None]
    found = {
        "fired": jnp.sum(sae.active(f), axis=0),
        "square": jnp.einsum("hB,BF->hF", weight, jnp.square(f)),
        "error": jnp.einsum("hB,BF,BM->hFM", weight, f, error),
        "sum": f.sum(axis=0),
        "pairs": f[:, one].T @ f,
    }
    for name, read in (("a", of_a), ("b", ~of_a)):
        g = sae.encode(jnp.where(read, x, mean)) * every[:, None]
        found |= {
            f"sum_{name}": g.sum(axis=0),
            f"square_{name}": jnp.square(g).sum(axis=0),
            f"product_{name}": (f * g).sum(axis=0),
        }
    return found


def _finish(
    sae: PublishedSAE,
    total: dict[str, Any],
    norms: np.ndarray,
    scale: np.ndarray,
    parts: tuple[int, ...],
    one: np.ndarray,
    n: int,
) -> Sides:
    square, mean = total["square"].sum(axis=0), total["sum"] / n
    variance = square / n - mean**2
    # A vector that is estimated from few firings is long by chance; two halves do not agree on chance.
    halves = total["error"] / np.where(total["square"] > 0, total["square"], 1)[..., None]
    fitted = np.asarray(sae.params["W_dec"], np.float64) * scale + halves
    agree = np.split(fitted[0] * fitted[1], [parts[0]], axis=1)
    enough = (total["square"] > 0).all(axis=0)
    refitted = np.stack([np.sqrt(np.maximum(part.sum(axis=1), 0)) * enough for part in agree], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        alone = [
            (total[f"product_{s}"] / n - mean * total[f"sum_{s}"] / n)
            / np.sqrt(variance * (total[f"square_{s}"] / n - (total[f"sum_{s}"] / n) ** 2))
            for s in ("a", "b")
        ]
        pairs = (total["pairs"] / n - np.outer(mean[one], mean)) / np.sqrt(np.outer(variance[one], variance))
    # A feature that the other model has is not one of the same model alone.
    kind = np.where(_relative(norms) < EXCLUSIVE, 0, np.where(_relative(norms) > 1 - EXCLUSIVE, 1, 2))
    pairs = np.where(np.isfinite(pairs) & (kind[one][:, None] != kind), pairs, -1)
    partner = np.full(len(norms), np.nan)
    partner[one] = np.where(variance[one] > 0, pairs.max(axis=1, initial=-1), np.nan)
    both = np.where(np.isfinite(alone), alone, np.nan).T
    return Sides(n, total["fired"].astype(np.int64), norms, refitted, both, partner)


def _part_norms(w: np.ndarray, parts: tuple[int, ...]) -> np.ndarray:
    """[F,2] the norms of the two parts of rows of W_dec."""
    return np.stack([np.linalg.norm(part, axis=1) for part in np.split(w, [parts[0]], axis=1)], axis=1)
