"""How much of the model's behaviour a dictionary keeps, on text that neither was trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from monosem_jax.activations.rows import Rows
from monosem_jax.analysis.spectrum import spectrum
from monosem_jax.models.tapped import TappedModel
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_name, whole_number
from monosem_jax.runtime.config import typed
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import device_get_global, shard_rows
from monosem_jax.sae.published import PublishedSAE, fitting_contexts
from monosem_jax.text.batches import context_batches

ULTRALOW_DENSITY = 1e-6

# With fewer tokens, a density below 1e-6 cannot be told from one a few times higher.
ULTRALOW_TOKENS = 10_000_000


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """How much held-out text the metrics are measured on."""

    contexts: int = 0
    """Held-out contexts to read; 0: all."""
    batch_contexts: int = 32
    """Contexts per forward pass."""
    split: str = "heldout"
    """The text: heldout, or validation to choose settings by (`text.validation_fraction`)."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        if self.contexts < 0 or self.batch_contexts < 1:
            raise BadInput(f"evaluate: contexts {self.contexts}, batch_contexts {self.batch_contexts} must be positive")
        check_name("evaluate.split", self.split, ("heldout", "validation"))


def contexts_to_read(tokens: np.ndarray, config: EvaluateConfig) -> int:
    """The number of contexts that `evaluate` reads of [C,T]: each twice, first for the mean activation."""
    return 2 * (min(config.contexts, len(tokens)) if config.contexts else len(tokens))


@pinned()
def evaluate(
    tapped: TappedModel,
    sae: PublishedSAE,
    tokens: np.ndarray,
    config: EvaluateConfig,
    *,
    advance: Callable[[int], Any] = lambda n: None,
    mesh: Mesh | None = None,
) -> tuple[dict[str, Any], np.ndarray]:
    """The metrics of a dictionary on contexts [C,T], and the density of every feature [F].

    With a `mesh`, contexts are divided over its `data` axis, and the dictionary keeps its sharding. Contexts are read
    twice (`contexts_to_read` in all); `advance` is called with the number of contexts done. Of which split they are is
    the caller's choice: `config.split` tells the stages which to read.

    Loss recovered is (ce_ablation - ce_reconstructed) / (ce_ablation - ce_intact), a ratio of means over all tokens
    (paper, "Evaluating dictionaries"); cross-entropies are in nats. `mse` is a mean over rows and elements, `l0` a mean
    over rows. Dead features fired on none of these tokens, ultralow ones on less than 1e-6 of them (None when too few
    tokens were read), dense ones on more than a hundredth. Raises BadInput on an impossible configuration.
    """
    config = typed(config, EvaluateConfig, "evaluate")
    config.check()
    tokens = fitting_contexts("evaluate", tapped, sae, tokens[: config.contexts] if config.contexts else tokens)
    batch, spread = shard_rows(mesh, config.batch_contexts)
    tapped = tapped.on(mesh)
    mean = mean_activation(tapped, tokens, batch, mesh, advance)
    total: dict[str, Any] = {}
    for t, w in context_batches(tokens, batch):
        _add(total, batch_sums(tapped, sae, mean, *spread(t, w)))
        advance(int(w.sum()))
    return summarise(total, sae.width_out)


@pinned()
def evaluate_rows(
    sae: PublishedSAE,
    rows: Rows,
    block: int = 4096,
    *,
    mesh: Mesh | None = None,
    advance: Callable[[int], Any] = lambda n: None,
) -> tuple[dict[str, Any], np.ndarray]:
    """The metrics of `evaluate` that need no transformer, on held-out rows of any source, `block` rows at a time;
    `advance` is called with the number of rows done. Raises BadInput when there are no rows.
    """
    if not rows.n_rows:
        raise BadInput("evaluate_rows was given no rows: expected 1 or more")
    block, spread = shard_rows(mesh, whole_number(f"block is {block!r}", block, 1))

    def blocks():
        for i in range(0, rows.n_rows, block):
            x = rows.read(i, min(i + block, rows.n_rows)).astype(np.float32)
            yield np.pad(x, ((0, block - len(x)), (0, 0))), (np.arange(block) < len(x)).astype(np.float32)

    sums = sum(np.sum(x, axis=0, dtype=np.float64) for x, _ in blocks())
    mean = np.asarray(sums / rows.n_rows, np.float32)
    total: dict[str, Any] = {}
    for x, weight in blocks():
        n = int(weight.sum())
        x, weight = spread(x, weight)
        _add(total, row_sums(sae, x, mean, weight))
        advance(n)
    return summarise(total, sae.width_out)


@pinned()
def activation_moments(
    tapped: TappedModel,
    tokens: np.ndarray,
    batch: int,
    mesh: Mesh | None = None,
    advance: Callable[[int], Any] = lambda n: None,
) -> tuple[np.ndarray, np.ndarray]:
    """([W] the mean activation, [W] its variance) over all tokens [C,T] except BOS; raises BadInput when there are no
    others."""
    batch, spread = shard_rows(mesh, batch)
    total: dict[str, Any] = {}
    for t, w in context_batches(tokens, batch):
        _add(total, _activation_sums(tapped, *spread(t, w)))
        advance(int(w.sum()))
    if not total.get("tokens"):
        raise BadInput(f"evaluate was given no tokens but BOS ({tapped.bos}): expected others, which are predicted")
    mean = total["sum"] / total["tokens"]
    variance = np.maximum(total["square"] / total["tokens"] - np.square(mean), 0)
    return np.asarray(mean, np.float32), np.asarray(variance, np.float32)


def mean_activation(
    tapped: TappedModel,
    tokens: np.ndarray,
    batch: int,
    mesh: Mesh | None = None,
    advance: Callable[[int], Any] = lambda n: None,
) -> np.ndarray:
    """[W] the mean activation over all tokens [C,T] except BOS; raises BadInput when there are no others."""
    return activation_moments(tapped, tokens, batch, mesh, advance)[0]


@jax.jit
def _activation_sums(tapped: TappedModel, tokens: jax.Array, weight: jax.Array) -> dict[str, jax.Array]:
    mask = (tokens != tapped.bos) * weight[:, None]
    x = tapped.rows(tokens)
    return {
        "sum": jnp.einsum("CTM,CT->M", x, mask),
        "square": jnp.einsum("CTM,CT->M", jnp.square(x), mask),
        "tokens": jnp.sum(mask),
    }


@jax.jit
def batch_sums(
    tapped: TappedModel, sae: PublishedSAE, mean: jax.Array, tokens: jax.Array, weight: jax.Array
) -> dict[str, jax.Array]:
    """Sums over a batch of tokens [C,T] with weight [C]; `mean` [W] is the activation of mean ablation.

    Activations are replaced at every position but BOS, which no dictionary is trained on. Those of several sites are
    replaced one site at a time, and the cross-entropies are means over the sites.
    """
    carry, rows = tapped.cut(tokens)
    mask = (tokens != tapped.bos) * weight[:, None]
    found, x_hat = _reconstruct(sae, rows, mean, mask)
    real, mean_out = (tokens != tapped.bos)[..., None], sae.targets(mean)

    def cross_entropies(site: str, columns: slice) -> dict[str, jax.Array]:
        # The model cannot continue from the rows of several sites: it is cut again at each.
        here, x = (carry, rows) if site == tapped.site else tapped.cut(tokens, site)

        def cross_entropy(replacement):
            losses = tapped.losses_with(here, jnp.where(real, replacement, x), tokens, site)
            return jnp.sum(losses * weight[:, None])

        return {
            "ce_intact": cross_entropy(x),
            "ce_zero_ablation": cross_entropy(jnp.zeros_like(x)),
            "ce_mean_ablation": cross_entropy(jnp.broadcast_to(mean_out[columns], x.shape)),
            "ce_reconstructed": cross_entropy(x_hat[..., columns]),
        }

    each = [cross_entropies(site, columns) for site, columns in tapped.replaced_by(sae.width_out)]
    ce = jax.tree.map(lambda *sums: sum(sums) / len(sums), *each)
    return {**ce, "predictions": jnp.sum(weight) * (tokens.shape[1] - 1), **found}


@jax.jit
def row_sums(sae: PublishedSAE, rows: jax.Array, mean: jax.Array, weight: jax.Array) -> dict[str, jax.Array]:
    """Sums over rows [B,W] with weight [B]; `mean` [W] is the mean row."""
    return _reconstruct(sae, rows, mean, weight)[0]


def _reconstruct(
    sae: PublishedSAE, rows: jax.Array, mean: jax.Array, weight: jax.Array
) -> tuple[dict[str, jax.Array], jax.Array]:
    """(sums over rows [...,W] with weight [...], reconstructions [...,M])."""
    f, y_hat = sae.forward(rows)
    y, each = sae.targets(rows), weight[..., None]
    return {
        "rows": jnp.sum(weight),
        "squared_error": jnp.sum(jnp.square(y - y_hat) * each),
        "squared_deviation": jnp.sum(jnp.square(y - sae.targets(mean)) * each),
        "l1": jnp.sum(f * each),
        "fired": jnp.sum(sae.active(f) * each, axis=tuple(range(f.ndim - 1))),
    }, y_hat


def _add(total: dict[str, Any], sums: dict[str, jax.Array]) -> None:
    """Adds a batch's sums to `total` in float64."""
    for name, value in device_get_global(sums).items():
        total[name] = total.get(name, 0.0) + np.asarray(value, np.float64)


def summarise(total: dict[str, Any], width: int) -> tuple[dict[str, Any], np.ndarray]:
    """(metrics, densities [F]) from sums over all batches; `mse` is divided by `width`, M. See `evaluate`."""
    rows, deviation = total["rows"], total["squared_deviation"]
    loss: dict[str, Any] = {}
    if "predictions" in total:
        ce = {k: float(total[k] / total["predictions"]) for k in total if k.startswith("ce_")}
        for kind in ("zero", "mean"):
            ablated = ce[f"ce_{kind}_ablation"]
            gap = ablated - ce["ce_intact"]
            loss[f"loss_recovered_{kind}"] = (ablated - ce["ce_reconstructed"]) / gap if gap else None
        loss |= ce
    density = total["fired"] / rows
    enough = rows >= ULTRALOW_TOKENS
    ultralow = int(np.sum((density > 0) & (density < ULTRALOW_DENSITY))) if enough else None
    metrics = {
        **loss,
        "l0": float(density.sum()),
        "mse": float(total["squared_error"] / rows / width),
        "variance_explained": float(1 - total["squared_error"] / deviation) if deviation else None,
        "l1": float(total["l1"] / rows),
        "n_features": len(density),
        "dead": int(np.sum(density == 0)),
        "ultralow": ultralow,
        "dense": int(np.sum(density > 0.01)),
        **spectrum(total["fired"], rows),
        "evaluated_tokens": int(rows),
    }
    if not enough:
        metrics["ultralow_note"] = (
            f"{int(rows)} tokens are too few to tell densities below 1e-6: {ULTRALOW_TOKENS} needed"
        )
    return metrics, density
