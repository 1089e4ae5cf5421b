"""The density spectrum of a dictionary: whether the features that carry L0 are rare enough to mean one thing."""

from __future__ import annotations

from typing import Any

import numpy as np

DECADES = 7  # 10^0 to 10^-7


def spectrum(fired: np.ndarray, tokens: int) -> dict[str, Any]:
    """Numbers for summary.json, from the tokens on which each feature fired [F], of `tokens`.

    `l0_share_above_1pct`, `l0_share_above_10pct`: the share of all firings that features above these densities carry
    (None if nothing fires). `median_density`: of the features that fire at all (None if none does). `density_decades`:
    see `density_decades`.
    """
    density = np.asarray(fired, np.float64) / tokens
    alive, l0 = density[density > 0], float(density.sum())
    return {
        "l0_share_above_1pct": float(density[density > 0.01].sum()) / l0 if l0 else None,
        "l0_share_above_10pct": float(density[density > 0.1].sum()) / l0 if l0 else None,
        "median_density": float(np.median(alive)) if len(alive) else None,
        "density_decades": density_decades(fired, tokens),
    }


def density_decades(fired: np.ndarray, tokens: int) -> dict[str, int]:
    """The number of features in each decade of density, by the upper end of the decade ("1e-3" for those in
    (1e-4, 1e-3], "1e-7" with the rarer ones), and of "dead" ones."""
    alive = np.asarray(fired[fired > 0]).astype(np.int64)
    # Whole numbers: 10^k · fired ≤ tokens, which no rounding of a density can turn around.
    below = [int(np.sum(alive * 10**k <= int(tokens))) for k in range(DECADES + 1)]
    found = {f"1e-{k}" if k else "1e0": below[k] - below[k + 1] for k in range(DECADES)}
    return {**found, f"1e-{DECADES}": below[DECADES], "dead": len(fired) - len(alive)}
