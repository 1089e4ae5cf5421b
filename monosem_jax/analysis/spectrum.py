"""The density spectrum of a dictionary: whether the features that carry L0 are rare enough to mean one thing."""

from __future__ import annotations

from typing import Any

import numpy as np

DECADES = 8  # the spectrum is counted from 1 down to 10^-8


def spectrum(density: np.ndarray) -> dict[str, Any]:
    """Figures of densities [F]: which share of L0 the dense features carry, and where the features lie.

    `l0_share_above_1pct`, `l0_share_above_10pct`: the sum of the densities above 0.01 and 0.1, divided by that of all
    (L0). `median_density`: of the features that fire at all. `density_decades`: the number of features with a density
    in (10^-(n+1), 10^-n], by "1e-n", zeros left out. The shares and the median are None where no feature fires.
    """
    density = np.asarray(density, np.float64)
    alive = density[density > 0]
    l0 = float(alive.sum())

    def share(bound: float) -> float | None:
        return float(alive[alive > bound].sum()) / l0 if l0 else None

    decade = np.clip(np.floor(-np.log10(alive)), 0, DECADES - 1).astype(int)
    counts = np.bincount(decade, minlength=DECADES)
    return {
        "l0_share_above_1pct": share(0.01),
        "l0_share_above_10pct": share(0.1),
        "median_density": float(np.median(alive)) if len(alive) else None,
        "density_decades": {f"1e-{n}": int(c) for n, c in enumerate(counts) if c},
    }
