"""Whether a dictionary's densities and directions look healthy: a few numbers to steer its training by."""

from __future__ import annotations

from typing import Any

import numpy as np

from monosem_jax.analysis.metrics import ULTRALOW_DENSITY, ULTRALOW_TOKENS
from monosem_jax.analysis.scan.cosines import largest_products, unit
from monosem_jax.analysis.scan.result import SetScan
from monosem_jax.analysis.spectrum import spectrum
from monosem_jax.runtime.ambient import pinned
from monosem_jax.runtime.arguments import check_shape

TWIN_COSINE = 0.9


@pinned()
def health(scan: SetScan, directions: np.ndarray) -> dict[str, Any]:
    """Numbers for summary.json, from a scan of a set and its directions [F,M].

    `l0`: firings per token, and those of `spectrum`. `dead`: fired on none of the tokens. `ultralow`: density above 0
    and below 1e-6, None where fewer than 10 M tokens were scanned, with `ultralow_note`. `twins`: features with another
    feature at cosine > 0.9, dead ones included. `scanned_tokens`: what the densities were measured on.

    Raises BadInput when there are not as many directions as features.
    """
    check_shape("health", np.shape(directions), len(scan.fired), "M")
    density = scan.density
    alive, l0 = density[density > 0], float(density.sum())
    enough = scan.tokens >= ULTRALOW_TOKENS
    found = {
        "l0": l0,
        **spectrum(scan.fired, scan.tokens),
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


@pinned()
def has_twin(directions: np.ndarray) -> np.ndarray:
    """[F] whether another direction lies at cosine > 0.9, compared a block of rows at a time."""
    d = unit(directions)
    return largest_products(d, d, 1, same=True)[0][:, 0] > TWIN_COSINE
