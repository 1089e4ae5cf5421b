"""What a dictionary keeps of the model's behaviour, on text that neither was trained on."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from monosem_jax.models.base import LanguageModel, site_widths, split_sites, token_losses
from monosem_jax.runtime.errors import BadInput
from monosem_jax.runtime.mesh import device_get_global, device_put_sharded, shard_rows
from monosem_jax.text.batches import context_batches

ULTRALOW_DENSITY = 1e-6

# Below this many tokens a density under 1e-6 cannot be told from one a few times higher.
ULTRALOW_TOKENS = 10_000_000


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """How much held-out text the metrics are measured on."""

    contexts: int = 0
    """Held-out contexts to read; 0: all."""
    batch_contexts: int = 32
    """Contexts per forward pass."""

    def check(self) -> None:
        """Raises BadInput naming the first impossible value."""
        if self.contexts < 0 or self.batch_contexts < 1:
            raise BadInput(f"evaluate: contexts {self.contexts}, batch_contexts {self.batch_contexts} must be positive")


def mean_activation(
    model: LanguageModel, params: Any, site: str, tokens: np.ndarray, bos: int, batch: int, mesh: Mesh | None = None
) -> np.ndarray:
    """[M] the mean of the activations at `site` over all tokens but BOS."""
    batch, spread = shard_rows(mesh, batch)

    @jax.jit
    def sums(params, tokens, weight):
        _, x = model.apply({"params": params}, tokens, site, method=model.to_acts)
        mask = (tokens != bos) * weight[:, None]
        return jnp.einsum("CTM,CT->M", x, mask), jnp.sum(mask)

    total, count = 0.0, 0.0
    for t, w in context_batches(tokens, batch):
        s, n = device_get_global(sums(params, *spread(t, w)))
        total, count = total + np.asarray(s, np.float64), count + float(n)
    return (total / count).astype(np.float32)


@functools.lru_cache(maxsize=8)  # the members of a sweep share what is compiled
def make_batch_sums(model: LanguageModel, sae: Any, site: str, bos: int):
    """The compiled function (model params, sae params, mean [W], tokens [C,T], weight [C]) -> sums over the batch.

    Activations are replaced at every position but BOS, which no dictionary is trained on; those of several sites, one
    site at a time, and the cross-entropies are means over these.
    """
    replaced = replacements(model, sae, site)

    @jax.jit
    def sums(params, sae_params, mean, tokens, weight):
        carry, rows = model.apply({"params": params}, tokens, site, method=model.to_acts)
        mask = (tokens != bos) * weight[:, None]
        found, x_hat = row_sums(sae, sae_params, rows, mean, mask)
        real, wanted_mean = (tokens != bos)[..., None], sae.targets(mean)

        def cross_entropies(at, columns):
            # The rows of several sites are not what the model goes on from.
            here, x = (carry, rows) if at == site else model.apply({"params": params}, tokens, at, method=model.to_acts)

            def cross_entropy(replacement):
                acts = jnp.where(real, replacement, x)
                logits = model.apply({"params": params}, here, acts, at, method=model.from_acts)
                return jnp.sum(token_losses(logits, tokens) * weight[:, None])

            return {
                "ce_intact": cross_entropy(x),
                "ce_zero_ablation": cross_entropy(jnp.zeros_like(x)),
                "ce_mean_ablation": cross_entropy(jnp.broadcast_to(wanted_mean[columns], x.shape)),
                "ce_reconstructed": cross_entropy(x_hat[..., columns]),
            }

        each = [cross_entropies(at, columns) for at, columns in replaced]
        ce = jax.tree.map(lambda *sums: sum(sums) / len(sums), *each)
        return {**ce, "predictions": jnp.sum(weight) * (tokens.shape[1] - 1), **found}

    return sums


def evaluate(
    model: LanguageModel,
    params: Any,
    sae: Any,
    sae_params: Any,
    tokens: np.ndarray,
    *,
    bos: int,
    site: str,
    config: EvaluateConfig,
    advance: Any = lambda n: None,
    mesh: Mesh | None = None,
) -> tuple[dict[str, Any], np.ndarray]:
    """The metrics of a dictionary (for raw activations) on contexts [C,T], and the density of every feature [F].

    With a `mesh` contexts are divided over its `data`, and the dictionary stays as it lies on it.

    Loss recovered is (ce_ablation - ce_reconstructed) / (ce_ablation - ce_intact), a ratio of means over all tokens
    (paper, "Evaluating dictionaries"). `mse` is a mean over rows and elements, `l0` a mean over rows; dead features
    never fired on these tokens; ultralow ones fired on less than 1e-6 of them (None when too few tokens were read).
    """
    config.check()
    tokens = tokens[: config.contexts] if config.contexts else tokens
    batch, spread = shard_rows(mesh, config.batch_contexts)
    if mesh is not None:
        params = jax.tree.map(lambda p: device_put_sharded(np.asarray(p), mesh, PartitionSpec()), params)
    mean = mean_activation(model, params, site, tokens, bos, batch, mesh)
    batch_sums = make_batch_sums(model, sae, site, bos)
    total: dict[str, Any] = {}
    for t, w in context_batches(tokens, batch):
        for name, value in device_get_global(batch_sums(params, sae_params, mean, *spread(t, w))).items():
            total[name] = total.get(name, 0.0) + np.asarray(value, np.float64)
        advance(int(w.sum()))
    return summarise(total, sae.width_out)


@functools.lru_cache(maxsize=8)
def make_row_sums(sae: Any):
    """The compiled function (sae params, rows [B,W], mean [W], weight [B]) -> sums over the batch."""
    return jax.jit(lambda sae_params, rows, mean, weight: row_sums(sae, sae_params, rows, mean, weight)[0])


def row_sums(sae: Any, sae_params: Any, rows: Any, mean: Any, weight: Any) -> tuple[dict[str, Any], Any]:
    """(sums over rows [...,W] of this weight [...], reconstructions [...,M])."""
    f, y_hat = sae.apply({"params": sae_params}, rows, method=sae.forward)
    y, each = sae.targets(rows), weight[..., None]
    return {
        "rows": jnp.sum(weight),
        "squared_error": jnp.sum(jnp.square(y - y_hat) * each),
        "squared_deviation": jnp.sum(jnp.square(y - sae.targets(mean)) * each),
        "l1": jnp.sum(f * each),
        "fired": jnp.sum(sae.active(f) * each, axis=tuple(range(f.ndim - 1))),
    }, y_hat


def replacements(model: LanguageModel, sae: Any, site: str) -> list[tuple[str, slice]]:
    """At which sites a dictionary's reconstructions stand for the activations, and which of its columns do."""
    sites = split_sites(site)
    if len(sites) == 1:
        return [(site, slice(None))]
    widths = site_widths(model, site)
    ends = np.cumsum(widths)
    if sae.width_out == sum(widths):
        return [(s, slice(end - width, end)) for s, width, end in zip(sites, widths, ends, strict=True)]
    return [(sites[-1], slice(None))]


def evaluate_rows(
    sae: Any, sae_params: Any, rows: Any, block: int = 4096, *, mesh: Mesh | None = None
) -> tuple[dict[str, Any], np.ndarray]:
    """The metrics of `evaluate` that need no transformer, on held-out rows of any source."""
    block, spread = shard_rows(mesh, block)
    sums = make_row_sums(sae)

    def blocks():
        for i in range(0, rows.n_rows, block):
            x = rows.read(i, min(i + block, rows.n_rows)).astype(np.float32)
            yield np.pad(x, ((0, block - len(x)), (0, 0))), (np.arange(block) < len(x)).astype(np.float32)

    mean = (sum(np.sum(x, axis=0, dtype=np.float64) for x, _ in blocks()) / rows.n_rows).astype(np.float32)
    total: dict[str, Any] = {}
    for x, weight in blocks():
        x, weight = spread(x, weight)
        for name, value in device_get_global(sums(sae_params, x, mean, weight)).items():
            total[name] = total.get(name, 0.0) + np.asarray(value, np.float64)
    return summarise(total, sae.width_out)


def summarise(total: dict[str, Any], width: int) -> tuple[dict[str, Any], np.ndarray]:
    """Metrics from sums: the one place where they are divided. See `evaluate`."""
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
        "evaluated_tokens": int(rows),
    }
    if not enough:
        metrics["ultralow_note"] = (
            f"{int(rows)} tokens are too few to tell densities below 1e-6: {ULTRALOW_TOKENS} needed"
        )
    return metrics, density
