"""Whether a dictionary's densities and directions look healthy: a few numbers to steer its training by."""

from __future__ import annotations

from typing import Any

import numpy as np

from monosem_jax.analysis.metrics import ULTRALOW_DENSITY, ULTRALOW_TOKENS
from monosem_jax.analysis.scan.cosines import largest_products, unit
from monosem_jax.analysis.scan.result import SetScan
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_shape

TWIN_COSINE = 0.9
DECADES = 7  # 10^0 to 10^-7


@pinned()
def health(scan: SetScan, directions: np.ndarray) -> dict[str, Any]:
    """Numbers for summary.json, from a scan of a set and its directions [F,M].

    `l0`: firings per token; `l0_share_above_1pct`, `l0_share_above_10pct`: the share of them that features above these
    densities carry (None if nothing fires). `median_density`: of the features that fire at all (None if none does).
    `density_decades`: features by density, the key "1e-3" for those in (1e-4, 1e-3]; "1e-7" also has the rarer ones;
    "dead". `dead`: fired on none of the tokens. `ultralow`: density above 0 and below 1e-6, None where fewer than 10 M
    tokens were scanned, with `ultralow_note`. `twins`: features with another feature at cosine > 0.9, dead ones
    included. `scanned_tokens`: what the densities were measured on.

    Raises BadInput when there are not as many directions as features.
    """
    check_shape("health", np.shape(directions), len(scan.fired), "M")
    density = scan.density
    alive, l0 = density[density > 0], float(density.sum())
    enough = scan.tokens >= ULTRALOW_TOKENS
    found = {
        "l0": l0,
        "l0_share_above_1pct": float(density[density > 0.01].sum()) / l0 if l0 else None,
        "l0_share_above_10pct": float(density[density > 0.1].sum()) / l0 if l0 else None,
        "median_density": float(np.median(alive)) if len(alive) else None,
        "density_decades": density_decades(scan.fired, scan.tokens),
        "dead": int((density == 0).sum()),
        "ultralow": int((alive < ULTRALOW_DENSITY).sum()) if enough else None,
        "twins": int(has_twin(directions).sum()),
        "scanned_tokens": scan.tokens,
    }
    if not enough:
        found["ultralow_note"] = (
            f"{scan.tokens} tokens are too few to tell densities below 1e-6: {ULTRALOW_TOKENS} needed"
        )
    return found


def density_decades(fired: np.ndarray, tokens: int) -> dict[str, int]:
    """The number of features in each decade of density, by the upper end of the decade, and of dead ones."""
    alive = fired[fired > 0].astype(np.int64)
    # Whole numbers: 10^k · fired ≤ tokens, which no rounding of a density can turn around.
    below = [int(np.sum(alive * 10**k <= tokens)) for k in range(DECADES + 1)]
    found = {f"1e-{k}" if k else "1e0": below[k] - below[k + 1] for k in range(DECADES)}
    return {**found, f"1e-{DECADES}": below[DECADES], "dead": len(fired) - len(alive)}


@pinned()
def has_twin(directions: np.ndarray) -> np.ndarray:
    """[F] whether another direction lies at cosine > 0.9, compared a block of rows at a time."""
    d = unit(directions)
    return largest_products(d, d, 1, same=True)[0][:, 0] > TWIN_COSINE
